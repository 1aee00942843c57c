"""Addresses of servers, and what of them may be shown: a password in one belongs on no screen and in no file."""

import re
from urllib.parse import unquote, urlsplit

_USER_PART = re.compile(r"(\w://)[^\s/@]*@")
_SHORTEST = (
    4  # characters of a password that is looked for by itself; a shorter one would stand in many words
)


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
