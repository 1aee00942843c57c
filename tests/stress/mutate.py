"""Damages files as accidents and malice do, from a seeded generator; what is then read is the caller's matter."""

import random
import shutil
from pathlib import Path

TOKENS = (
    b"", b"-1", b"0", b"2", b"-0", b"+1", b"1.0", b"1e5", b"NaN", b"inf", b"999999999999", b"2147483647",
    b"-2147483648", b"9" * 30, b"9" * 5000, "٣".encode(), "１".encode(), b"?", b"true", b"null", b"~",
    b"../../secret.jpg", b"/etc/passwd", b"C:\\x.jpg", b"a/../b.jpg", b"x" * 300, b"\x00", b"\xff", b"\xc3",
    b"\xef\xbb\xbf", "\u2028".encode(), "\u0085".encode(), "\u202eexe.jpg".encode(), "🦆".encode(), b"\r",
    b"\r\n", b"\n\n", b"\t", b" ", b",", b";", b'"', b'""', b'"a\nb"', b"'; DROP TABLE labels; --", b"<html>",
    b"\x1b[31m", b"#", b"%00", b"{", b"[", b"&a", b"*a", b"!!python/object/apply:os.system [id]", b": ", b"- ",
)  # fmt: skip
"""What stands in broken files: numbers out of range, other writing systems' digits, control characters, syntax."""


def damaged(content: bytes, generator: random.Random) -> bytes:
    """The content after one to four accidents."""
    for _ in range(generator.randint(1, 4)):
        content = generator.choice((_flip, _insert, _cut, _field, _field, _field, _lines, _truncate))(
            content, generator
        )
    return content


def damage_folder(folder: Path, generator: random.Random) -> str:
    """Damage one file below a folder; return what was done, for messages."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    path = generator.choice(paths)
    other = generator.choice(paths)
    kind = generator.choices(
        ("content", "gone", "empty", "other", "folder", "line ends"), (20, 1, 1, 1, 1, 1)
    )[0]
    if kind == "content":
        path.write_bytes(damaged(path.read_bytes(), generator))
    elif kind == "gone":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "other" and other != path:
        shutil.copyfile(other, path)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            path.read_bytes().replace(b"\n", generator.choice((b"\r\n", b"\r", b"\n\n", b" \n")))
        )
    return f"{path.relative_to(folder)}: {kind}"


def _place(content: bytes, generator: random.Random) -> int:
    return generator.randrange(len(content) + 1)


def _flip(content: bytes, generator: random.Random) -> bytes:
    place = _place(content, generator)
    return content[:place] + bytes([generator.randrange(256)]) + content[place + 1 :]


def _insert(content: bytes, generator: random.Random) -> bytes:
    place = _place(content, generator)
    return content[:place] + generator.choice(TOKENS) + content[place:]


def _cut(content: bytes, generator: random.Random) -> bytes:
    place = _place(content, generator)
    return content[:place] + content[place + generator.randint(1, 40) :]


def _truncate(content: bytes, generator: random.Random) -> bytes:
    return content[: _place(content, generator)]


def _field(content: bytes, generator: random.Random) -> bytes:
    """Another token in the place of one field of one line."""
    lines = content.split(b"\n")
    row = generator.randrange(len(lines))
    separator = next((mark for mark in (b",", b";", b"\t", b" ") if mark in lines[row]), b" ")
    fields = lines[row].split(separator)
    fields[generator.randrange(len(fields))] = generator.choice(TOKENS)
    lines[row] = separator.join(fields)
    return b"\n".join(lines)


def _lines(content: bytes, generator: random.Random) -> bytes:
    """A line doubled, dropped, moved or joined to the next."""
    lines = content.split(b"\n")
    one, two = generator.randrange(len(lines)), generator.randrange(len(lines))
    kind = generator.randrange(4)
    if kind == 0:
        lines.insert(two, lines[one])
    elif kind == 1:
        del lines[one]
    elif kind == 2:
        lines[one], lines[two] = lines[two], lines[one]
    elif one + 1 < len(lines):
        lines[one : one + 2] = [lines[one] + lines[one + 1]]
    return b"\n".join(lines)
