"""Stages `transfer_correlation`, `hardness_correlation`, `label_report` and `report`."""

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import polars as pl

from assets.labels.assets import pixels_of
from assets.labels.sources import with_reasons, with_representations
from assets.materialize import Work
from assets.models.assets import SOURCE_MODEL
from assets.probes.assets import BOUND, TRANSFER
from assets.probes.sample_efficiency import SAMPLE_EFFICIENCY
from assets.reports import tables
from assets.stage import Stage
from assets.statistics.assets import CONDITIONAL_ENTROPY, HARDNESS, LABEL_UNCERTAINTY
from assets.study import Study
from resources.home import Home
from resources.store import content_hash

_LABEL_TABLES = (
    "tasks", "label_values", "label_counts", "conditional_entropy", "hardness", "label_uncertainty",
)  # fmt: skip
_WHOLE_TABLES = (
    "transfer_correlation", "overall_correlation", "best_sources", "target_ranking", "residuals",
    "hardness_correlation", "sample_efficiency", "conditional_entropy_readable", "hardness_readable",
)  # fmt: skip
_TABLES_BY_SOURCE = ("source_models", "transfer", "bound")


def make_transfer_correlation(work: Work) -> None:
    """How well H(Y|Z) predicts the transfer error, by source, over all, by target and by pair."""
    from assets.reports.correlations import transfer_correlation
    from assets.reports.overall import overall_correlation
    from assets.reports.rankings import best_sources, residuals, target_ranking

    tasks = work.read("tasks")
    again, _ = _readable_estimates(work)
    work.write(tables.CONDITIONAL_ENTROPY_READABLE, again)
    entropy = work.read("conditional_entropy") if again.is_empty() else again
    transfer, models = (_by_source(work, name) for name in ("transfer", "source_models"))
    by_source = transfer_correlation(entropy, transfer, tasks)
    overall = overall_correlation(by_source, entropy, transfer, tasks)
    best = best_sources(entropy, transfer, models, tasks)
    work.write(tables.TRANSFER_CORRELATION, by_source)
    work.write(tables.OVERALL_CORRELATION, overall)
    work.write(tables.BEST_SOURCES, best)
    work.write(tables.TARGET_RANKING, target_ranking(best, tasks))
    work.write(tables.RESIDUALS, residuals(entropy, transfer, tasks))
    train = overall.filter(split="train").sort("n_pairs", descending=True)
    if len(train):
        first = train.row(0, named=True)
        work.tell(median_r=first["median_r"], min_r=first["min_r"], max_r=first["max_r"])


def make_hardness_correlation(work: Work) -> None:
    """How well hardness predicts the dedicated networks' error."""
    from assets.reports.correlations import hardness_correlation

    _, again = _readable_estimates(work)
    work.write(tables.HARDNESS_READABLE, again)
    hardness = work.read("hardness") if again.is_empty() else again
    frame = hardness_correlation(hardness, _by_source(work, "source_models"), work.read("tasks"))
    work.write(tables.HARDNESS_CORRELATION, frame)
    train = frame.filter(pl.col("split") == "train").sort("n_tasks", descending=True)
    if len(train):
        work.tell(pearson_r=train["pearson_r"][0], pearson_p=train["pearson_p"][0])


def make_label_report(work: Work) -> None:
    """The page of what the labels alone say."""
    _write(
        work, work.home.reports / f"{work.study.name}-labels", _tables(work.study, work.home, _LABEL_TABLES)
    )


def make_report(work: Work) -> None:
    """The page of the whole study."""
    _write(work, work.home.reports / work.study.name, finished_tables(work.study, work.home))


def finished_tables(study: Study, home: Home) -> dict[str, pl.DataFrame]:
    """All tables that a study's page reads, by name, as far as they are there."""
    whole = _tables(study, home, (*_LABEL_TABLES, *_WHOLE_TABLES))
    for name in ("conditional_entropy", "hardness"):
        again = whole.pop(f"{name}_readable", None)
        if again is not None and len(again):
            # Beside measurements stand the estimates over the same rows.
            whole[name] = again
    by_source = {}
    for name in _TABLES_BY_SOURCE:
        present = [s for s in study.sources if home.store.table_path(study.name, name, s).exists()]
        if present:
            by_source[name] = home.store.read_table(study.name, name, list(present))
    return whole | by_source


def _readable_estimates(work: Work) -> tuple[pl.DataFrame, pl.DataFrame]:
    """H(Y|Z) and hardness over the rows whose image could be read; without rows where every image could."""
    from assets.reports.readable import estimates_on_readable, with_label_rows

    study = work.study
    cache = pixels_of(study, work.home)
    if cache is None or not cache.unreadable:
        return (
            tables.CONDITIONAL_ENTROPY_READABLE.frame([]),
            tables.HARDNESS_READABLE.frame([]),
        )
    of_labels = work.read("conditional_entropy")
    entropy, hardness = estimates_on_readable(
        with_representations(study, work.read("labels")),
        cache.readable,
        tasks=study.tasks,
        sources=study.sources,
        targets=study.targets,
        splits=of_labels["split"].unique(maintain_order=True).to_list(),
    )
    return (
        with_label_rows(with_reasons(study, entropy), of_labels, ["split", "source", "target"]),
        with_label_rows(hardness, work.read("hardness"), ["split", "task"]),
    )


def _tables(study: Study, home: Home, names: Sequence[str]) -> dict[str, pl.DataFrame]:
    present = [name for name in names if home.store.table_path(study.name, name, None).exists()]
    return {name: home.store.read_table(study.name, name, [None]) for name in present}


def _write(work: Work, folder: Path, found: dict[str, pl.DataFrame]) -> None:
    from assets.reports.facts_of_study import study_facts  # matplotlib and plotly load only here
    from assets.reports.publish import copy_light, write_report

    facts = study_facts(
        work.study, work.home, work.read("labels"), found.get("source_models"), work.tracked.url
    )
    written = write_report(folder, found, facts)
    for name in written.files:  # a page, figure or table that is lost or changed is made again
        work.adopt(folder / name)
    # The date on the page is not part of its content.
    work.version = content_hash({name: str(frame.hash_rows().sum()) for name, frame in found.items()})
    with tempfile.TemporaryDirectory() as light:
        copy_light(written, Path(light))
        work.tracked.artifact(Path(light), "report")
    work.tell(page=dg.MetadataValue.path(str(written.index)), files=len(written.files))
    if link := work.tracked.page("report/index.html"):  # browsers follow no link from a served page to a file
        work.tell(report=dg.MetadataValue.url(link))
    work.tell(**{f"figure {name}": picture(name, png) for name, png in written.previews.items()})


def picture(name: str, png: bytes) -> dg.MetadataValue[str]:
    """A small figure as metadata that the UI shows."""
    data = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{data})")


def _by_source(work: Work, table: str) -> pl.DataFrame:
    return work.read(table, list(work.study.sources))


TRANSFER_CORRELATION = Stage(
    name="transfer_correlation",
    description="For every source, Pearson's correlation of H(Y|Z) with the test error of its probes over targets "
    "(Fig. 2, 3), with intervals, rank correlations, Benjamini-Hochberg, and the baseline H(Y) alone.",
    make=make_transfer_correlation,
    after=(CONDITIONAL_ENTROPY, TRANSFER, SOURCE_MODEL),
    code="3",
    tables=(
        tables.CONDITIONAL_ENTROPY_READABLE,
        tables.TRANSFER_CORRELATION,
        tables.OVERALL_CORRELATION,
        tables.BEST_SOURCES,
        tables.TARGET_RANKING,
        tables.RESIDUALS,
    ),
    kinds=frozenset({"scipy", "duckdb"}),
    pool="duckdb_writer",
    command="reports",
)

HARDNESS_CORRELATION = Stage(
    name="hardness_correlation",
    description="Hardness H(Z|C) against the test error of the dedicated networks, over tasks (Fig. 6).",
    make=make_hardness_correlation,
    after=(HARDNESS, SOURCE_MODEL),
    code="2",
    tables=(tables.HARDNESS_READABLE, tables.HARDNESS_CORRELATION),
    kinds=frozenset({"scipy", "duckdb"}),
    pool="duckdb_writer",
    command="reports",
)

LABEL_REPORT = Stage(
    name="label_report",
    description="The page of what the labels alone say: clustered heat map of H(Y|Z), hardness, best sources.",
    make=make_label_report,
    after=(CONDITIONAL_ENTROPY, HARDNESS, LABEL_UNCERTAINTY),
    code="2",
    kinds=frozenset({"plotly", "html"}),
    command="statistics",
)

REPORT = Stage(
    name="report",
    description="The page of the whole study with its figures and tables (Fig. 2-6, Table 1): estimate against "
    "measurement, best sources, hardness, where the estimate is wrong.",
    make=make_report,
    after=(LABEL_REPORT, BOUND, TRANSFER_CORRELATION, HARDNESS_CORRELATION),
    code="2",
    beside=(SAMPLE_EFFICIENCY,),
    kinds=frozenset({"plotly", "html"}),
    command="reports",
)
