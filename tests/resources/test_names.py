"""Names of tasks survive file systems and Dagster's partition keys, whatever they are."""

import unicodedata

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.names import file_stem, partition_key, task_of

HOSTILE = [
    "Smiling",
    "",
    " ",
    ".",
    "..",
    "...",
    "....",
    "../../etc/passwd",
    "a/b\\c",
    "'; DROP TABLE labels; --",
    '"quoted"',
    "<script>alert(1)</script>",
    "line\nbreak",
    "tab\tand\0nul",
    " leading and trailing ",
    "trailing.",
    "x" * 300,
    "é" * 300,
    "👩‍👩‍👧‍👦 family",
    "\u202egnp.exe",
    "\u2028line separator",
    "\u061carabic mark",
    "CON",
    "con.txt",
    "NUL",
    "LPT1",
    "100%",
    "%2E%2E",
    "a[b]",
    "a..z",
    "naïve",
    unicodedata.normalize("NFD", "naïve"),
    "_",
]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=320)


@given(NAMES)
def test_a_partition_key_gives_its_name_back(name: str) -> None:
    assert task_of(partition_key(name)) == name


@pytest.mark.parametrize("name", [name for name in HOSTILE if name], ids=ascii)
def test_dagster_takes_the_key_of_any_name(name: str) -> None:
    key = partition_key(name)
    assert dg.StaticPartitionsDefinition([key]).get_partition_keys() == [key]
    assert task_of(key) == name
    assert not any(
        unicodedata.category(c) in {"Cc", "Zl", "Zp"} or c in "\u200e\u200f\u061c\u202e" for c in key
    )


@given(NAMES)
def test_dagster_takes_the_key_of_every_name(name: str) -> None:
    dg.StaticPartitionsDefinition([partition_key(name)])


@given(NAMES, NAMES)
def test_two_names_never_share_a_file_or_a_key(one: str, other: str) -> None:
    if one != other:
        assert file_stem(one) != file_stem(other)
        assert partition_key(one) != partition_key(other)


def test_hostile_names_have_files_of_their_own() -> None:
    assert len({file_stem(name) for name in HOSTILE}) == len(HOSTILE)
    assert len({partition_key(name) for name in HOSTILE}) == len(HOSTILE)


@given(NAMES)
def test_a_file_stem_is_one_harmless_component(name: str) -> None:
    stem = file_stem(name)
    assert stem
    assert stem.isascii()
    assert len(stem) <= 180
    assert not set(stem) & set('/\\<>:"|?*\0\n\r\t')
    assert stem[0] not in ". "
    assert stem[-1] not in ". "
    assert stem.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"}


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_file_of_any_name_can_be_written_and_stays_in_its_folder(name: str, tmp_path) -> None:
    path = tmp_path / f"{file_stem(name)}.manifest.json"
    path.write_text("x")
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert path.resolve().parent == tmp_path.resolve()


def test_a_name_that_looks_like_a_shortened_one_does_not_meet_it() -> None:
    long = "x" * 300
    assert file_stem(file_stem(long)) != file_stem(long)


def test_harmless_names_stay_readable() -> None:
    assert file_stem("Wearing_Necktie") == partition_key("Wearing_Necktie") == "Wearing_Necktie"
    assert file_stem("habitat=sea") == "habitat=sea"
