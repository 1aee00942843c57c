"""The real daemon and web servers, over a study of real images whose label file is edited while they run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from resources.home import PROJECT_ROOT
from resources.store import Store
from tests.command_line import command_line

pytestmark = pytest.mark.slow

STUDY = """
title: Pictures of digits
dataset:
  reader: table
  options: {{table: {table}, image_column: image, image_folder: {folder}, test_fraction: 0.4,
             tasks: [digit, even, prime, big]}}
sources: [even, prime]
recipe: {{image_size: 16, epochs: 1, batch_size: 16}}
uncertainty: {{permutations: 20}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Live:
    """A home folder with one study of its own, and `transferability ui` running over it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.table = folder / "labels.csv"
        self._draw(folder)
        (self.home / "studies").mkdir(parents=True)
        text = STUDY.format(table=self.table, folder=folder)
        (self.home / "studies" / "pictures.yaml").write_text(text)
        self.dagster = f"http://127.0.0.1:{(port := free_port())}"
        self.mlflow = f"http://127.0.0.1:{(other := free_port())}"
        self.store = Store(self.home / "store")
        self.log = folder / "ui.log"
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "pipelines.cli",
                    "ui",
                    "--port",
                    str(port),
                    "--mlflow-port",
                    str(other),
                ],
                cwd=PROJECT_ROOT,
                env={**os.environ, "TRANSFERABILITY_HOME": str(self.home)},
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def _draw(self, folder: Path) -> None:
        from PIL import Image
        from sklearn.datasets import load_digits

        digits = load_digits()
        rows = [int(i) for digit in range(10) for i in (digits.target == digit).nonzero()[0][:8]]
        for i in rows:
            Image.fromarray((digits.images[i] * 15.9).astype("uint8")).save(folder / f"{i}.png")
        value = [int(digits.target[i]) for i in rows]
        self.labels = pl.DataFrame(
            {
                "image": [f"{i}.png" for i in rows],
                "digit": value,
                "even": ["even" if v % 2 == 0 else "odd" for v in value],
                "prime": ["prime" if v in {2, 3, 5, 7} else "other" for v in value],
                "big": ["big" if v > 4 else "small" for v in value],
            }
        )
        self.labels.write_csv(self.table)

    def mislabel(self, task: str, row: int) -> None:
        """Give one image the label of another."""
        values = self.labels[task].to_list()
        values[row] = next(value for value in values if value != values[row])
        self.labels = self.labels.with_columns(pl.Series(task, values))
        self.labels.write_csv(self.table)

    def graphql(self, query: str) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.dagster}/graphql",
            data=json.dumps({"query": query}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]

    def launch(self, job: str) -> str:
        """Launch a job as its page in the UI does; return the run's id."""
        selector = f'{{repositoryName: "__repository__", repositoryLocationName: "transferability", jobName: "{job}"}}'
        launched = self.graphql(
            f"mutation {{launchRun(executionParams: {{selector: {selector}, runConfigData: {{}}}}) "
            "{__typename ... on LaunchRunSuccess {run {runId}}}}"
        )["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess"
        return str(launched["run"]["runId"])

    def statuses(self, runs: list[str]) -> list[str]:
        """How those runs stand."""
        queries = [f'{{runOrError(runId: "{run}") {{... on Run {{status}}}}}}' for run in runs]
        return [self.graphql(query)["runOrError"]["status"] for query in queries]

    def run(self) -> "subprocess.CompletedProcess[str]":
        """`transferability run` over the same home folder."""
        return command_line(self.home, timeout=900, threads=2)("run", "pictures")

    def version(self, stage: str, partition: str | None = None) -> str | None:
        manifest = self.store.manifest("pictures", stage, partition)
        return manifest.data_version if manifest else None

    def made(self, stage: str) -> dict[str, str]:
        """When each output of a stage was made."""
        folder = self.store.folder("pictures", stage)
        return {p.name: json.loads(p.read_text())["created"] for p in folder.glob("*.manifest.json")}

    def wait(self, what: str, there: Callable[[], Any], seconds: float = 400) -> Any:
        """Wait until something is so."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                if found := there():
                    return found
            except OSError:
                pass
            time.sleep(1)
        raise AssertionError(f"{what} not after {seconds:.0f} s\n{self.log.read_text()[-3000:]}")

    def assets_of_runs(self) -> list[tuple[str, str, list[str]]]:
        """Status, range of partitions and assets of every run of the study, the latest first."""
        query = "{runsOrError {... on Runs {results {status tags {key value} assetSelection {path}}}}}"
        found = [
            run
            for run in self.graphql(query)["runsOrError"]["results"]
            if any(key["path"][0] == "pictures" for key in run["assetSelection"] or ())
        ]
        runs = []
        for run in found:
            tags = {tag["key"]: tag["value"] for tag in run["tags"]}
            start, end = (tags.get(f"dagster/asset_partition_range_{side}", "") for side in ("start", "end"))
            span = tags.get("dagster/partition") or (f"{start}...{end}" if start != end else start)
            runs.append((run["status"], span, sorted(key["path"][-1] for key in run["assetSelection"] or [])))
        return runs


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    live = Live(tmp_path_factory.mktemp("live"))
    try:
        live.wait("Dagster", lambda: live.graphql("{version}"), 300)
        live.wait("MLflow", lambda: urllib.request.urlopen(live.mlflow, timeout=5), 300)  # noqa: S310
        live.wait("the first statistics", lambda: live.version("label_report"))
        yield live
    finally:
        live.process.send_signal(signal.SIGTERM)
        live.process.wait(timeout=60)


def test_an_edited_label_file_refreshes_the_statistics_and_the_page(live: Live) -> None:
    before = {stage: live.made(stage) for stage in ("labels", "label_table", "hardness")}
    page = live.home / "reports" / "pictures-labels" / "index.html"
    old, runs = page.read_text(), live.assets_of_runs()
    version = live.version("label_report")
    live.mislabel("prime", 3)
    live.wait("the new page", lambda: live.version("label_report") != version)
    live.wait("its text", lambda: page.read_text() != old, 10)
    after = {stage: live.made(stage) for stage in before}
    assert [n for n, at in after["labels"].items() if at != before["labels"][n]] == ["prime.manifest.json"]
    assert after["label_table"] != before["label_table"]
    assert after["hardness"] != before["hardness"]
    live.wait("the run's end", lambda: all(status == "SUCCESS" for status, *_ in live.assets_of_runs()))
    new = live.assets_of_runs()[: len(live.assets_of_runs()) - len(runs)]
    statistics = [
        "conditional_entropy", "hardness", "joint_counts", "label_counts", "label_report", "label_table",
        "label_uncertainty",
    ]  # fmt: skip
    assert [(span, assets) for _, span, assets in new] == [("", statistics), ("prime", ["labels"])]
    assert live.made("source_model") == {}, "training is off"


def test_a_person_makes_one_task_again_and_follows_it_to_mlflow(live: Live, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1500, "height": 950})
    page.set_default_timeout(30_000)
    try:
        page.goto(f"{live.dagster}/locations/transferability/asset-groups/pictures/lineage")
        for stage in ("label_table", "joint_counts", "source_model", "report"):  # short names are shown whole
            page.get_by_text(stage, exact=True).first.wait_for()
        assert page.get_by_role("dialog").count() == 0, "no pop-up on the first visit"
        page.goto(f"{live.dagster}/assets/pictures/labels")
        page.get_by_role("button", name="Materialize").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("Select a partition or create one").click()
        page.get_by_placeholder("Filter partitions").fill("prime")
        page.get_by_role("menuitem").filter(has_text="prime").click()
        page.get_by_text("Partition selection").click(force=True)  # closes the menu
        dialog.get_by_role("button", name="Launch 1 run").click()
        live.wait("the run", lambda: live.assets_of_runs()[0] == ("SUCCESS", "prime", ["labels"]))
        page.goto(f"{live.dagster}/assets/pictures/labels?view=partitions&partition=prime")
        link = page.locator(f"a[href^='{live.mlflow}']").first
        link.wait_for()
        page.goto(link.get_attribute("href"))
        page.get_by_text("labels/prime").first.wait_for()
        back = page.get_by_role("link", name="The run in Dagster").first
        back.wait_for()
        assert str(back.get_attribute("href")).startswith(f"{live.dagster}/runs/")
        page.goto(f"{live.dagster}/assets/pictures/label_report")
        report = page.locator(f"a[href^='{live.mlflow}'][href$='report/index.html']").first
        report.wait_for()
        page.goto(report.get_attribute("href"))
        page.frame_locator("iframe").get_by_text("Pictures of digits").first.wait_for()
    finally:
        page.screenshot(path=str(live.log.with_name("last.png")))
        page.close()


def test_switched_on_in_the_ui_training_follows_the_labels_and_the_report_is_made_once(live: Live) -> None:
    live.graphql(
        'mutation {startSensor(sensorSelector: {repositoryName: "__repository__", repositoryLocationName: '
        '"transferability", sensorName: "pictures_training_refresh"}) {... on Sensor {name}}}'
    )
    live.wait("the report", lambda: live.version("report"), 900)
    live.wait("quiet", lambda: all(status == "SUCCESS" for status, *_ in live.assets_of_runs()))
    before, runs = {s: live.made(s) for s in ("source_model", "transfer", "report")}, live.assets_of_runs()
    version = live.version("report")
    live.mislabel("even", 5)
    live.wait("the new report", lambda: live.version("report") != version, 900)
    live.wait("quiet", lambda: all(status == "SUCCESS" for status, *_ in live.assets_of_runs()))
    after = {stage: live.made(stage) for stage in before}
    changed = [name for name, at in after["source_model"].items() if at != before["source_model"][name]]
    assert changed == ["even.manifest.json"]
    assert {n for n, at in after["transfer"].items() if at != before["transfer"][n]} == set(after["transfer"])
    new = live.assets_of_runs()[: len(live.assets_of_runs()) - len(runs)]
    assert sum("report" in assets for _, _, assets in new) == 1
    assert not any("pixels" in assets for _, _, assets in new)


def test_runs_beyond_the_limit_wait_in_the_queue(live: Live) -> None:
    live.wait("quiet", lambda: all(status == "SUCCESS" for status, *_ in live.assets_of_runs()))
    launched = [live.launch("pictures_statistics") for _ in range(4)]
    seen = [live.statuses(launched)]

    def ended() -> bool:
        seen.append(live.statuses(launched))
        return set(seen[-1]) == {"SUCCESS"}

    live.wait("the runs", ended)
    under_way = [sum(status in {"STARTING", "STARTED"} for status in now) for now in seen]
    assert max(under_way) == 2, "as dagster.yaml says"
    assert any("QUEUED" in now and under_way[i] == 2 for i, now in enumerate(seen)), seen


def test_a_job_launched_in_the_ui_and_a_run_on_the_command_line_go_together(live: Live) -> None:
    live.mislabel("prime", 7)
    launched = live.launch("pictures_study")
    beside = live.run()
    assert beside.returncode == 0, beside.stderr
    live.wait("the job", lambda: live.statuses([launched]) == ["SUCCESS"], 900)
    live.wait("quiet", lambda: all(status == "SUCCESS" for status, *_ in live.assets_of_runs()))
    after = live.run()
    assert "everything is up to date" in after.stdout, after.stdout
