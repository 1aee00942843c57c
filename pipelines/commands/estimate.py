"""`transferability estimate`: hardness and transferability of any table of labels, from the table alone."""

import argparse
from pathlib import Path

import polars as pl

from assets.statistics import LabelStatistics, label_statistics
from assets.statistics.ranking import NEAR_UNIQUE, ORDINARY, WIDE, best_sources_of_all
from resources.datasets.table_columns import ColumnInfo, clean, describe_columns
from resources.datasets.table_files import load_table
from resources.errors import DataError
from resources.store import atomic_path

_LISTED = 10  # pairs at either end
_BEST = 3  # sources of each kind that are listed for a target
_COLUMNS = (
    "columns: corrected H(Y|Z)/H(Y), which ranks; H(Y|Z); -H(Y,Z), which Theorem 1 with Eq. 14 compares among the\n"
    "sources of a target, and the source's rank by it"
)
_KINDS = {
    ORDINARY: "sources of at most as many values",
    WIDE: "sources of more values than the target, which explain much by that alone",
    NEAR_UNIQUE: "nearly unique sources, which explain all that was seen and nothing else",
}
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
    if len(tasks) < 2:
        print("\nno pairs: a pair needs two columns of labels")
        return 0
    near_unique = [c.name for c in columns if c.kind == "near_unique"]
    if near_unique:
        print(f"\nsources only, since they are nearly unique: {', '.join(near_unique)}")
    ranked = _ranked(statistics, split, near_unique)
    print(f"\n{_COLUMNS}")
    (_print_by_target if options.by_target else _print_pairs)(ranked)
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


def _ranked(statistics: LabelStatistics, split: str, near_unique: list[str]) -> pl.DataFrame:
    """All sources of every target; a nearly unique column is no target, and stands apart as a source."""
    pairs = statistics.conditional_entropy.filter(~pl.col("target").is_in(near_unique)).with_columns(
        pl.col("near_unique_source") | pl.col("source").is_in(near_unique)
    )
    if pairs.is_empty():
        return best_sources_of_all(statistics.conditional_entropy, None, split).clear()
    return best_sources_of_all(pairs, None, split)


def _print_pairs(ranked: pl.DataFrame) -> None:
    fair = ranked.filter((pl.col("kind") == "ordinary") & ~pl.col("equivalent")).sort(
        "corrected_normalised", maintain_order=True
    )
    least = min(_LISTED, len(fair) // 2)
    print("\nmost transferable pairs, source → target")
    _print_rows(fair.head(min(_LISTED, len(fair) - least)))
    print("\nleast transferable pairs, the least first")
    _print_rows(fair.tail(least).reverse())
    apart = ranked.filter(pl.col("kind") != "ordinary")
    if len(apart):
        names = ", ".join(apart["source"].unique(maintain_order=True).to_list())
        print(
            f"\napart, since a column of many values seems to explain everything: {names} (--by-target lists them)"
        )
    same = ranked.filter("equivalent").select("source", "target").rows()
    shown = [f"{s} = {t}" for s, t in same if s < t or (t, s) not in same]
    if shown:
        print(f"the same task twice (duplicates and complements): {', '.join(shown[:_LISTED])}")


def _print_by_target(ranked: pl.DataFrame) -> None:
    print("\nbest sources of every target")
    for (target,), of_target in ranked.group_by("target", maintain_order=True):
        print(f"\n{target}")
        for (kind,), part in of_target.group_by("kind", maintain_order=True):
            print(f"  from {_KINDS[str(kind)]}")
            _print_rows(part.filter(pl.col("rank") <= _BEST), "    ")
    if ranked.is_empty():
        print("  none")


def _print_rows(rows: pl.DataFrame, indent: str = "  ") -> None:
    for row in rows.iter_rows(named=True):
        mark = "  (the same task twice)" if row["equivalent"] else ""
        print(
            f"{indent}{row['corrected_normalised']:8.4f}  {row['conditional_entropy']:8.4f}  "
            f"{row['theorem_bound']:9.4f} (rank {row['theorem_rank']})  {row['source']} → {row['target']}{mark}"
        )
    if rows.is_empty():
        print(f"{indent}none")


def _ends(rows: pl.DataFrame) -> pl.DataFrame:
    return rows if len(rows) <= 2 * _LISTED else pl.concat([rows.head(_LISTED), rows.tail(_LISTED)])


def _write(statistics: LabelStatistics, folder: Path) -> None:
    for name in _WRITTEN:
        with atomic_path(folder / f"{name}.parquet") as temporary:
            getattr(statistics, name).write_parquet(temporary)
