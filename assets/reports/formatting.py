"""Numbers and tables as people read them: rounding, units, and a reason in place of what is not defined."""

from collections.abc import Sequence
from dataclasses import dataclass

MISSING = "not defined"


def number(value: float | None, digits: int = 2) -> str:
    """Fixed decimals with a true minus sign; or a word where there is no value."""
    return MISSING if value is None else _plain(f"{value:.{digits}f}")


def _plain(shown: str) -> str:
    """A true minus sign, and none before a zero."""
    return (shown.replace("-", "") if float(shown) == 0 else shown).replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """As `number`, with the sign always shown."""
    return MISSING if value is None else _plain(f"{value:+.{digits}f}")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as percent."""
    return MISSING if value is None else f"{_plain(f'{100 * value:.{digits}f}')}\N{NO-BREAK SPACE}%"


def p_value(value: float | None) -> str:
    """A p or q value to three decimals, or the bound below which it lies."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """`0.61 to 0.90`; a word where an end is missing."""
    return MISSING if low is None or high is None else f"{number(low, digits)} to {number(high, digits)}"


def count(n: int, singular: str, plural: str | None = None) -> str:
    """`1 source`, `28 sources`."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


@dataclass(frozen=True)
class Column:
    """A column of a table; `help` explains the heading, `numeric` sets it right and sorts by value."""

    label: str
    numeric: bool = False
    help: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell: what is shown, what it sorts and downloads as, whether it is a note in place of a number.

    `detail` stands small below the text; `span` is the number of columns that the cell takes.
    """

    text: str
    value: float | str | None = None
    note: bool = False
    detail: str = ""
    span: int = 1


@dataclass(frozen=True)
class PageTable:
    """A table on the page: sortable, filterable, downloadable; `limit` rows show until it is opened."""

    key: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    limit: int = 15
    empty: str = "Nothing to show."


def text(value: str) -> Cell:
    """A cell of words."""
    return Cell(value, value)


def note(reason: str, *, span: int = 1) -> Cell:
    """A cell that says why there is no number, or why there are none in the next `span` columns."""
    return Cell(reason, None, note=True, span=span)


def value_cell(value: float | None, shown: str, reason: str = MISSING) -> Cell:
    """A cell of a number, or its reason where there is none."""
    return note(reason) if value is None else Cell(shown, value)
