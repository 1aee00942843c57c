"""An error is one line that a terminal can show, whatever the file that it quotes holds."""

import pytest

from resources.errors import DataError, one_line


@pytest.mark.parametrize(
    "hostile", ["a\nb", "a\rb", "\x1b[31mred", "a\u2028b", "a\x85b", "\u202eexe.jpg", "\ufeffa"]
)
def test_an_error_is_one_printable_line(hostile: str) -> None:
    text = str(DataError(f"labels.csv, line 3: '{hostile}' is no number"))
    assert text.isprintable()
    assert len(text.splitlines()) == 1
    assert text.startswith("labels.csv, line 3: ")


def test_what_people_read_stays_as_it_is() -> None:
    text = "größe.csv, line 3: “🦆” is no number; C:\\data"
    assert str(DataError(text)) == text == one_line(one_line(text))


def test_a_text_without_end_loses_its_middle() -> None:
    text = str(DataError(f"labels.csv, line 3: {'9' * 5000} is out of range"))
    assert len(text) <= 1000
    assert text.startswith("labels.csv, line 3: 999")
    assert text.endswith("is out of range")
