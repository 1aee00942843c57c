"""Nothing that is read is run, nothing listens to the network unasked, and no secret or path leaves the home folder."""

import ast
import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from assets.study import Study
from pipelines.definitions import build_definitions
from pipelines.studies import Studies
from resources.home import Home
from resources.tracking import OWNER_TAG, Tracking
from tests.command_line import command_line
from tests.processes import dead_process

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for folder in ("assets", "pipelines", "resources") for path in (ROOT / folder).rglob("*.py")
)
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
NEVER = {
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "torch.jit.load",
    "np.loadtxt",
    "pl.read_database",
    "os.system",
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def faults(source: str) -> list[str]:
    """What in a module would run what it reads, or call a shell."""
    tree, found = ast.parse(source), []
    for node in ast.walk(tree):
        # The class of an error is all that may be taken from such a module.
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in UNPICKLERS
        ):
            found += [ast.unparse(node)] if node.attr != "UnpicklingError" else []
        if isinstance(node, ast.ImportFrom) and node.module in UNPICKLERS:
            found.append(ast.unparse(node))
        if isinstance(node, ast.Constant) and node.value == "0.0.0.0":  # noqa: S104 - it is looked for
            found.append("0.0.0.0")  # noqa: S104
    for name, call in calls(tree):
        given = {word.arg: word.value for word in call.keywords}
        if name in NEEDED:
            word, value = NEEDED[name]
            ok = isinstance(given.get(word), ast.Constant) and given[word].value is value  # type: ignore[attr-defined]
            found += [] if ok else [ast.unparse(call)]
        if (
            name in NEVER
            or name in {"eval", "exec", "compile", "__import__"}
            or name.endswith((".extractall", ".extract"))
        ):
            found.append(ast.unparse(call))
        if "shell" in given:
            found.append(ast.unparse(call))
    return found


def test_nothing_is_unpickled_evaluated_or_given_to_a_shell() -> None:
    assert {
        path.name: faults(path.read_text(encoding="utf-8")) for path in SOURCES if faults(path.read_text())
    } == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(b)", "from pickle import load", "torch.load(p)", "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)", "np.load(p)", "yaml.load(t, Loader=yaml.Loader)", "eval(t)",
        "subprocess.run(t, shell=True)", "archive.extractall(p)", "host = '0.0.0.0'",
    ],
)  # fmt: skip
def test_that_test_has_teeth(source: str) -> None:
    assert faults(source)


def test_links_to_mlflow_hold_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example.org:8443/team")
    assert Home.default().tracking.ui == "https://mlflow.example.org:8443/team"


def records(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every value in the SQLite files of a folder, by its place; what is compressed, as it is read."""
    for path in (path for path in folder.rglob("*.db") if path.stat().st_size):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    for value in row:
                        stored = value if isinstance(value, bytes) else str(value).encode()
                        with contextlib.suppress(zlib.error):
                            stored = zlib.decompress(stored)
                        yield f"{path.name}/{table}", stored


def test_dagsters_records_hold_no_password(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run stores its job, resources' values included, compressed: a search through the files would not see it."""
    monkeypatch.setenv("TRANSFERABILITY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:open-sesame@127.0.0.1:{_free_port()}")
    definitions = build_definitions(Studies({"tiny": tiny}, {}), Home.default())
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        key = dg.AssetKey(["tiny", "labels"])
        assert job.execute_in_process(instance=instance, asset_selection=[key], partition_key="even").success
        found = list(records(tmp_path / "dagster"))
    assert any(b"mlflow_uri" in stored for place, stored in found if place.endswith("/snapshots"))
    assert [place for place, stored in found if b"sesame" in stored] == []


def test_a_password_in_the_launchpad_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set MLFLOW_TRACKING_URI instead") as refused:
        Home(path=str(tmp_path), mlflow_uri="http://me:open-sesame@127.0.0.1:9")
    assert "sesame" not in str(refused.value)


@pytest.mark.slow
def test_a_password_reaches_neither_screen_nor_log_nor_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "studies").mkdir(parents=True)
    (home / "studies" / "small.yaml").write_text(
        "dataset: {reader: digits, options: {per_class: 6, tasks: [digit, even, prime]}}\n"
        "uncertainty: {permutations: 20}\n"
    )
    address = f"http://me:open-sesame@127.0.0.1:{_free_port()}/team"
    cli = command_line(home, timeout=600, MLFLOW_TRACKING_URI=address)
    done = cli("--debug", "run", "small", "--only", "statistics")
    assert done.returncode == 0, done.stderr
    assert "not tracked" in done.stdout + done.stderr
    assert "sesame" not in done.stdout + done.stderr
    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files), "Dagster's records are looked through, too"
    assert [path.name for path in files if b"sesame" in path.read_bytes()] == []
    assert [place for place, stored in records(home) if b"sesame" in stored] == []


@pytest.mark.slow
def test_everything_that_the_ui_starts_listens_on_this_machine_alone(tmp_path: Path) -> None:
    tracking = Tracking(tmp_path / "home")
    client = tracking._connected()
    left = client.create_run(tracking._experiment(client, "a study"), tags={OWNER_TAG: dead_process()})
    ports = [_free_port(), _free_port()]
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "ui",
        "--port",
        str(ports[0]),
        "--mlflow-port",
        str(ports[1]),
    ]
    environment = {**os.environ, "TRANSFERABILITY_HOME": str(tmp_path / "home"), "MLFLOW_TRACKING_URI": ""}
    ui = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline, listening = time.monotonic() + 180, set[tuple[str, int]]()
        while not {port for _, port in listening} >= set(ports) and time.monotonic() < deadline:
            assert ui.poll() is None
            time.sleep(1)
            listening = _listening(ui.pid)
        assert {port for _, port in listening} >= set(ports)
        assert {address for address, _ in listening} == {"127.0.0.1"}
        home = Home(path=str(tmp_path / "home"))
        assert home.dagster_address == f"http://127.0.0.1:{ports[0]}", "for links of runs made elsewhere"
        assert home.tracking.ui == f"http://127.0.0.1:{ports[1]}"
        assert client.get_run(left.info.run_id).info.status == "KILLED", "what a killed run left open"
        assert [e.name for e in client.search_experiments()] == ["a study"], "no empty one is made"
    finally:
        ui.send_signal(signal.SIGINT)
        ui.wait(timeout=60)


def _listening(pid: int) -> set[tuple[str, int]]:
    found = set()
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            sockets = process.net_connections(kind="inet")
        except psutil.Error:
            continue
        found |= {(s.laddr.ip, s.laddr.port) for s in sockets if s.status == psutil.CONN_LISTEN}
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
