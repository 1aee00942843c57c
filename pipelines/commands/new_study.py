"""`transferability new-study`: a commented study file from a table's columns, inferred once and then the user's own."""

import argparse
import os
import re
from pathlib import Path

import yaml

from assets.study import NAME_PATTERN, load_study
from pipelines.studies import find_studies
from resources.datasets.options import OneVsRest
from resources.datasets.table import Table, describe_table
from resources.datasets.table_columns import SPLIT_WORDS, ColumnInfo
from resources.errors import StudyError
from resources.home import Home
from resources.store import write_bytes


def main(options: argparse.Namespace) -> int:
    """Write `<home>/studies/NAME.yaml`.

    Raises:
        StudyError: if the name is not allowed or taken, or the table has too few usable columns.
        DataError: if the table cannot be read.
    """
    home = Home.default()
    if not re.fullmatch(NAME_PATTERN, options.name):
        raise StudyError(f"study name '{options.name}': must match [a-z][a-z0-9_]*")
    studies = find_studies(home.folder, home.data)
    destination = home.folder / "studies" / f"{options.name}.yaml"
    if options.name in studies.opened or options.name in studies.broken or destination.exists():
        raise StudyError(f"a study '{options.name}' exists already; choose another name or edit its file")
    table = Path(os.path.normpath(Path(options.table).absolute()))
    if options.min_count < 1:
        raise StudyError(f"--min-count {options.min_count}: a value needs at least 1 row to become a task")
    if table.suffix.lower() == ".duckdb" and options.query is None and table.exists():
        raise StudyError(
            f"{table}: a .duckdb file needs a query that gives one row an image, for example "
            '--query "FROM labels ORDER BY image"'
        )
    columns = describe_table(table, {"query": options.query})
    expand = _expanded(options.expand, columns)
    _check_enough(table, options.query, columns, expand, options.min_count)
    text = study_text(options.name, table, columns, expand, options.min_count, options.query)
    write_bytes(destination, text.encode())
    try:
        study = load_study(destination, home.data)
    except StudyError:
        destination.unlink()
        raise
    print(f"written: {destination}")
    print(
        f"{len(study.tasks)} tasks, {len(study.sources)} sources, {len(study.targets)} targets; read it, then:"
    )
    print(f"  transferability run {options.name} --only statistics")
    return 0


def _check_enough(
    table: Path, query: str | None, columns: list[ColumnInfo], expand: list[str], min_count: int
) -> None:
    """Refuse what would give no pair of tasks, before anything is written; say what each column lacks."""
    plain = [c.name for c in columns if c.is_task and c.name not in expand]
    n_tasks, targets = len(plain), [c for c in columns if c.name in plain and c.kind != "near_unique"]
    for name in expand:
        how = {name: OneVsRest(min_count=min_count)}
        made = Table(table=table, query=query, tasks=[name], one_vs_rest=how).task_names()[1:]
        if not made:
            raise StudyError(
                f"--min-count {min_count}: no value of column '{name}' in {table} has so many rows"
            )
        n_tasks += len(made)
    if n_tasks > 1 and (targets or expand):
        return
    continuous = [c.name for c in columns if c.kind == "continuous"]
    advice = [
        f"'{continuous[0]}' looks continuous: cut it into classes in the table, or write a study file with tasks and "
        f"bins: {{{continuous[0]}: 4}} for it"
        if continuous
        else "",
        f"--expand {plain[0]} makes a task of each of its values"
        if targets and targets[0].n_values > 2
        else "",
    ]
    found = f"only '{plain[0]}' looks like one" if plain and not expand else "there are fewer"
    ways = "; ".join(part for part in advice if part) or "add a column of labels"
    raise StudyError(f"{table}: a study needs two columns of labels and {found}; {ways}")


def study_text(
    name: str,
    table: Path,
    columns: list[ColumnInfo],
    expand: list[str],
    min_count: int,
    query: str | None = None,
) -> str:
    """The YAML of a study over a table, with a comment for every decision that was taken."""
    kinds = {kind: [c for c in columns if c.kind == kind] for kind in ("image", "split", "continuous")}
    tasks = [c for c in columns if c.is_task and c.name not in expand]
    unique = [c.name for c in tasks if c.kind == "near_unique"]
    images, split = kinds["image"], kinds["split"]
    lines = [
        f"# A study over {table.name}. Every line may be changed; `transferability studies` checks the file.",
        f"title: {_yaml(name.replace('_', ' ').capitalize())}",
        "description: ''           # a sentence or two for the pages",
        "dataset:",
        "  reader: table",
        "  options:",
        f"    table: {_yaml(str(table))}",
        *([f"    query: {_yaml(query)}"] if query is not None else []),
    ]
    if images:
        lines += [
            f"    image_column: {_yaml(images[0].name)}",
            f"    image_folder: {_yaml(str(table.parent))}  # image paths are relative to it",
        ]
    else:
        lines.append("    # image_column: …        # no column looks like image paths: label statistics only")
    if split:
        lines += _split_lines(split[0])
    else:
        lines += [
            "    test_fraction: 0.3        # a seeded split by hash of the image: rows appended later move no others",
            "    seed: 0",
            "    # stratify_by: COLUMN     # or group_by: COLUMN, so that one group is never in both splits",
        ]
    lines.append("    tasks:")
    lines += [f"      - {_yaml(c.name)}  # {c.n_values} values{_missing(c)}" for c in tasks] or ["      []"]
    if expand:
        lines.append(
            "    one_vs_rest:              # each value with enough rows becomes a binary task COLUMN=VALUE"
        )
        lines += [f"      {_yaml(name)}: {{min_count: {min_count}}}" for name in expand]
    if unique:
        lines.append(f"    source_only: {_flow(unique)}  # nearly unique: of use to transfer from, not to")
    if continuous := kinds["continuous"]:
        cut = ", ".join(f"{_yaml(c.name)}: 4" for c in continuous)
        lines.append(
            "    # These look continuous; listed under tasks too, they are cut into so many quantiles:"
        )
        lines.append(f"    # bins: {{{cut}}}")
    lines += [f"    # {c.name}: left out, {c.reason}" for c in columns if c.kind in {"ignored", "constant"}]
    lines += [
        "# Everything below is only needed where there are images.",
        "recipe:",
        "  image_size: 32              # pixels; larger is slower and often better",
        "  epochs: 4                   # about a minute a thousand images and ten sources on two cores",
        "  batch_size: 128",
        "  learning_rate: 0.05",
        "network: {backbone: resnet18, head: softmax}",
        "probe: {c: 1.0}",
    ]
    return "\n".join(lines) + "\n"


def _split_lines(split: ColumnInfo) -> list[str]:
    """The split column, and what those of its values mean that are neither train nor test."""
    others = [value for value in split.examples if value.lower() not in SPLIT_WORDS]
    lines = [f"    split_column: {_yaml(split.name)}"]
    if others:
        meant = ", ".join(f"{_yaml(value)}: train" for value in others)
        lines.append(f"    split_values: {{{meant}}}  # what is neither train nor test")
    return lines


def _expanded(text: str | None, columns: list[ColumnInfo]) -> list[str]:
    names = [part.strip() for part in (text or "").split(",") if part.strip()]
    known = {c.name: c for c in columns}
    for name in names:
        if name not in known:
            raise StudyError(f"--expand: no column '{name}'; the columns are {', '.join(known)}")
        if not known[name].is_task:
            raise StudyError(f"--expand: column '{name}' is no multi-class column ({known[name].kind})")
    return names


def _missing(column: ColumnInfo) -> str:
    return f", {column.n_missing} blank" if column.n_missing else ""


def _yaml(text: str) -> str:
    """A YAML scalar that reads back as just this text."""
    return yaml.safe_dump(text, allow_unicode=True, width=10**6).strip().removesuffix("...").strip()


def _flow(names: list[str]) -> str:
    return yaml.safe_dump(names, default_flow_style=True, allow_unicode=True, width=10**6).strip()
