"""`transferability ui`: Dagster's web server and daemon, and MLflow's pages, on 127.0.0.1 over the home folder."""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from pipelines.instance import prepare_instance
from resources.addresses import HOST, chosen_port, default_port, note_ports
from resources.errors import StoreError
from resources.home import PROJECT_ROOT, Home


def main(options: argparse.Namespace) -> int:
    """Serve until interrupted.

    Raises:
        StoreError: if a port is taken.
    """
    home = Home.default()
    dagster_port = options.port or chosen_port("dagster") or default_port("dagster")
    mlflow_port = options.mlflow_port or chosen_port("mlflow") or default_port("mlflow")
    prepare_instance(home.folder)
    environment = {
        **os.environ,
        "TRANSFERABILITY_HOME": str(home.folder),
        "TRANSFERABILITY_UI_PORT": str(dagster_port),
        "TRANSFERABILITY_MLFLOW_PORT": str(mlflow_port),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight idle processes, never asked here
        "PYTHONWARNINGS": "ignore",
    }
    # First, also so that MLflow's server does not race with a run over the migrations of a fresh store.
    home.tracking.end_orphans()
    commands = {"Dagster": (_dagster(home.folder, dagster_port), dagster_port)}
    if not (home.tracking.uri or "").startswith("http"):
        environment["MLFLOW_BACKEND_STORE_URI"] = (
            home.tracking.tracking_uri
        )  # no argument: it may hold a password
        commands["MLflow"] = (_mlflow(home, mlflow_port), mlflow_port)
    for name, (_, port) in commands.items():
        _check_free(name, port)
    note_ports(home.folder, {"dagster": dagster_port, "mlflow": mlflow_port})
    # Started in the background by a script, we would hand on that interrupts are ignored, and could stop nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    servers = {
        name: subprocess.Popen(command, env=environment, cwd=home.folder)  # noqa: S603 - our own commands
        for name, (command, _) in commands.items()
    }
    pages = {"Dagster": "", "MLflow": "/#/experiments"}  # MLflow's first page is about other things
    for name, (_, port) in commands.items():
        print(f"{name}: http://{HOST}:{port}{pages[name]}", flush=True)
    return _serve(servers)


def _serve(servers: dict[str, subprocess.Popen[bytes]]) -> int:
    """Wait until one server ends or we are told to stop; then end all."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    code = 0
    try:
        while all(server.poll() is None for server in servers.values()):
            time.sleep(0.3)
        ended = next(name for name, server in servers.items() if server.poll() is not None)
        print(f"{ended} has ended; stopping", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        pass
    finally:
        for server in servers.values():
            if server.poll() is None:
                server.send_signal(signal.SIGINT)
        for server in servers.values():
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
    return code


def _dagster(home: Path, port: int) -> list[str]:
    workspace = home / "dagster" / "workspace.yaml"
    shutil.copyfile(PROJECT_ROOT / "workspace.yaml", workspace)
    return [sys.executable, "-m", "dagster", "dev", "-w", str(workspace), "-h", HOST, "-p", str(port)]


def _mlflow(home: Home, port: int) -> list[str]:
    artifacts = home.folder / "mlartifacts"
    return [
        sys.executable, "-m", "mlflow", "server",
        "--default-artifact-root", artifacts.as_uri(), "--host", HOST, "--port", str(port), "--workers", "1",
    ]  # fmt: skip


def _check_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise StoreError(
                f"{name}: port {port} of {HOST} is taken; choose another (`transferability ui --help`)"
            ) from None
