"""The whole chain by the command line, as a user runs it, on a slice of the real digits: seven tasks, three sources."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import dagster as dg
import duckdb
import numpy as np
import pytest

from assets.chain import cross_study_assets
from assets.materialize import stage_asset
from assets.reports.assets import HARDNESS_CORRELATION, TRANSFER_CORRELATION
from assets.reports.formatting import number
from assets.study import load_study
from resources.errors import StoreError
from resources.home import Home as TransferabilityHome
from resources.tracking import Tracking

TINY = """
title: A slice of digits
dataset:
  reader: digits
  options: {per_class: 12, tasks: [digit, is_0, even, segment_c, is_2, prime, curved]}
sources: [digit, is_2, even]
recipe: {image_size: 16, epochs: 2, batch_size: 32, learning_rate: 0.05}
uncertainty: {permutations: 20}
sample_efficiency: {sizes: 2, seeds: [0, 1]}
"""
SOURCES = ["digit", "is_2", "even"]
TARGETS = ["is_0", "is_2", "segment_c", "even", "prime", "curved"]

TABLES = {
    "labels": ["image_id", "image", "split"],
    "tasks": ["task", "n_values", "is_source", "is_target", "description"],
    "label_values": ["task", "value", "name"],
    "label_counts": ["split", "task", "value", "n"],
    "joint_counts": ["split", "source", "target", "source_value", "target_value", "n"],
    "conditional_entropy": [
        "split", "source", "target", "conditional_entropy", "target_entropy", "n", "undefined_because",
    ],
    "hardness": ["split", "task", "hardness", "n", "n_values"],
    "label_uncertainty": ["split", "source", "target", "corrected", "ci_low", "ci_high", "null_mean", "null_q95"],
    "source_models": [
        "task", "train_log_likelihood", "train_error", "test_error", "n_train", "n_test", "n_unseen", "epochs",
        "seconds", "device", "undefined_because",
    ],
    "transfer": ["source", "target", "train_error", "test_error", "n_train", "n_test", "constant_target"],
    "bound": [
        "source", "target", "n", "source_log_likelihood", "conditional_entropy", "kbar_log_likelihood",
        "probe_log_likelihood", "slack", "undefined_because", "n_checked",
    ],
    "transfer_correlation": [
        "source", "split", "target_values", "n_targets", "pearson_r", "pearson_p", "ci_low", "ci_high", "spearman_r",
        "kendall_tau", "undefined_because",
    ],
    "hardness_correlation": [
        "split", "task_values", "n_tasks", "pearson_r", "pearson_p", "ci_low", "ci_high", "undefined_because",
    ],
}  # fmt: skip


class Home:
    """A home folder and the command line run in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "studies").mkdir(parents=True)
        (path / "studies" / "tiny.yaml").write_text(TINY)
        self.environment = {**os.environ, "TRANSFERABILITY_HOME": str(path), "OMP_NUM_THREADS": "2"}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "pipelines.cli", *arguments]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments)
        out, err = process.communicate(timeout=280)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with duckdb.connect(self.path / "warehouse" / "tiny.duckdb", read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def results(self) -> dict[str, list[tuple[object, ...]]]:
        """All final tables without what is only recorded."""
        return {
            "transfer": self.rows("FROM transfer ORDER BY ALL"),
            "bound": self.rows("FROM bound ORDER BY ALL"),
            "models": self.rows("SELECT * EXCLUDE (seconds) FROM source_models ORDER BY ALL"),
            "correlation": self.rows("FROM transfer_correlation ORDER BY ALL"),
        }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("tiny") / "home")
    done = home.run("run", "tiny")
    assert done.returncode == 0, done.stderr
    assert "correlation of H(Y|Z)" in done.stdout
    assert re.search(r"best sources for is_0, by corrected H\(Y\|Z\)/H\(Y\): \w+", done.stdout)
    page = re.search(r"^report: (.+)$", done.stdout, re.MULTILINE)
    assert page is not None
    assert Path(page.group(1)) == home.path / "reports" / "tiny" / "index.html"
    assert Path(page.group(1)).exists()
    return home


def test_tables_hold_what_they_promise(home: Home) -> None:
    for table, columns in TABLES.items():
        found = [name for name, *_ in home.rows(f"DESCRIBE {table}")]
        assert [name for name in columns if name not in found] == [], table
    pairs = {(s, t) for s in SOURCES for t in TARGETS if s != t}
    for table in ("transfer", "bound"):
        assert set(home.rows(f"SELECT source, target FROM {table}")) == pairs
    assert set(home.rows("SELECT source, target FROM conditional_entropy WHERE split = 'train'")) == pairs
    assert home.rows("SELECT count(*) FROM labels") == [(120,)]
    assert home.rows("SELECT split, count(*) FROM labels GROUP BY split ORDER BY split") == [
        ("test", 40),
        ("train", 80),
    ]


def test_what_is_undefined_is_null_with_a_reason(home: Home) -> None:
    (row,) = home.rows(
        "SELECT pearson_r, undefined_because FROM transfer_correlation WHERE source = 'digit' AND split = 'train'"
    )
    assert row[0] is None
    assert "0 for all" in str(row[1])
    for table in TABLES:
        floats = [name for name, kind, *_ in home.rows(f"DESCRIBE {table}") if kind == "DOUBLE"]
        for name in floats:
            assert home.rows(f'SELECT count(*) FROM {table} WHERE isnan("{name}")') == [(0,)], (table, name)


def test_a_duplicate_is_marked(home: Home) -> None:
    found = home.rows("SELECT source, target FROM conditional_entropy WHERE split = 'train' AND equivalent")
    assert found == [("is_2", "segment_c")]


def test_theorem_1_holds(home: Home) -> None:
    (row,) = home.rows(
        "SELECT count(*), min(slack), sum(n_violations), max(abs(slack - slack_check)) FROM bound"
    )
    assert row[0] == len(TARGETS) * len(SOURCES) - 2  # is_2 and even are no targets of their own
    assert row[1] >= -1e-9
    assert row[2] == 0
    assert row[3] < 1e-9


def test_page_mlflow_and_duckdb_agree(home: Home) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{home.path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_name = {run.info.run_name: run for run in runs}
    for task, error, likelihood in home.rows(
        "SELECT task, test_error, train_log_likelihood FROM source_models"
    ):
        run = by_name[f"source_model/{task}"]
        assert run.data.metrics["test_error"] == error
        assert run.data.metrics["train_log_likelihood"] == likelihood
        assert run.data.tags["dagster/partition"] == task
        assert run.data.params["recipe.epochs"] == "2"
        assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 2
    ((median,),) = home.rows("SELECT median_r FROM overall_correlation WHERE split = 'train'")
    assert by_name["transfer_correlation"].data.metrics["median_r"] == median
    text = (home.path / "reports" / "tiny" / "index.html").read_text()
    assert f"{median:.2f}".replace("-", "−") in text or f"{median:.2f}" in text
    assert "NaN" not in re.sub(r'<script.*?</script>|src="data:[^"]*"', "", text, flags=re.DOTALL)
    names = {run.info.run_name.split("/")[0] for run in runs}
    assert names >= {"labels", "label_table", "pixels", "embedding", "transfer", "bound", "report"}


class Page(HTMLParser):
    """The tables of a page: id → rows of (text, value), as shown and as sorted by; and its words and its JSON."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.words: list[str] = []
        self._rows: list[list[list[str]]] | None = None
        self._cell = self._silent = False
        self.feed(html)
        found = re.search(r'id="data">(.*?)</script>', html, re.DOTALL)
        assert found is not None
        self.data = json.loads(found[1])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._silent = self._silent or tag in {"script", "style"}
        if tag == "table":
            self._rows = self.tables[str(given["id"]).removeprefix("table-")] = []
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in {"td", "th"} and self._rows is not None:
            self._rows[-1].append(["", given.get("data-v") or ""])
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style"}:
            self._silent = False
        elif tag in {"td", "th"}:
            self._cell = False
        elif tag == "table":
            self._rows = None

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)
        if self._cell and self._rows is not None:
            self._rows[-1][-1][0] += data

    def value(self, table: str, column: str, *first: str) -> float | None:
        """The number behind the cell of the row whose first cells' values are `first`; None if it says why not."""
        heads, *rows = self.tables[table]
        (row,) = [row for row in rows if tuple(cell[1] for cell in row[: len(first)]) == first]
        text, value = row[[text for text, _ in heads].index(column)]
        assert value or "not" in text, text
        return float(value) if value else None


def test_every_kind_of_number_on_the_page_is_the_warehouses(home: Home) -> None:
    page = Page((home.path / "reports" / "tiny" / "index.html").read_text())

    def same(sql: str, table: str, column: str, *first: str) -> None:
        ((expected,),) = home.rows(sql)
        found = page.value(table, column, *first)
        assert (found is None) == (expected is None), (table, column)
        assert found is None or found == pytest.approx(float(str(expected)), rel=1e-12), (table, column)

    of_even = "FROM transfer_correlation WHERE split = 'train' AND source = 'even'"
    for column, name in {
        "Pearson r": "pearson_r", "95 % (Fisher)": "ci_low", "95 % (tasks)": "bootstrap_low", "p": "pearson_p",
        "q": "q_value", "Spearman": "spearman_r", "Kendall τ": "kendall_tau", "Lead over H(Y)": "difference",
        "p of lead": "williams_p", "Targets": "n_targets",
    }.items():  # fmt: skip
        same(f"SELECT {name} {of_even}", "correlations", column, "even")
    for column, name in {
        "Hardness H(Z), nats": "hardness",
        "Labelled images": "n",
        "Values": "n_values",
    }.items():
        same(
            f"SELECT {name} FROM hardness WHERE split = 'train' AND task = 'prime'",
            "hardness",
            column,
            "prime",
        )
    same("SELECT test_error FROM source_models WHERE task = 'is_2'", "hardness", "Test error", "is_2")
    ranking = "FROM target_ranking WHERE split = 'train' AND target = 'prime'"
    same(f"SELECT regret {ranking}", "sources", "Cost of following", "prime")
    same("SELECT test_error FROM source_models WHERE task = 'even'", "sources", "Dedicated error", "even")
    for column, name in {
        "Least slack": "min(slack)", "Median slack": "median(slack)", "Largest slack": "max(slack)",
        "Middle half": "quantile_cont(slack, 0.25)", "Rows that violate it": "sum(n_violations)", "Pairs": "count(slack)",
        "Bound l_Z − H(Y|Z)": "avg(source_log_likelihood - conditional_entropy)",
        "l_Y of k̄": "avg(kbar_log_likelihood)", "l_Y of a probe": "avg(probe_log_likelihood)",
    }.items():  # fmt: skip
        same(f"SELECT {name} FROM bound WHERE source = 'even'", "bound", column, "even")
    ((source,),) = home.rows(
        "SELECT source FROM best_sources WHERE split = 'train' AND target = 'prime' AND rank = 1 AND NOT wide "
        "AND NOT near_unique AND NOT equivalent"
    )
    pair = f"WHERE split = 'train' AND target = 'prime' AND source = '{source}'"
    for column, name in {
        "Corrected": "corrected", "95 % interval": "ci_low", "Shuffled, mean": "null_mean",
        "Shuffled, 5 % to 95 %": "null_q05", "p": "p_value",
    }.items():  # fmt: skip
        same(f"SELECT {name} FROM label_uncertainty {pair}", "uncertainty", column, "prime", str(source))
    same(f"SELECT conditional_entropy FROM conditional_entropy {pair}", "uncertainty", "H(Y|Z), counted",
         "prime", str(source))  # fmt: skip
    ((source, target, residual),) = home.rows(
        "SELECT source, target, residual FROM residuals WHERE split = 'train' ORDER BY abs(standardised) DESC LIMIT 1"
    )
    assert page.value("residuals", "Residual", str(source), str(target)) == residual
    where = "source = 'digit' AND target = 'prime'"
    same(f"SELECT conditional_entropy FROM conditional_entropy WHERE split = 'all' AND {where}", "table-1",
         "CE over all images, nats", "prime")  # fmt: skip
    same(f"SELECT 1 - test_error FROM transfer WHERE {where}", "table-1", "Transferred accuracy", "prime")
    words = "".join(page.words)
    ((median, low),) = home.rows("SELECT median_r, min_r FROM overall_correlation WHERE split = 'train'")
    assert f"has a median of {number(float(str(median)))} and runs from {number(float(str(low)))}" in words
    place = {task: i for i, task in enumerate(page.data["tasks"])}
    errors = np.frombuffer(base64.b64decode(page.data["error"]), "<f8").reshape(len(place), len(place))
    for source, target, error in home.rows("SELECT source, target, test_error FROM transfer"):
        assert errors[place[source], place[target]] == float(str(error))


def test_a_source_model_comes_back_from_its_mlflow_run(home: Home) -> None:
    import torch
    from mlflow.tracking import MlflowClient

    from assets.models.from_run import load_from_run
    from assets.models.weights import load_source_model

    tracking = Tracking(home.path)
    client = MlflowClient(tracking.tracking_uri)
    identity = client.get_experiment_by_name("tiny").experiment_id
    runs = {run.info.run_name: run.info.run_id for run in client.search_runs([identity], max_results=1000)}
    loaded = load_from_run(runs["source_model/even"], tracking=tracking)
    kept = home.path / "store" / "tiny" / "source_model" / "even.safetensors"
    wanted = load_source_model(kept)
    assert loaded.settings == wanted.settings
    assert torch.equal(loaded.classes, wanted.classes)
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    (artifact,) = home.path.glob(f"mlartifacts/**/{runs['source_model/even']}/**/even.safetensors")
    assert artifact.samefile(kept), "the weights take no place twice"
    with pytest.raises(StoreError, match="keeps no 'model'"):
        load_from_run(runs["hardness"], tracking=tracking)
    with pytest.raises(StoreError, match="cannot be read"):
        load_from_run("0" * 32, tracking=tracking)
    content = artifact.read_bytes()
    artifact.unlink()
    artifact.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoreError, match="not what its manifest says"):
        load_from_run(runs["source_model/even"], tracking=tracking)


def test_mlflow_keeps_the_page_and_what_is_small_beside_it(home: Home) -> None:
    (previews,) = {
        path.parent for path in home.path.glob("mlartifacts/tiny/*/artifacts/report/previews/figure-2.png")
    }
    kept = {
        path.relative_to(previews.parent).as_posix() for path in previews.parent.rglob("*") if path.is_file()
    }
    assert {"index.html", "tables/transfer_correlation.csv", "previews/figure-2.png"} <= kept
    assert not [name for name in kept if name.startswith("figures/")], (
        "the large figures stay beside the page"
    )


def test_the_row_count_in_the_ui_is_that_of_the_assets_own_table(home: Home) -> None:
    place = TransferabilityHome(path=str(home.path), mlflow_uri="http://127.0.0.1:9")
    study = load_study(home.path / "studies" / "tiny.yaml", home.path)
    for stage in (TRANSFER_CORRELATION, HARDNESS_CORRELATION):
        done = dg.materialize([stage_asset(stage, study)], resources={"home": place})
        (event,) = done.get_asset_materialization_events()
        ((rows,),) = home.rows(f"SELECT count(*) FROM {stage.name}")
        assert event.materialization.metadata["dagster/row_count"].value == rows > 0


def test_no_absolute_path_in_manifests_and_page(home: Home) -> None:
    for path in [*home.path.glob("store/**/*.json"), home.path / "reports" / "tiny" / "index.html"]:
        assert str(home.path) not in path.read_text(), path


def test_again_at_once_finds_everything_up_to_date(home: Home) -> None:
    began = time.monotonic()
    done = home.run("run", "tiny")
    assert done.returncode == 0
    assert "everything is up to date" in done.stdout
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_a_deleted_embedding_redoes_only_what_depends_on_it(home: Home) -> None:
    before = home.results()
    made = {path: path.stat().st_mtime_ns for path in home.path.glob("store/tiny/**/*.manifest.json")}
    (home.path / "store" / "tiny" / "embedding" / "even.safetensors").unlink()
    done = home.run("run", "tiny")
    assert done.returncode == 0, done.stderr
    after = {path: path.stat().st_mtime_ns for path in home.path.glob("store/tiny/**/*.manifest.json")}
    redone = {f"{path.parent.name}/{path.name.split('.')[0]}" for path in made if after[path] != made[path]}
    assert "embedding/even" in redone
    assert redone <= {"embedding/even", "transfer/even", "bound/even", "transfer_correlation/_", "report/_"}
    assert home.results() == before


def test_export_writes_every_table(home: Home, tmp_path: Path) -> None:
    done = home.run("export", "tiny", "--to", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in (tmp_path / "out").glob("*.parquet")} >= set(TABLES)
    assert {path.stem for path in (tmp_path / "out").glob("*.csv")} >= set(TABLES)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on_after_the_last_finished_source(
    home: Home, tmp_path: Path, how: signal.Signals
) -> None:
    other = Home(tmp_path / "home")
    process = other.start("run", "tiny")
    models = other.path / "store" / "tiny" / "source_model"
    while len(list(models.glob("*.manifest.json"))) < 1:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0
    finished = {p: json.loads(p.read_text())["created"] for p in models.glob("*.manifest.json")}
    assert 1 <= len(finished) < len(SOURCES)
    done = other.run("run", "tiny")
    assert done.returncode == 0, done.stderr
    for path, created in finished.items():
        assert json.loads(path.read_text())["created"] == created
    assert other.results() == home.results()


@pytest.mark.slow
def test_sample_efficiency_is_shown_once_it_has_been_measured(home: Home) -> None:
    page = home.path / "reports" / "tiny" / "index.html"
    assert "Fig. 5" not in page.read_text()
    done = home.run("run", "tiny", "--only", "sample-efficiency")
    assert done.returncode == 0, done.stderr
    assert home.rows("SELECT count(DISTINCT n_train) >= 2, count(DISTINCT seed) FROM sample_efficiency") == [
        (True, 2)
    ]
    done = home.run("run", "tiny")
    assert done.returncode == 0, done.stderr
    assert "Fig. 5: test accuracy against the number of training images" in page.read_text()
    assert (page.parent / "figures" / "figure-5.pdf").exists()


@pytest.mark.slow
def test_the_page_across_studies_is_made_from_what_has_run(home: Home) -> None:
    place = TransferabilityHome(path=str(home.path))
    studies = [load_study(home.path / "studies" / "tiny.yaml", home.path)]
    done = dg.materialize(cross_study_assets(studies), resources={"home": place})
    (event,) = done.get_asset_materialization_events()
    told = event.materialization.metadata
    assert told["seconds"].value > 0
    assert "data:image/png;base64," in told["figure figure-6"].value
    tracked = place.tracking._connected().get_run(str(told["mlflow_run"].value).rpartition("/")[2])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params == {"studies": "tiny", "code": "1"}
    assert tracked.data.metrics == {"studies": 1, "seconds": told["seconds"].value}
    assert {
        "dagster/run_id": done.run_id,
        "dagster/asset_key": "benchmark_report",
        "dagster/code_version": "1",
        "transferability/data_version": event.materialization.tags["dagster/data_version"],
    }.items() <= tracked.data.tags.items()
    assert f"/runs/{done.run_id})" in tracked.data.tags["mlflow.note.content"]
    folder = home.path / "reports" / "all-studies"
    page = Page((folder / "index.html").read_text())
    ((median, n_targets),) = home.rows(
        "SELECT median_r, n_targets FROM overall_correlation WHERE split = 'train' AND target_values = 2"
    )
    study = "A slice of digits"
    assert page.value("overall", "Median r", study) == median
    assert page.value("overall", "Targets", study) == n_targets
    ((r,),) = home.rows(
        "SELECT pearson_r FROM hardness_correlation WHERE split = 'train' AND task_values = 2"
    )
    assert page.value("overall", "Hardness r", study) == r
    assert {"figure-6.png", "figure-6.svg", "figure-6.pdf"} <= {path.name for path in folder.iterdir()}
