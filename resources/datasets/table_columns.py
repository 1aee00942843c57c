"""What the columns of a table of labels are, and how their values become codes; no file is read here.

Order of the codes: false before true, numbers by size, texts by code point.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import polars as pl

from resources.datasets.base import RESERVED
from resources.errors import DataError

ColumnKind = Literal[
    "image", "split", "binary", "multiclass", "near_unique", "continuous", "constant", "ignored"
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
_OTHER_SPLIT_WORDS = {"val", "valid", "validation", "dev"}
_SPLIT_NAMES = {"split", "set", "subset", "partition", "fold"}

# Not \d, which also matches the digits of other writing systems, which are texts here.
_WHOLE = r"^[+-]?(0|[1-9][0-9]{0,17})$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class ColumnInfo:
    """One column of a table, as it looks.

    Attributes:
        name: Its heading.
        kind: What it seems to be; ``binary``, ``multiclass`` and ``near_unique`` can be tasks
            (``near_unique`` only a source), ``continuous`` once it is binned.
        n_values: Number of distinct known values.
        n_missing: Number of blank rows.
        examples: Its first few values, in the order of the codes.
        reason: Why it is not a task, or what speaks against it; empty for plain tasks.
    """

    name: str
    kind: ColumnKind
    n_values: int
    n_missing: int
    examples: tuple[str, ...]
    reason: str = ""

    @property
    def is_task(self) -> bool:
        """Whether it can be a task as it stands."""
        return self.kind in {"binary", "multiclass", "near_unique"}


@dataclass(frozen=True)
class Encoded:
    """A column as codes: Int32, null = unknown, and the names of the codes 0..K-1."""

    codes: pl.Series
    value_names: tuple[str, ...]


def clean(column: pl.Series, where: str) -> pl.Series:
    """The column as Boolean, Int64, Float64 or String; blanks and NaN are null, texts are trimmed.

    Texts that are all whole numbers become integers unless one has leading zeros; texts that are all numbers
    become floats, and floats that are all whole become integers.

    Raises:
        DataError: If the column holds lists, structs or bytes.
    """
    kind = column.dtype
    if kind.is_nested() or kind in {pl.Binary, pl.Object}:
        raise DataError(
            f"{where}: column '{column.name}' holds {kind}; labels are texts, booleans or numbers"
        )
    if kind.is_integer():
        whole = column.cast(pl.Int64, strict=False)
        # Whole numbers beyond 64 bits, such as hashes used as identities, are kept as texts.
        return whole if whole.null_count() == column.null_count() else _clean_text(column.cast(pl.String))
    if kind.is_float() or kind.is_decimal():
        return _whole(column.cast(pl.Float64).fill_nan(None))
    return column if kind == pl.Boolean else _clean_text(column.cast(pl.String))


def _clean_text(column: pl.Series) -> pl.Series:
    text = column.str.strip_chars()
    text = text.set(text.str.len_bytes() == 0, None)
    known = text.drop_nulls().unique()  # labels repeat, so looking at each value once is much less work
    if known.is_empty():
        return text
    if known.str.contains(_WHOLE).all():
        return text.str.strip_prefix("+").cast(pl.Int64)
    if known.str.contains(_NUMBER).all() and known.str.contains(r"[.eE]").any():
        return _whole(text.str.strip_prefix("+").cast(pl.Float64))
    return text


def _whole(column: pl.Series) -> pl.Series:
    """Floats that are all whole, as they become where a column of integers has blanks, are integers again."""
    known = column.drop_nulls()
    whole = bool(((known == known.floor()) & (known.abs() < 2**53)).all())
    return column.cast(pl.Int64) if whole else column


def looks_continuous(column: pl.Series) -> bool:
    """Whether a cleaned column looks like a measurement rather than classes.

    Fractions with more than ten distinct values do, and whole numbers with more than fifty of which most come
    once.
    """
    if not column.dtype.is_numeric():
        return False
    values = column.drop_nulls().n_unique()
    if column.dtype == pl.Float64:
        return values > 10
    return values > 50 and values > (len(column) - column.null_count()) / 2


def encode(column: pl.Series) -> Encoded:
    """The codes of a cleaned column."""
    if column.dtype == pl.Boolean:
        return Encoded(column.cast(pl.Int32), ("false", "true"))
    values = column.drop_nulls().unique().sort()
    table = pl.DataFrame({"value": values, "code": np.arange(len(values), dtype=np.int32)})
    codes = (
        column.alias("value").to_frame().join(table, on="value", how="left", maintain_order="left")["code"]
    )
    names = values.to_list()
    return Encoded(codes, tuple(f"{name:g}" if isinstance(name, float) else str(name) for name in names))


def encode_bins(column: pl.Series, k: int, where: str) -> Encoded:
    """The codes of a cleaned numeric column cut into k quantiles of its known values, lower edge inclusive.

    Raises:
        DataError: If the column is not numeric or has too few different values for k bins.
    """
    if not column.dtype.is_numeric():
        raise DataError(f"{where}: column '{column.name}' is not numeric; it cannot be cut into {k} bins")
    values = column.drop_nulls().to_numpy().astype(np.float64)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, k + 1))) if values.size else np.array([])
    if len(edges) < k + 1:
        raise DataError(
            f"{where}: column '{column.name}' has too many equal values for {k} bins: only "
            f"{max(len(edges) - 1, 0)} would differ; ask for fewer, or take its values as they are"
        )
    filled = column.fill_null(0).to_numpy().astype(np.float64)
    codes = pl.Series(np.searchsorted(edges[1:-1], filled, side="right").astype(np.int32))
    names = [f"[{low:.6g}, {high:.6g})" for low, high in pairwise(edges)]
    names[-1] = names[-1][:-1] + "]"
    return Encoded(codes.set(column.is_null(), None), tuple(names))


def describe_columns(
    names: Sequence[str],
    cleaned: Callable[[str], pl.Series],
    *,
    image: str | None,
    split: str | None,
    categorical: Sequence[str] = (),
) -> list[ColumnInfo]:
    """What each column looks like.

    Args:
        names: The columns.
        cleaned: Gives a column as :func:`clean` leaves it, or raises as it does.
        image: The column that is known to name images, if any.
        split: The column that is known to tell the split, if any.
        categorical: Columns that are known to hold classes.
    """
    infos: list[ColumnInfo] = []
    for name in names:
        try:
            column = cleaned(name)
        except DataError:
            infos.append(ColumnInfo(name, "ignored", 0, 0, (), "holds neither texts, booleans nor numbers"))
            continue
        found = {info.kind for info in infos}
        kind, reason = _kind_of_labels(column, categorical=name in categorical)
        if name == image or (image is None and "image" not in found and _looks_like_images(column)):
            kind, reason = "image", ""
        elif name == split or (split is None and "split" not in found and _looks_like_split(column)):
            kind, reason = "split", ""
        values = column.drop_nulls().unique().sort()
        shown = tuple(str(value) for value in values.head(5).to_list())
        infos.append(ColumnInfo(name, kind, len(values), column.null_count(), shown, reason))
    return infos


def _kind_of_labels(column: pl.Series, *, categorical: bool) -> tuple[ColumnKind, str]:
    known = len(column) - column.null_count()
    values = column.drop_nulls().n_unique()
    verdicts: list[tuple[bool, ColumnKind, str]] = [
        (
            column.name.casefold() in RESERVED,
            "ignored",
            "reserved name; rename the column to use it as a task",
        ),
        (values == 0, "ignored", "blank throughout"),
        (values == 1, "constant", "one value only"),
        (values == 2, "binary", ""),
        (looks_continuous(column) and not categorical, "continuous", "looks continuous; bin it to use it"),
        (values == known, "ignored", "every value is different"),
        (values > 20 and known < 3 * values, "near_unique", "nearly unique; of use as a source only"),
    ]
    return next(((kind, reason) for holds, kind, reason in verdicts if holds), ("multiclass", ""))


def _looks_like_images(column: pl.Series) -> bool:
    if column.dtype != pl.String or column.has_nulls():
        return False
    ends = column.str.to_lowercase().str.contains(
        r"\.(" + "|".join(end[1:] for end in IMAGE_SUFFIXES) + r")$"
    )
    return bool(ends.all()) and column.n_unique() == len(column)


def _looks_like_split(column: pl.Series) -> bool:
    if column.name.casefold() not in _SPLIT_NAMES or column.dtype != pl.String or column.has_nulls():
        return False
    words = set(column.str.to_lowercase().unique().to_list())
    return words <= SPLIT_WORDS.keys() | _OTHER_SPLIT_WORDS and {"train", "test"} <= {
        SPLIT_WORDS.get(word) for word in words
    }
