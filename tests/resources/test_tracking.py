"""MLflow runs end as what they came to, and a server that is away costs seconds and nothing else."""

import base64
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from resources import tracking as module
from resources.addresses import without_secrets
from resources.errors import StoreError
from resources.processes import this_process
from resources.tracking import OWNER_TAG, Tracking, Untracked
from tests.processes import dead_process


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def tracking(home: Path) -> Tracking:
    return Tracking(home)


def stored(tracking: Tracking, run_id: str):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=tracking.tracking_uri).get_run(run_id)


def test_a_run_holds_what_was_recorded_and_is_finished(
    tracking: Tracking, home: Path, tmp_path: Path
) -> None:
    note = tmp_path / "note.txt"
    note.write_text("kept")
    with tracking.run("study", "source_model/is_0", {"dagster/partition": "is_0"}) as run:
        run.params({"recipe": {"epochs": 2, "schedule": None}, "long": "x" * 10_000})
        for step in range(3):
            run.metrics({"loss": 1.0 / (step + 1), "undefined": None}, step=step)
        run.metrics({"seconds": 3})
        run.tags({"late": "tag"})
        run.artifact(note, "notes")
    found = stored(tracking, run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "source_model/is_0"
    assert found.data.params["recipe.epochs"] == "2"
    assert found.data.params["recipe.schedule"] == "None"
    assert found.data.metrics == {"loss": pytest.approx(1 / 3), "seconds": 3.0}
    assert found.data.tags["dagster/partition"] == "is_0"
    assert found.data.tags["late"] == "tag"
    assert found.data.tags[OWNER_TAG] == this_process()
    assert (home / "mlflow.db").exists()
    assert [path.read_text() for path in (home / "mlartifacts").rglob("note.txt")] == ["kept"]
    assert run.url is not None
    assert run.url.endswith(f"/#/experiments/{found.info.experiment_id}/runs/{run.run_id}")


def test_a_new_store_shows_the_studies_and_no_empty_experiment(tmp_path: Path) -> None:
    for _process in range(2):  # MLflow makes its default experiment whenever it finds none of that number
        with Tracking(tmp_path).run("digits", "labels/even", {}):
            pass
        assert [e.name for e in Tracking(tmp_path)._connected().search_experiments()] == ["digits"]


def test_a_curve_keeps_all_its_steps_however_many(tracking: Tracking) -> None:
    from mlflow.tracking import MlflowClient

    with tracking.run("study", "curve", {}) as run:
        for step in range(2000):
            run.metrics({"loss": float(step)}, step=step)
        run.params({f"p{i}": i for i in range(250)})
    client = MlflowClient(tracking_uri=tracking.tracking_uri)
    history = client.get_metric_history(run.run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(n, float(n)) for n in range(2000)]
    assert len(client.get_run(run.run_id).data.params) == 250


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_breaks_off_is_closed_as_what_it_came_to(
    tracking: Tracking, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), tracking.run("study", "broken", {}) as run:  # noqa: PT012
        run.metrics({"before": 1.0})
        raise error
    found = stored(tracking, run.run_id)
    assert found.info.status == status
    assert found.data.metrics == {"before": 1.0}
    assert found.info.end_time is not None


@pytest.mark.parametrize(
    "name",
    ["'; DROP TABLE runs; --", "<b>x</b>", "x" * 300, "é👩\u202e", "line\nbreak", "../../up"],
    ids=ascii,
)
def test_hostile_names_of_runs_come_back_as_they_are(tracking: Tracking, name: str) -> None:
    with tracking.run("study", f"labels/{name}", {"dagster/partition": name}) as run:
        run.metrics({"n": 1})
    found = stored(tracking, run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == f"labels/{name}"
    assert found.data.tags["dagster/partition"] == name


def test_what_mlflow_refuses_does_not_stop_the_work(
    tracking: Tracking, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), tracking.run("study", "refused", {}) as run:
        run.metrics({"a metric's name with ' and \n": 1.0})
        run.artifact(Path("/no/such/file"))
        done = True
    assert done
    assert "tracked no further" in caplog.text


@pytest.mark.slow
def test_a_killed_process_leaves_a_run_that_is_closed_later(tracking: Tracking, home: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from resources.tracking import Tracking\n"
        "with Tracking(Path(sys.argv[1])).run('study', 'killed', {}) as run:\n"
        "    print(run.run_id, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(home)], capture_output=True, text=True, check=False, timeout=120
    )
    run_id = done.stdout.strip()
    assert stored(tracking, run_id).info.status == "RUNNING"
    with tracking.run("study", "alive", {}) as alive:
        tracking.end_orphans("study")  # if opening that run has not done it
        assert stored(tracking, alive.run_id).info.status == "RUNNING"
    assert stored(tracking, run_id).info.status == "KILLED"
    assert tracking.end_orphans("study") == 0


def left_open(tracking: Tracking, experiment: str, *owners: str) -> list[str]:
    """Open runs of those processes, as a kill leaves them behind; an empty name is another program's run."""
    client = tracking._connected()
    identity = tracking._experiment(client, experiment)
    return [
        client.create_run(identity, tags={OWNER_TAG: owner} if owner else {}).info.run_id for owner in owners
    ]


def test_the_first_run_of_a_process_closes_what_dead_ones_left_open(tracking: Tracking, home: Path) -> None:
    runs = left_open(tracking, "swept", dead_process(), this_process(), "elsewhere:1:1", "")
    with Tracking(home).run("swept", "next", {}):
        pass
    assert [stored(tracking, run).info.status for run in runs] == ["KILLED", "RUNNING", "RUNNING", "RUNNING"]


def test_every_experiment_is_swept_when_none_is_named_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    tracking, dead = Tracking(tmp_path), dead_process()
    runs = [*left_open(tracking, "one", dead), *left_open(tracking, "other", *[dead] * 5)]
    assert tracking.end_orphans() == 6
    assert {stored(tracking, run).info.status for run in runs} == {"KILLED"}
    assert {e.name for e in tracking._connected().search_experiments()} == {"one", "other"}


@pytest.mark.slow
def test_several_processes_share_a_fresh_store(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from resources.tracking import Tracking\n"
        "tracking = Tracking(Path(sys.argv[1]))\n"
        "for n in range(3):\n"
        "    with tracking.run('study', f'run {n}', {}) as run:\n"
        "        run.metrics({'n': n})\n"
        "    assert run.run_id, 'not tracked'\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [worker.communicate(timeout=200)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    tracking = Tracking(tmp_path)
    client = tracking._connected()
    experiments = [e for e in client.search_experiments() if e.name == "study"]
    assert len(experiments) == 1
    runs = client.search_runs([experiments[0].experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 6


# --- a server that is away -----------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_down_costs_seconds_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = Tracking(tmp_path, uri=f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        for n in range(20):
            with away.run("study", f"run {n}", {}) as run:
                run.params({"a": 1})
                run.metrics({"b": 1.0})
                run.tags({"c": "d"})
                run.artifact(tmp_path)
            assert isinstance(run, Untracked)
            assert run.url is None
    assert time.monotonic() - began < 5
    assert caplog.text.count("not tracked") == 1
    assert away.end_orphans("study") == 0


def test_a_server_that_takes_calls_and_never_answers_costs_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        held: list[socket.socket] = []

        def take_calls() -> None:
            while True:
                try:
                    held.append(silent.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take_calls, daemon=True).start()
        away = Tracking(tmp_path, uri=f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with away.run("study", "run", {}) as run:
            pass
        assert isinstance(run, Untracked)
        assert time.monotonic() - began < 20
        for connection in held:
            connection.close()


def test_tracking_goes_on_when_the_store_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded store cannot be opened, is mended, and the same object tracks again."""
    monkeypatch.setattr(module, "_RETRY_AFTER", 0.2)
    tracking = Tracking(tmp_path)
    (tmp_path / "mlflow.db").mkdir()  # where the file should be
    with tracking.run("study", "first", {}) as run:
        assert isinstance(run, Untracked)
    (tmp_path / "mlflow.db").rmdir()
    with tracking.run("study", "second", {}) as run:
        assert isinstance(run, Untracked), "it is not tried again at once"
    time.sleep(0.3)
    with tracking.run("study", "third", {}) as run:
        run.metrics({"n": 1})
    assert stored(tracking, run.run_id).info.status == "FINISHED"


class _Server:
    """A real server in front of no MLflow: it refuses every call, drops it, or answers and then refuses."""

    def __init__(self, manner: str) -> None:
        self.seen: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                outer.seen.append(self.headers.get("Authorization"))
                if manner == "drops":
                    self.connection.close()
                    return
                found = {
                    "search": {"experiments": []},
                    "get-by-name": {"experiment": {"experiment_id": "1", "lifecycle_stage": "active"}},
                    "create": {"run": {"info": {"run_id": "r", "experiment_id": "1", "artifact_uri": "x:/"}}},
                }.get(urlsplit(self.path).path.rpartition("/")[2])
                known = manner == "refuses later" and found is not None
                body = json.dumps(found).encode() if known else b"come back later"
                self.send_response(200 if known else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.place = f"127.0.0.1:{self.http.server_port}"


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # so that what is set meanwhile is taken back


@pytest.mark.parametrize("manner", ["refuses", "drops", "refuses later"])
@pytest.mark.usefixtures("no_credentials")
def test_a_password_in_the_address_reaches_the_server_and_no_message(
    tmp_path: Path, manner: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    server = _Server(manner)
    tracking = Tracking(tmp_path, uri=f"http://me:open-s%40same@{server.place}")
    with caplog.at_level(logging.DEBUG):
        with tracking.run("study", "run", {}) as run:
            run.metrics({"n": 1})
        tracking.end_orphans("study")
        with pytest.raises(StoreError) as refused:
            tracking.fetch("0" * 32, "model", tmp_path)
    assert server.seen[0] == f"Basic {base64.b64encode(b'me:open-s@same').decode()}"
    said = caplog.text + str(refused.value) + "".join(traceback.format_exception(refused.value))
    said += repr(tracking) + "".join(capfd.readouterr())
    assert "MLflow: " in caplog.text
    assert "same" not in said
    server.http.shutdown()


@pytest.mark.usefixtures("no_credentials")
def test_a_password_that_was_not_written_as_an_address_asks_is_not_quoted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        Tracking(tmp_path, uri="http://me:open/sesame@host").run("s", "r", {}),
    ):
        pass
    assert "write /, ?, # and @ in a password as" in caplog.text
    assert "open" not in caplog.text
    assert "sesame" not in caplog.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no host in postgresql://me:open-sesame@db/x", "no host in postgresql://***@db/x"),
        ("'open-sesame' is wrong", "'***' is wrong"),
        ("http://elsewhere/?a=b@c", "http://elsewhere/?a=b@c"),
    ],
)
def test_what_another_library_says_is_shown_without_the_password(text: str, shown: str) -> None:
    assert without_secrets(text, "postgresql://me:open-sesame@db/x") == shown


@pytest.mark.slow
def test_a_real_server_that_dies_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_AFTER", 1.0)
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}",
        "--default-artifact-root", (tmp_path / "artifacts").as_uri(), "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1",
    ]  # fmt: skip

    def start() -> subprocess.Popen[bytes]:
        server = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.2)
            else:
                return server
        raise AssertionError("the server did not start")

    def stop(server: subprocess.Popen[bytes]) -> None:
        os.killpg(server.pid, 9)
        server.wait()

    tracking = Tracking(tmp_path, uri=f"http://127.0.0.1:{port}")
    server = start()
    try:
        with tracking.run("study", "before", {}) as before:
            before.metrics({"n": 1})
        assert stored(tracking, before.run_id).info.status == "FINISHED"
        began = time.monotonic()
        with tracking.run("study", "in the middle", {}) as middle:
            stop(server)
            middle.metrics({"n": 2})
        with tracking.run("study", "away", {}) as away:
            assert isinstance(away, Untracked)
        assert time.monotonic() - began < 60
        server = start()
        time.sleep(1.1)
        with tracking.run("study", "after", {}) as after:
            after.metrics({"n": 3})
        assert stored(tracking, after.run_id).info.status == "FINISHED"
    finally:
        stop(server)
