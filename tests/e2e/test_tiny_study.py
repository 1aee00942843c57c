"""The whole chain by the command line, as a user runs it, on a slice of the real digits: seven tasks, three sources."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

TINY = """
title: A slice of digits
dataset:
  reader: digits
  options: {per_class: 12, tasks: [digit, is_0, even, segment_c, is_2, prime, curved]}
sources: [digit, is_2, even]
recipe: {image_size: 16, epochs: 2, batch_size: 32, learning_rate: 0.05}
uncertainty: {permutations: 20}
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
        "probe_log_likelihood", "slack", "undefined_because",
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
    assert "NaN" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    names = {run.info.run_name.split("/")[0] for run in runs}
    assert names >= {"labels", "label_table", "pixels", "embedding", "transfer", "bound", "report"}


def test_no_absolute_path_in_manifests_and_page(home: Home) -> None:
    for path in [*home.path.glob("store/**/*.json"), home.path / "reports" / "tiny" / "index.html"]:
        assert str(home.path) not in path.read_text(), path


def test_again_at_once_finds_everything_up_to_date(home: Home) -> None:
    began = time.monotonic()
    done = home.run("run", "tiny")
    assert done.returncode == 0
    assert "everything is up to date" in done.stdout
    assert time.monotonic() - began < 30


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
