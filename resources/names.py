"""Reversible encodings of people's names for places that refuse some of them: file names and partition keys.

A task may be called anything; a file system and Dagster may not. Nothing here checks whether a name is allowed at all:
readers and studies do that.
"""

import hashlib
import re
from urllib.parse import quote, unquote

_SAFE_IN_FILES = " !#$&'()+,;=@[]^_`{}~-."  # beyond letters and digits; `%` itself is always encoded
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_LONGEST_FILE_STEM = 180  # bytes; file systems stop at 255, and suffixes follow
_KEY_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f%\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|\.\.\.|\[|\]|^\s|\s$"
)


def file_stem(name: str) -> str:
    """A file name for `name`: itself where that is harmless, percent-encoded where not.

    Names that would grow beyond a file system's limit keep their beginning and end with a hash; the manifest beside
    the file holds the full name, so nothing is lost.
    """
    stem = quote(name, safe=_SAFE_IN_FILES)
    if not stem:
        return "%"  # no other name's: there it is encoded
    if stem[0] in ". " or stem[-1] in ". " or _RESERVED.match(stem):
        stem = "".join(f"%{byte:02X}" for byte in stem[:1].encode()) + stem[1:]
        if stem[-1] in ". ":
            stem = stem[:-1] + f"%{ord(stem[-1]):02X}"
    if len(stem) >= _LONGEST_FILE_STEM:  # not >: a shortened stem has this length, and two must never meet
        return stem[: _LONGEST_FILE_STEM - 33] + "~" + hashlib.sha256(name.encode()).hexdigest()[:32]
    return stem


def partition_key(name: str) -> str:
    """A Dagster partition key for `name`; `task_of` reverses it.

    Dagster refuses control characters and `...` (a range); marks that turn the reading direction would hide what
    they stand in, so they are encoded too.
    """
    return _KEY_UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), name)


def task_of(key: str) -> str:
    """The name that `partition_key` was given."""
    return unquote(key)
