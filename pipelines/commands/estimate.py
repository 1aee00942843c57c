"""`transferability estimate`: hardness and transferability of any table of labels, from the table alone."""

import argparse
from pathlib import Path

import polars as pl

from assets.statistics import LabelStatistics, label_statistics
from assets.statistics.ranking import best_sources_of_all
from resources.datasets.table_columns import ColumnInfo, clean, describe_columns
from resources.datasets.table_files import load_table
from resources.errors import DataError
from resources.store import atomic_path

_LISTED = 10  # pairs at either end
_WRITTEN = ("conditional_entropy", "hardness", "joint_counts")


def main(options: argparse.Namespace) -> int:
    """Print the answer; with `--out`, also write the tables as Parquet.

    Raises:
        DataError: if the table cannot be read, a column is missing or no label column, or there is no such split.
    """
    path = Path(options.table)
    frame, columns, split_column = _labels(path, options.tasks, options.split_column)
    tasks = [c.name for c in columns]
    statistics = label_statistics(frame, tasks=tasks, split_column=split_column)
    split = _split(statistics, options.split, str(path))
    if options.out:
        _write(statistics, Path(options.out))
    print(f"{path.name}: {len(frame)} rows, {len(tasks)} tasks; split {split}; entropies in nats")
    _print_hardness(statistics, split)
    if options.by_target:
        _print_by_target(statistics, split)
    else:
        _print_pairs(statistics, split)
    return 0


def _labels(
    path: Path, wanted: str | None, split_column: str | None
) -> tuple[pl.DataFrame, list[ColumnInfo], str | None]:
    """The label columns, cleaned (blanks are missing), what each looks like, and the split column if any."""
    loaded = load_table(path).frame
    if split_column is not None and split_column not in loaded.columns:
        raise DataError(
            f"{path}: no column '{split_column}'; the columns are {', '.join(loaded.columns[:12])}"
        )
    columns = describe_columns(
        loaded.columns, lambda name: clean(loaded[name], str(path)), image=None, split=split_column
    )
    found = next((c.name for c in columns if c.kind == "split"), None)
    chosen = _chosen(columns, wanted, path)
    if len(chosen) < 1:
        raise DataError(f"{path}: no column looks like labels; name them with --tasks")
    labels = loaded.select(clean(loaded[c.name], str(path)) for c in chosen)
    if found is not None:
        labels = labels.with_columns(loaded[found].cast(pl.String).alias(found))
    return labels, chosen, found


def _chosen(columns: list[ColumnInfo], wanted: str | None, path: Path) -> list[ColumnInfo]:
    if wanted is None:
        for c in columns:
            if c.kind in {"continuous", "ignored", "constant"}:
                print(f"left out: {c.name} ({c.reason})")
        return [c for c in columns if c.is_task]
    known = {c.name: c for c in columns}
    names = list(dict.fromkeys(part.strip() for part in wanted.split(",") if part.strip()))
    for name in names:
        if name not in known:
            raise DataError(f"{path}: no column '{name}'; the columns are {', '.join(list(known)[:12])}")
        if known[name].kind == "continuous":
            raise DataError(
                f"{path}: column '{name}' looks continuous; bin it (a study's table option `bins` does)"
            )
    return [known[name] for name in names]


def _split(statistics: LabelStatistics, wanted: str | None, where: str) -> str:
    splits = statistics.hardness["split"].unique(maintain_order=True).to_list()
    if wanted is not None and wanted not in splits:
        raise DataError(f"{where}: no split '{wanted}'; there are {', '.join(splits)}")
    return wanted or ("train" if "train" in splits else "all")


def _print_hardness(statistics: LabelStatistics, split: str) -> None:
    rows = statistics.hardness.filter(pl.col("split") == split, pl.col("hardness").is_not_null())
    ordered = rows.sort("hardness", descending=True, maintain_order=True)
    print("\ntasks, hardest first: hardness H(Z), values, labelled rows")
    for row in _ends(ordered).iter_rows(named=True):
        print(f"  {row['hardness']:8.4f}  {row['n_values']:>6}  {row['n']:>8}  {row['task']}")
    if len(ordered) > 2 * _LISTED:
        print(f"  ({len(ordered) - 2 * _LISTED} between the two ends are in hardness.parquet, see --out)")


def _print_pairs(statistics: LabelStatistics, split: str) -> None:
    ranked = best_sources_of_all(statistics.conditional_entropy, None, split)
    fair = ranked.filter((pl.col("kind") == "ordinary") & ~pl.col("equivalent")).sort(
        "corrected_normalised", maintain_order=True
    )
    print("\nmost transferable pairs: corrected H(Y|Z)/H(Y), H(Y|Z), source → target")
    _print_rows(fair.head(_LISTED))
    print("\nleast transferable pairs")
    _print_rows(fair.tail(min(_LISTED, max(len(fair) - _LISTED, 0))))
    apart = ranked.filter(pl.col("kind") != "ordinary")
    if len(apart):
        names = ", ".join(apart["source"].unique(maintain_order=True).to_list())
        print(
            f"\napart, since a column of many values seems to explain everything: {names} (--by-target lists them)"
        )
    same = ranked.filter("equivalent").select("source", "target").rows()
    shown = [f"{s} = {t}" for s, t in same if s < t]
    if shown:
        print(f"the same task twice (duplicates and complements): {', '.join(shown[:_LISTED])}")


def _print_by_target(statistics: LabelStatistics, split: str) -> None:
    ranked = best_sources_of_all(statistics.conditional_entropy, 3, split)
    print("\nbest sources of every target: corrected H(Y|Z)/H(Y), H(Y|Z), source → target")
    for (_, kind), part in ranked.group_by("target", "kind", maintain_order=True):
        if kind != "ordinary":
            print(f"  ({kind} sources)")
        _print_rows(part)


def _print_rows(rows: pl.DataFrame) -> None:
    for row in rows.iter_rows(named=True):
        mark = "  (the same task twice)" if row["equivalent"] else ""
        print(
            f"  {row['corrected_normalised']:8.4f}  {row['conditional_entropy']:8.4f}  "
            f"{row['source']} → {row['target']}{mark}"
        )


def _ends(rows: pl.DataFrame) -> pl.DataFrame:
    return rows if len(rows) <= 2 * _LISTED else pl.concat([rows.head(_LISTED), rows.tail(_LISTED)])


def _write(statistics: LabelStatistics, folder: Path) -> None:
    for name in _WRITTEN:
        with atomic_path(folder / f"{name}.parquet") as temporary:
            getattr(statistics, name).write_parquet(temporary)
