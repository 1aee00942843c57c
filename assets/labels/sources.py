"""The labels that each source carries: a task its own, a representation those of the task that it names, or none.

Nothing is counted here.
"""

import polars as pl

from assets.study import Study

NO_SOURCE_LABELS = "the representation is of no task of the study, so there are no labels to condition on"


def with_representations(study: Study, labels: pl.DataFrame) -> pl.DataFrame:
    """The label table with a further column for every representation: its task's labels, or NULL throughout."""
    return labels.with_columns(
        (pl.lit(None, pl.Int32) if task is None else pl.col(task)).alias(name)
        for name in study.settings.representations
        for task in [study.source_task(name)]
    )


def label_columns(study: Study) -> tuple[str, ...]:
    """The tasks, then the representations: the columns of labels in `with_representations`."""
    return (*study.tasks, *study.settings.representations)


def with_reasons(study: Study, pairs: pl.DataFrame) -> pl.DataFrame:
    """A table of pairs in which `undefined_because` says of a source without labels that it has none."""
    unlabelled = [source for source in study.sources if study.source_task(source) is None]
    return pairs.with_columns(
        pl.when(pl.col("source").is_in(unlabelled))
        .then(pl.lit(NO_SOURCE_LABELS))
        .otherwise(pl.col("undefined_because"))
        .alias("undefined_because")
    )
