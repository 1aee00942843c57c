"""Stages `label_counts`, `joint_counts`, `conditional_entropy`, `hardness` and `label_uncertainty`."""

from typing import Any

from assets.labels.assets import LABEL_TABLE
from assets.labels.sources import label_columns, with_reasons, with_representations
from assets.materialize import Work
from assets.stage import Stage
from assets.statistics import label_statistics, tables
from assets.statistics.from_counts import conditional_entropy_from_counts, hardness_from_counts
from assets.statistics.uncertainty import label_uncertainty
from assets.study import Study


def make_label_counts(work: Work) -> None:
    """Count every value of every task."""
    study = work.study
    statistics = label_statistics(
        work.read("labels"),
        tasks=study.tasks,
        split_column="split",
        sources=study.tasks[:1],
        targets=study.tasks[:1],
        coded=True,
    )
    work.write(tables.LABEL_COUNTS, statistics.label_counts)


def make_joint_counts(work: Work) -> None:
    """Count every two values of every pair together."""
    study = work.study
    statistics = label_statistics(
        with_representations(study, work.read("labels")),
        tasks=label_columns(study),
        split_column="split",
        sources=study.sources,
        targets=study.targets,
        coded=True,
    )
    work.write(tables.JOINT_COUNTS, statistics.joint_counts)


def make_conditional_entropy(work: Work) -> None:
    """H(Y|Z) and what goes with it, from the joint counts."""
    study = work.study
    frame = conditional_entropy_from_counts(
        work.read("joint_counts"), splits=_splits(work), sources=study.sources, targets=study.targets
    )
    work.write(tables.CONDITIONAL_ENTROPY, with_reasons(study, frame))
    defined = frame["conditional_entropy"].drop_nulls()
    work.tell(median_conditional_entropy=defined.median(), undefined=len(frame) - len(defined))


def make_hardness(work: Work) -> None:
    """H(Z|C) of every task, from its counts."""
    frame = hardness_from_counts(work.read("label_counts"), splits=_splits(work), tasks=work.study.tasks)
    work.write(tables.HARDNESS, frame)
    work.tell(median_hardness=frame["hardness"].drop_nulls().median())


def make_label_uncertainty(work: Work) -> None:
    """Bias, interval and chance level of every H(Y|Z), by resampling."""
    study, settings = work.study, work.study.settings.uncertainty
    frame = label_uncertainty(
        with_representations(study, work.read("labels")),
        tasks=label_columns(study),
        split_column="split",
        sources=study.sources,
        targets=study.targets,
        permutations=settings.permutations,
        seed=settings.seed,
    )
    work.write(tables.LABEL_UNCERTAINTY, with_reasons(study, frame))


def _pairs(study: Study) -> dict[str, Any]:
    """What decides which pairs there are."""
    tasks = {name: study.source_task(name) for name in study.settings.representations}
    return {"sources": study.sources, "targets": study.targets, "representations": tasks}


def _splits(work: Work) -> list[str]:
    """train, test where there is one, and all."""
    return [*work.read("labels")["split"].unique().sort(descending=True).to_list(), "all"]


LABEL_COUNTS = Stage(
    name="label_counts",
    description="How often each value of each task occurs, by split (Eq. 8).",
    make=make_label_counts,
    after=(LABEL_TABLE,),
    tables=(tables.LABEL_COUNTS,),
    code="2",
    kinds=frozenset({"duckdb", "polars"}),
    pool="duckdb_writer",
)

JOINT_COUNTS = Stage(
    name="joint_counts",
    description="How often two values of a source and a target occur together, by split, over the rows where both "
    "labels are known (Eq. 6).",
    make=make_joint_counts,
    after=(LABEL_TABLE,),
    tables=(tables.JOINT_COUNTS,),
    code="2",
    settings=lambda study, _: _pairs(study),
    kinds=frozenset({"duckdb", "polars"}),
    pool="duckdb_writer",
)

CONDITIONAL_ENTROPY = Stage(
    name="conditional_entropy",
    description="H(Y|Z) of every pair in nats (Eq. 7, 9): the label-only estimate of transferability, low is good; "
    "beside it the bias-corrected and normalised forms.",
    make=make_conditional_entropy,
    after=(LABEL_COUNTS, JOINT_COUNTS),
    tables=(tables.CONDITIONAL_ENTROPY,),
    code="2",
    kinds=frozenset({"duckdb", "numpy"}),
    pool="duckdb_writer",
)

HARDNESS = Stage(
    name="hardness",
    description="H(Z|C) of every task in nats (Eq. 14): the label-only estimate of how hard the task is.",
    make=make_hardness,
    after=(LABEL_COUNTS,),
    tables=(tables.HARDNESS,),
    kinds=frozenset({"duckdb", "numpy"}),
    pool="duckdb_writer",
)

LABEL_UNCERTAINTY = Stage(
    name="label_uncertainty",
    description="How far each H(Y|Z) can be trusted: bias-corrected value, 95 % interval, what shuffled labels give. "
    "The paper leaves this out; it matters for sources with many values.",
    make=make_label_uncertainty,
    after=(LABEL_TABLE,),
    tables=(tables.LABEL_UNCERTAINTY,),
    settings=lambda study, _: {
        **_pairs(study),
        **study.settings.uncertainty.model_dump(mode="json"),
    },
    kinds=frozenset({"duckdb", "numpy"}),
    pool="duckdb_writer",
)
