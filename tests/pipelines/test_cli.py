"""The command line from an empty home folder: what it prints, what it leaves, and errors in one line."""

import re
import subprocess
from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml

from pipelines.cli import main
from resources.errors import StudyError
from tests.command_line import Cli, command_line

STUDY = """\
dataset:
  reader: digits
  options: {per_class: 6, tasks: [digit, is_0, even]}
recipe: {image_size: 16, epochs: 1, batch_size: 16}
uncertainty: {permutations: 20}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "home"
    (folder / "studies").mkdir(parents=True)
    (folder / "studies" / "tiny.yaml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def cli(home: Path) -> Cli:
    return command_line(home)


@pytest.fixture(scope="module")
def first(cli: Cli) -> subprocess.CompletedProcess[str]:
    """The one run of the whole chain, training included, that these tests share."""
    return cli("run", "tiny")


def one_line_error(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode not in {0, None}
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("transferability: ")
    assert said in lines[0], lines[0]
    assert "Traceback" not in done.stderr


# --- run -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_first_run_makes_everything_and_ends_with_a_summary(
    first: subprocess.CompletedProcess[str], home: Path
) -> None:
    assert first.returncode == 0, first.stderr
    out = first.stdout
    assert "hardest tasks (H(Z) in nats): digit 2.303" in out
    assert "best sources for is_0" in out
    assert (home / "reports" / "tiny" / "index.html").exists()
    assert f"report: {home / 'reports' / 'tiny' / 'index.html'}" in out
    rows = {
        line.split()[0]: int(line.split()[1])
        for line in out.splitlines()
        if line.startswith(("source_m", "labels "))
    }
    assert rows == {"labels": 3, "source_model": 3}
    assert "source_model: 3 of 3 in" in first.stderr
    assert (home / "mlflow.db").exists()
    assert (home / "dagster" / "dagster.yaml").exists()
    with duckdb.connect(home / "warehouse" / "tiny.duckdb", read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM transfer").fetchone() == (4,)
        assert connection.execute("SELECT count(*) FROM source_models").fetchone() == (3,)


@pytest.mark.slow
def test_nothing_but_what_people_need_is_printed(first: subprocess.CompletedProcess[str]) -> None:
    for word in ("Traceback", "Warning", "DEBUG", "alembic", "INFO", "leaked"):
        assert word not in first.stderr, first.stderr


@pytest.mark.slow
def test_the_second_run_finds_everything_up_to_date(
    first: subprocess.CompletedProcess[str], cli: Cli
) -> None:
    assert first.returncode == 0
    again = cli("run", "tiny")
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("everything is up to date (")
    assert "hardest tasks" in again.stdout


@pytest.mark.slow
def test_every_materialization_has_a_finished_run_in_mlflow(
    first: subprocess.CompletedProcess[str], home: Path
) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    manifests = list((home / "store" / "tiny").rglob("*.manifest.json"))
    assert len(runs) == len(manifests)


@pytest.mark.slow
def test_nothing_in_the_store_or_the_page_tells_where_it_was_made(
    first: subprocess.CompletedProcess[str], home: Path
) -> None:
    paths = [*(home / "store").rglob("*.json"), *(home / "reports").rglob("*.html")]
    assert paths
    for path in paths:
        assert str(home) not in path.read_text(encoding="utf-8"), path


@pytest.mark.slow
def test_export_writes_every_table_as_parquet_and_csv(
    first: subprocess.CompletedProcess[str], cli: Cli, home: Path, tmp_path: Path
) -> None:
    done = cli("export", "tiny", "--to", tmp_path / "it's here")
    assert done.returncode == 0, done.stderr
    with duckdb.connect(home / "warehouse" / "tiny.duckdb", read_only=True) as connection:
        sizes = dict(connection.execute("SELECT table_name, estimated_size FROM duckdb_tables()").fetchall())
    del sizes["publications"]
    folder = tmp_path / "it's here"
    assert {path.name for path in folder.iterdir()} == {f"{t}.{s}" for t in sizes for s in ("parquet", "csv")}
    assert f"{len(sizes)} tables written" in done.stdout
    hardness = pl.read_parquet(folder / "hardness.parquet")
    assert len(hardness) == len(pl.read_csv(folder / "hardness.csv")) == 9, "three tasks, train, test and all"


@pytest.mark.slow
def test_studies_shows_how_each_stands(first: subprocess.CompletedProcess[str], cli: Cli, home: Path) -> None:
    done = cli("studies")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert {"digits", "celeba", "awa2", "cub", "tiny"} <= set(lines)
    assert "3 tasks, 3 sources, 2 targets" in lines["tiny"]
    done_of_all = re.search(r"(\d+) of (\d+) outputs up to date", lines["tiny"])
    assert done_of_all, lines["tiny"]
    assert done_of_all[1] == done_of_all[2]


# --- without training ----------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    rows = ["colour,round,big"]
    rows += [f"{('red', 'green', 'blue')[i % 3]},{'yes' if i % 2 else 'no'},{i // 30}" for i in range(90)]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_estimate_answers_from_a_table_alone(table: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = command_line(home)("estimate", table)
    assert done.returncode == 0, done.stderr
    assert "labels.csv: 90 rows, 3 tasks; split all; entropies in nats" in done.stdout
    assert "1.0986" in done.stdout, "three colours in equal shares: log 3"
    assert not home.exists(), "an estimate writes nothing"


@pytest.mark.slow
def test_a_new_study_of_a_table_can_be_run_at_once(table: Path, tmp_path: Path) -> None:
    cli = command_line(tmp_path / "home", MLFLOW_TRACKING_URI="http://127.0.0.1:9")  # nobody is there
    made = cli("new-study", "shapes", table)
    assert made.returncode == 0, made.stderr
    written = tmp_path / "home" / "studies" / "shapes.yaml"
    assert yaml.safe_load(written.read_text())["dataset"]["options"]["tasks"] == ["colour", "round", "big"]
    one_line_error(cli("new-study", "shapes", table), "a study 'shapes' exists already")
    ran = cli("run", "shapes", "--only", "statistics")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("not tracked") == 1
    assert "hardest tasks" in ran.stdout
    with duckdb.connect(tmp_path / "home" / "warehouse" / "shapes.duckdb", read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM labels").fetchone() == (90,)


@pytest.mark.slow
def test_what_the_data_warns_of_is_said_at_every_run(tmp_path: Path) -> None:
    """Warnings travel with the data: they stop nothing, and are said also when everything is up to date."""
    table = tmp_path / "labels.csv"
    rows = [f"{i % 2},{i % 3},{int(i >= 50)},{'train' if i < 50 else 'test'}" for i in range(60)]
    table.write_text("\n".join(["round,colour,late,split", *rows]) + "\n")
    cli = command_line(tmp_path / "home", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert cli("new-study", "shapes", table).returncode == 0
    for _ in range(2):
        done = cli("run", "shapes", "--only", "statistics")
        assert done.returncode == 0, done.stderr
        warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
        assert warnings == ["warning: shapes: constant in train: late"]
    assert done.stdout.startswith("everything is up to date")


@pytest.mark.slow
def test_a_failed_stage_says_why_once(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    rows = [f"{i}.png,{i % 2},{i % 3}" for i in range(60)]
    table.write_text("\n".join(["image,round,colour", *rows]) + "\n")
    cli = command_line(tmp_path / "home", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert cli("new-study", "shapes", table).returncode == 0
    done = cli("run", "shapes", "--only", "models")
    assert done.returncode == 1
    assert done.stderr.count("60 of 60 images are not in") == 1, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("failed: pixels: ")]
    assert "Traceback" not in done.stderr


def test_a_broken_study_is_reported_and_the_others_are_listed(tmp_path: Path) -> None:
    studies = tmp_path / "home" / "studies"
    studies.mkdir(parents=True)
    (studies / "broken.yaml").write_text("dataset: {reader: digits}\nepochs: 3\n")
    cli = command_line(tmp_path / "home")
    listed = cli("studies")
    assert listed.returncode == 1
    assert "digits" in listed.stdout
    assert listed.stderr.strip().startswith("transferability: broken.yaml, line 2: epochs: unknown key")
    one_line_error(cli("run", "broken"), "broken.yaml, line 2: epochs: unknown key")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "absent"], "no study 'absent'; the studies are"),
        (["run", "digits", "--only", "everything"], "invalid choice: 'everything'"),
        (
            ["run", "digits", "--sources", "is_77"],
            "--sources: no source 'is_77'; the sources are digit, is_0",
        ),
        (["run", "--fast"], "unrecognized arguments: --fast"),
        (["walk"], "invalid choice: 'walk'"),
        ([], "required"),
        (["export", "digits", "--to", "x"], "digits: has no tables yet; run `transferability run digits`"),
        (["export", "digits"], "--to"),
        (["estimate", "/no/such.csv"], "/no/such.csv: no such file"),
        (["new-study", "Bad-Name", "/no/such.csv"], "study name 'Bad-Name': must match"),
        (["new-study", "digits", "/no/such.csv"], "a study 'digits' exists already"),
        (["new-study", "fine", "/no/such.csv"], "/no/such.csv: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line_and_the_exit_code_is_not_0(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRANSFERABILITY_HOME", str(tmp_path / "home"))
    try:
        code = main(arguments)
    except SystemExit as stopped:  # the parser's
        code = int(str(stopped.code))
    captured = capsys.readouterr()
    one_line_error(subprocess.CompletedProcess(arguments, code, captured.out, captured.err), said)


def test_an_error_is_one_line_in_a_process_of_its_own_too(tmp_path: Path) -> None:
    one_line_error(command_line(tmp_path / "home")("run", "absent"), "no study 'absent'")


@pytest.mark.slow
def test_debug_shows_the_traceback_wherever_it_stands(tmp_path: Path) -> None:
    cli = command_line(tmp_path / "home")
    done = cli("run", "absent", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "no study 'absent'" in done.stderr
    with pytest.raises(StudyError, match="no study 'absent'"):
        main(["--debug", "run", "absent"])


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    one_line_error(command_line(tmp_path / "file" / "home")("run", "digits"), "cannot be written")
