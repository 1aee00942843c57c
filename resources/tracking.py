"""MLflow: one run for every materialization. Tracking never decides whether an asset materialises.

The embedded store is an SQLite file under the home folder; MLFLOW_TRACKING_URI names any other server. What is logged
is decided by the stages.
"""

import contextlib
import logging
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock

from resources.addresses import credentials, without_credentials, without_secrets
from resources.errors import StoreError, first_line
from resources.processes import lives, this_process

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_LOG = logging.getLogger("transferability.tracking")
_RETRY_AFTER = 30.0  # seconds before an unreachable server is tried again
_SEND_EVERY = 5.0  # seconds between sendings of a run's numbers
_PARAM_LIMIT, _PARAMS_PER_CALL, _METRICS_PER_CALL = 6000, 90, 800  # within MLflow's own limits
_PAGE = 1000  # runs in one answer of a search
OWNER_TAG = "transferability.process"


class TrackedRun:
    """One MLflow run. What is recorded is gathered and sent together, at the latest every few seconds.

    Every method gives up quietly, once and for all, when the server does.
    """

    def __init__(
        self, client: "MlflowClient", experiment_id: str, run_id: str, ui: str, artifacts: str = ""
    ) -> None:
        self._client = client
        self._artifacts = artifacts
        self.run_id = run_id
        self.url: str | None = f"{ui}/#/experiments/{experiment_id}/runs/{run_id}"
        self._broken = False
        self._params: list[Any] = []
        self._metrics: list[Any] = []
        self._tags: list[Any] = []
        self._sent = time.monotonic()

    def params(self, values: Mapping[str, Any]) -> None:
        """Record settings; nested mappings become dotted names."""
        from mlflow.entities import Param

        self._params += [Param(key, str(value)[:_PARAM_LIMIT]) for key, value in _flat(values)]

    def metrics(self, values: Mapping[str, float | int | None], step: int = 0) -> None:
        """Record numbers at a step; undefined ones (None) are left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._metrics += [Metric(key, float(v), now, step) for key, v in values.items() if v is not None]
        if time.monotonic() - self._sent > _SEND_EVERY:  # so that a long training can be watched
            self._send()

    def tags(self, values: Mapping[str, str]) -> None:
        """Add tags."""
        from mlflow.entities import RunTag

        self._tags += [RunTag(key, str(value)) for key, value in values.items()]

    def page(self, artifact: str) -> str | None:
        """Where MLflow shows one of the run's artifacts, for links; None while it is not tracked."""
        return f"{self.url}/artifacts/{artifact}" if self.url else None

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a small file or of a folder."""
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        self._try(f"artifact {path.name}", lambda: log(self.run_id, str(path), folder))

    def keep(self, path: Path, folder: str) -> None:
        """Keep a large file as it is now: as a second name of the same bytes where the artifacts lie on its disk.

        The file must be one that is only ever replaced, never written into.
        """
        self._try(f"artifact {path.name}", lambda: self._link(path, folder))

    def _link(self, path: Path, folder: str) -> None:
        parts = urlsplit(self._artifacts)
        if parts.scheme == "file":
            place = Path(url2pathname(parts.path)) / folder / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                place.hardlink_to(path)
            except OSError:  # another disk, or one without such names: a copy, then
                pass
            else:
                return
        self._client.log_artifact(self.run_id, str(path), folder)

    def end(self, status: str) -> None:
        """Send what is left and close the run as FINISHED, FAILED or KILLED."""
        self._send()
        self._try("closing", lambda: self._client.set_terminated(self.run_id, status))

    def _send(self) -> None:
        while self._params or self._metrics or self._tags:
            params, self._params = self._params[:_PARAMS_PER_CALL], self._params[_PARAMS_PER_CALL:]
            metrics, self._metrics = self._metrics[:_METRICS_PER_CALL], self._metrics[_METRICS_PER_CALL:]
            tags, self._tags = self._tags[:_PARAMS_PER_CALL], self._tags[_PARAMS_PER_CALL:]
            log = partial(self._client.log_batch, self.run_id, metrics=metrics, params=params, tags=tags)
            self._try("logging", log)
        self._sent = time.monotonic()

    def _try(self, action: str, call: Callable[[], Any]) -> None:
        if self._broken:
            return
        try:
            call()
        except Exception as error:
            self._broken = True
            said = _said(error, self._client.tracking_uri)
            _LOG.warning("MLflow: %s failed (%s); this run is tracked no further", action, said)


class Untracked(TrackedRun):
    """Stands in while the server is away: records nothing and has no link."""

    def __init__(self) -> None:
        self.run_id = ""
        self.url = None
        self._broken = True

    def params(self, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def metrics(self, values: Mapping[str, float | int | None], step: int = 0) -> None:
        """Nothing."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Nothing."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Nothing."""

    def keep(self, path: Path, folder: str) -> None:
        """Nothing."""

    def end(self, status: str) -> None:
        """Nothing."""


@dataclass
class Tracking:
    """Opens MLflow runs.

    Args:
        home: the folder of the embedded store (`mlflow.db`, `mlartifacts/`).
        uri: another tracking server, or None for the embedded store.
        ui: where people open MLflow's pages, for links.
    """

    home: Path
    uri: str | None = field(default=None, repr=False)  # it may hold a password
    ui: str = "http://127.0.0.1:5000"
    _client: "MlflowClient | None" = field(default=None, init=False, repr=False)
    _experiments: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _swept: set[str] = field(default_factory=set, init=False, repr=False)
    _away_until: float = field(default=0.0, init=False, repr=False)

    @property
    def tracking_uri(self) -> str:
        """Where runs are recorded, as MLflow is told: a server's name and password reach it by the environment."""
        return without_credentials(self.uri or f"sqlite:///{self.home / 'mlflow.db'}")

    @contextlib.contextmanager
    def run(self, experiment: str, name: str, tags: Mapping[str, str]) -> Iterator[TrackedRun]:
        """A run that ends FINISHED, FAILED on an exception, or KILLED on an interruption; never left running."""
        tracked = self._open(experiment, name, tags)
        try:
            yield tracked
        except Exception:
            tracked.end("FAILED")
            raise
        except BaseException:
            tracked.end("KILLED")
            raise
        tracked.end("FINISHED")

    def failed(self, experiment: str, name: str, tags: Mapping[str, str]) -> None:
        """Record a run that failed before its work could begin."""
        self._open(experiment, name, tags).end("FAILED")

    def end_orphans(self, experiment: str | None = None) -> int:
        """Close runs left open by processes of this machine that no longer live; return how many.

        Args:
            experiment: where to look; None: in every experiment there is, without making one.
        """
        try:
            client = self._connected()
            found = [e.experiment_id for e in client.search_experiments(max_results=1000)]
            identities = found if experiment is None else [self._experiment(client, experiment)]
            return sum(_end_orphans(client, identity) for identity in identities)
        except Exception as error:
            _LOG.warning("MLflow: %s is not reachable (%s)", self._where(), _said(error, self.uri or ""))
            return 0

    def fetch(self, run_id: str, folder: str, into: Path) -> Path:
        """Copy a folder of a run's artifacts into another folder, and return where it is there.

        Raises:
            StoreError: if the server, the run or the folder of artifacts is not there.
        """
        try:
            client = self._connected()
            client.get_run(run_id)
            if not client.list_artifacts(run_id, folder):
                raise StoreError(f"MLflow run {run_id}: keeps no '{folder}'; choose a run that does")
            return Path(client.download_artifacts(run_id, folder, str(into)))
        except StoreError:
            raise
        except Exception as error:
            said = _said(error, self.uri or "")
            raise StoreError(f"MLflow run {run_id}: cannot be read from {self._where()} ({said})") from error

    def _open(self, experiment: str, name: str, tags: Mapping[str, str]) -> TrackedRun:
        if time.monotonic() < self._away_until:
            return Untracked()
        try:
            client = self._connected()
            identity = self._experiment(client, experiment)
            if experiment not in self._swept:  # a run that was launched in the UI and killed has nobody else
                self._swept.add(experiment)
                _end_orphans(client, identity)
            owner = {OWNER_TAG: this_process()}
            run = client.create_run(identity, run_name=name, tags={**tags, **owner})
        except Exception as error:
            self._away_until = time.monotonic() + _RETRY_AFTER
            self._client = None
            _LOG.warning(
                "MLflow: %s is not reachable (%s); not tracked", self._where(), _said(error, self.uri or "")
            )
            return Untracked()
        return TrackedRun(client, identity, run.info.run_id, self.ui.rstrip("/"), run.info.artifact_uri or "")

    def _where(self) -> str:
        return urlsplit(self.tracking_uri).hostname or "the embedded store"

    def _connected(self) -> "MlflowClient":
        if self._client is None:
            self._knock()
            # Its errors quote the whole address, and Dagster and its own libraries keep or print them.
            if self.uri and self.uri != self.tracking_uri and (known := credentials(self.uri)):
                os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = known
            # MLflow reads these when it is first imported; its defaults wait for minutes on a server that is down.
            for key, value in {
                "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
                "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_LOGGING_LEVEL": "WARNING",
                "GIT_PYTHON_REFRESH": "quiet",
            }.items():
                os.environ.setdefault(key, value)
            logging.getLogger("alembic").setLevel(logging.WARNING)
            from mlflow.tracking import MlflowClient

            self.home.mkdir(parents=True, exist_ok=True)
            with FileLock(self.home / ".mlflow.lock"):  # several processes migrating a fresh store would race
                fresh = self.uri is None and not (self.home / "mlflow.db").stat().st_size
                client = MlflowClient(tracking_uri=self.tracking_uri)
                client.search_experiments(max_results=1)
                if fresh:  # MLflow's own empty experiment, which would stand beside the studies
                    client.delete_experiment("0")
            self._client = client
        return self._client

    def _knock(self) -> None:
        """Fail within seconds where a server's port does not answer or the embedded file is none of SQLite's."""
        if self.uri is None:
            self.home.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self.home / "mlflow.db", timeout=5)) as connection:
                connection.execute("PRAGMA schema_version")
            return
        parts = urlsplit(self.tracking_uri)
        if parts.scheme in {"http", "https"} and parts.hostname:
            try:
                port = parts.port or (443 if parts.scheme == "https" else 80)
            except ValueError:  # whose text quotes what may be half a password
                raise StoreError(
                    "no port follows its colon; write /, ?, # and @ in a password as %2F, %3F, %23, %40"
                ) from None
            socket.create_connection((parts.hostname, port), timeout=3).close()

    def _experiment(self, client: "MlflowClient", name: str) -> str:
        if name not in self._experiments:
            with FileLock(self.home / ".mlflow.lock"):
                found = client.get_experiment_by_name(name)
                if found is None:
                    # The kind says that these are trainings; MLflow's pages take them for chats otherwise.
                    place = None if self.uri else (self.home / "mlartifacts" / name).absolute().as_uri()
                    self._experiments[name] = client.create_experiment(
                        name,
                        artifact_location=place,
                        tags={"mlflow.experimentKind": "custom_model_development"},
                    )
                else:
                    if found.lifecycle_stage == "deleted":
                        client.restore_experiment(found.experiment_id)
                    self._experiments[name] = found.experiment_id
        return self._experiments[name]


def _end_orphans(client: "MlflowClient", experiment_id: str) -> int:
    """Close the open runs of an experiment whose process is dead."""
    open_runs: list[Any] = []
    token: str | None = ""
    while token is not None:
        page = client.search_runs(
            [experiment_id], "attributes.status = 'RUNNING'", max_results=_PAGE, page_token=token or None
        )
        open_runs += page
        token = page.token or None
    orphans = [run for run in open_runs if not lives(run.data.tags.get(OWNER_TAG, ""))]
    for run in orphans:
        client.set_terminated(run.info.run_id, "KILLED")
    return len(orphans)


def _said(error: Exception, address: str) -> str:
    """What another library says, for people: in a line, and without the password of the address it was given."""
    return first_line(Exception(without_secrets(str(error), address) or type(error).__name__))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
