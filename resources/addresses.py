"""Addresses of servers: where the pages are that `transferability ui` serves, and what of an address may be shown.

A name and password in an address belong on no screen and in no file.
"""

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from resources.errors import StoreError
from resources.store import write_bytes

Server = Literal["dagster", "mlflow"]

HOST = "127.0.0.1"
_PORTS_FILE = "ui.json"
_PORTS: dict[Server, tuple[str, int]] = {
    "dagster": ("TRANSFERABILITY_UI_PORT", 3000),
    "mlflow": ("TRANSFERABILITY_MLFLOW_PORT", 5000),
}

_USER_PART = re.compile(r"(\w://)[^\s/@]*@")
_SHORTEST = (
    4  # characters of a password that is looked for by itself; a shorter one would stand in many words
)


def chosen_port(server: Server) -> int | None:
    """The port that the environment chooses for a server; None where it chooses none.

    Raises:
        StoreError: if what it says is no port.
    """
    variable, _ = _PORTS[server]
    text = os.environ.get(variable)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise StoreError(f"{variable}: '{text}' is no port; give a number from 1 to 65535")
    return int(text)


def default_port(server: Server) -> int:
    """The port of a server where nobody has chosen one."""
    return _PORTS[server][1]


def note_ports(home: Path, ports: dict[Server, int]) -> None:
    """Write into the home folder where its pages are served, for the links of runs that other processes make."""
    write_bytes(home / _PORTS_FILE, json.dumps(ports).encode())


def page_address(home: Path, server: Server) -> str:
    """Where people open a server's pages: at the port that was chosen, or noted last, or at the usual one."""
    port = None
    with contextlib.suppress(OSError, ValueError, AttributeError):  # links are no reason to stop a run
        port = json.loads((home / _PORTS_FILE).read_bytes()).get(server)
    with contextlib.suppress(StoreError):
        port = chosen_port(server) or port
    return f"http://{HOST}:{port if isinstance(port, int) else default_port(server)}"


def without_credentials(address: str) -> str:
    """An address of http or https without the name and password in it; any other as it is."""
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"}:
        return address
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def credentials(address: str) -> tuple[str, str] | None:
    """Name and password in an address, decoded; None where it holds none."""
    parts = urlsplit(address)
    if parts.username is None and parts.password is None:
        return None
    return unquote(parts.username or ""), unquote(parts.password or "")


def without_secrets(text: str, address: str) -> str:
    """A text, such as another library's error, without the name and password of any address and of the given one."""
    shown = _USER_PART.sub(r"\1***@", text)
    password = urlsplit(address).password or ""
    for secret in {password, unquote(password)}:
        if len(secret) >= _SHORTEST:
            shown = shown.replace(secret, "***")
    return shown
