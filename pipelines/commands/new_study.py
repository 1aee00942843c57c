"""`transferability new-study`: a commented study file from a table's columns, inferred once and then the user's own."""

import argparse
import os
import re
from pathlib import Path

import yaml

from assets.study import NAME_PATTERN, load_study
from pipelines.studies import find_studies
from resources.datasets.table import describe_table
from resources.datasets.table_columns import ColumnInfo
from resources.errors import StudyError
from resources.home import Home
from resources.store import write_bytes


def main(options: argparse.Namespace) -> int:
    """Write `<home>/studies/NAME.yaml`.

    Raises:
        StudyError: if the name is not allowed or taken, or the table has no usable column.
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
    columns = describe_table(table)
    expand = _expanded(options.expand, columns)
    write_bytes(destination, study_text(options.name, table, columns, expand, options.min_count).encode())
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


def study_text(name: str, table: Path, columns: list[ColumnInfo], expand: list[str], min_count: int) -> str:
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
    ]
    if images:
        lines += [
            f"    image_column: {_yaml(images[0].name)}",
            f"    image_folder: {_yaml(str(table.parent))}  # image paths are relative to it",
        ]
    else:
        lines.append("    # image_column: …        # no column looks like image paths: label statistics only")
    if split:
        lines.append(f"    split_column: {_yaml(split[0].name)}")
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
    for c in kinds["continuous"]:
        lines.append(
            f"    # bins: {{{_yaml(c.name)}: 4}}    # {c.name} looks continuous; this cuts it into quantiles"
        )
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
