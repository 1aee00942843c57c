"""The plain text files that data sets are published as: read fast where right, refused exactly where wrong.

What the columns mean is each reader's matter.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import polars as pl

from resources.errors import DataError

_ESCAPES = r"^\s*$|^[/\\~]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\x00"
"""Empty, absolute, home, drive letter, or a step up: not below the image folder."""
_MOST_DIGITS = 9  # of the number of a class or attribute


def read_bytes(path: Path) -> bytes:
    """The file's content as UTF-8 with LF line ends, without byte order mark and blank lines at the end.

    Raises:
        DataError: If the file is missing, empty, a web page, binary, or not UTF-8 (with the line).
    """
    if path.is_fifo():
        raise DataError(f"{path}: a pipe, on which reading may wait for ever; write it to a file first")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; see the README on where to get it and where it belongs"
        ) from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise DataError(f"{path}: empty file; download it again")
    start = data[:2048].lstrip().lower()
    if start.startswith(b"<") and b"html" in start:
        raise DataError(
            f"{path}: a web page, not the data file (a blocked download leaves that); download it again"
        )
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text; convert the file to UTF-8") from None
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise DataError(f"{path}, line {line}: binary content, not a text file; download it again")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data.rstrip()


def split_lines(path: Path) -> list[str]:
    """The lines of a small file, without blanks at their ends.

    Raises:
        DataError: As :func:`read_bytes`.
    """
    return [line.strip() for line in read_bytes(path).decode().split("\n")]


def read_fields(
    path: Path,
    fields: Mapping[str, pl.DataType | type[pl.DataType]],
    *,
    data: bytes | None = None,
    skip_lines: int = 0,
    separator: str = " ",
    more_fields: bool = False,
) -> pl.DataFrame:
    """Read a file of fields, one row a line; any run of blanks separates if ``separator`` is a blank.

    Args:
        path: The file.
        fields: Names and types (String or an integer) of the first columns.
        data: The content, if it was read already by :func:`read_bytes`.
        skip_lines: Lines of heading.
        separator: Between fields.
        more_fields: Whether lines may have further fields, which are ignored; else they are an error.

    Raises:
        DataError: Naming the first line that has another number of fields, or a field of another type.
    """
    data = read_bytes(path) if data is None else data
    body = data.split(b"\n", skip_lines)[-1] if data.count(b"\n") >= skip_lines else b""
    if separator == " ":
        body = _single_blanks(body)
    if not body:
        raise DataError(f"{path}: no rows; download it again")
    first = body.split(b"\n", 1)[0].count(separator.encode()) + 1
    frame: pl.DataFrame | None = None
    if first >= len(fields) if more_fields else first == len(fields):
        try:
            frame = pl.read_csv(
                body,
                has_header=False,
                separator=separator,
                quote_char=None,
                # By position: how unnamed columns are called has changed between versions of Polars.
                schema_overrides=[*fields.values(), *[pl.String] * (first - len(fields))],
                infer_schema=False,
                truncate_ragged_lines=more_fields,
            )
            frame = frame.select(pl.nth(place).alias(name) for place, name in enumerate(fields))
        except pl.exceptions.PolarsError:
            frame = None
    if frame is None or any(frame.null_count().row(0)):
        _refuse_first_bad_line(path, body, fields, skip_lines, separator, more_fields)
    return frame


def check_same_keys(keys: pl.Series, other: pl.Series, path: Path, other_path: Path) -> None:
    """Refuse two columns of keys that are not the same keys in the same order.

    Raises:
        DataError: Naming a key that one file lacks, or the first place where the order differs.
    """
    if len(keys) == len(other) and (keys == other).all():
        return
    for there, here, absent_from, present_in in (
        (keys, other, other_path, path),
        (other, keys, path, other_path),
    ):
        lost = there.filter(~there.is_in(here.implode()))
        if len(lost):
            raise DataError(
                f"{absent_from}: image '{lost[0]}' of {present_in.name} is not in it ({len(lost)} in all); "
                f"the files do not belong together"
            )
    if len(keys) == len(other):
        place = int((keys != other).arg_max() or 0)
        raise DataError(f"{path}: image '{keys[place]}' stands where {other_path.name} has '{other[place]}'")
    raise DataError(f"{path}: {len(keys)} images, but {other_path.name} has {len(other)}")


def check_unique(keys: pl.Series, path: Path, first_line: int = 1, unit: str = "line") -> None:
    """Refuse a key that comes twice.

    Raises:
        DataError: Naming the key and the line of its second appearance.
    """
    if keys.n_unique() == len(keys):
        return
    repeated = ~keys.is_first_distinct()
    row = int(repeated.arg_max() or 0)
    raise DataError(f"{path}, {unit} {row + first_line}: image '{keys[row]}' comes a second time; remove one")


def check_image_paths(images: pl.Series, path: Path, first_line: int = 1, unit: str = "line") -> None:
    """Refuse image paths that are empty, absolute or step out of the image folder.

    Raises:
        DataError: Naming the line.
    """
    bad = images.str.contains(_ESCAPES).fill_null(value=True)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise DataError(
            f"{path}, {unit} {row + first_line}: image path '{images[row] or ''}' is empty or leads out of "
            f"the image folder; give paths relative to it"
        )


def check_codes(
    values: pl.Series, allowed: Sequence[int], what: str, path: Path, first_line: int = 1
) -> None:
    """Refuse integers that are not allowed.

    Raises:
        DataError: Naming the line and the value.
    """
    bad = ~values.is_in(list(allowed))
    if bad.any():
        row = int(bad.arg_max() or 0)
        shown = ", ".join(map(str, allowed)) if len(allowed) <= 6 else f"{allowed[0]} to {allowed[-1]}"
        raise DataError(
            f"{path}, line {row + first_line}: {what} is {values[row]}; it must be one of {shown}"
        )


def numbered_names(path: Path) -> dict[int, str]:
    """A file of lines ``number name``; numbers are unique.

    Raises:
        DataError: Naming the line.
    """
    names: dict[int, str] = {}
    for place, line in enumerate(split_lines(path), 1):
        number, _, name = line.replace("\t", " ").partition(" ")
        if not number.isdecimal() or len(number) > _MOST_DIGITS or not name.strip():
            raise DataError(f"{path}, line {place}: '{line[:60]}' is not a number and a name")
        if int(number) in names:
            raise DataError(f"{path}, line {place}: number {number} comes a second time")
        names[int(number)] = name.strip()
    return names


def _single_blanks(body: bytes) -> bytes:
    body = body.replace(b"\t", b" ")
    while b"  " in body:
        body = body.replace(b"  ", b" ")
    return body.replace(b" \n", b"\n").replace(b"\n ", b"\n").strip(b" ")


def _refuse_first_bad_line(
    path: Path,
    body: bytes,
    fields: Mapping[str, pl.DataType | type[pl.DataType]],
    skipped: int,
    separator: str,
    more_fields: bool,
) -> NoReturn:
    wanted = len(fields)
    for number, line in enumerate(body.decode().split("\n"), skipped + 1):
        found = line.split(separator) if line else []
        if len(found) < wanted or (len(found) > wanted and not more_fields):
            raise DataError(
                f"{path}, line {number}: {len(found)} fields where {wanted} belong: '{line[:60]}'"
            )
        for text, (name, kind) in zip(found, fields.items(), strict=False):
            if not text or (kind != pl.String and not text.removeprefix("-").isdecimal()):
                raise DataError(f"{path}, line {number}: {name} is '{text}', not a whole number")
            # By length first: Python refuses to convert thousands of digits.
            if kind != pl.String and (len(text) > 20 or not -(2**31) <= int(text) < 2**31):
                raise DataError(f"{path}, line {number}: {name} is {text[:40]}, out of range")
    raise DataError(f"{path}: cannot be read as {wanted} columns ({', '.join(list(fields)[:4])}, …)")
