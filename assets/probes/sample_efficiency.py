"""Stage `sample_efficiency`: accuracy against the number of training images, transferred and dedicated (Fig. 5)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from assets.labels.assets import LABEL_TABLE, PIXELS, pixels_of
from assets.materialize import Work
from assets.models.assets import EMBEDDING
from assets.probes import tables
from assets.probes.rows_of_study import Rows, rows_of_study
from assets.stage import Stage
from assets.statistics.assets import CONDITIONAL_ENTROPY
from assets.study import Study
from resources.errors import DataError

_DEFAULT_TARGETS = 2


def make_sample_efficiency(work: Work) -> None:
    """For every chosen target, probes on the chosen sources' embeddings and dedicated networks, on the same images."""
    settings = work.study.settings.sample_efficiency
    sources = settings.sources or work.study.sources[:1]
    parts = []
    for target in settings.targets or most_transferable(work.read("conditional_entropy"), sources):
        rows = rows_of_study(work, (target,), target)
        sizes = training_sizes(
            int((rows.is_train & (rows.codes[:, 0] >= 0)).sum()), settings.sizes, settings.smallest
        )
        for source in sources:
            if source != target:
                work.log.info(f"{source} to {target}: probes at {sizes}")
                parts.append(_labelled(_transferred(work, source, rows, sizes), source, target))
        work.log.info(f"{target}: dedicated networks at {sizes}")
        parts.append(_labelled(_dedicated(work, target, rows, sizes), None, target))
    if not parts:
        raise DataError(f"{work.study.name}: sample_efficiency has no pair of a source and another target")
    work.write(tables.SAMPLE_EFFICIENCY, pl.concat(parts))


def training_sizes(rows: int, count: int, smallest: int) -> list[int]:
    """Log-spaced numbers of training images from `smallest` to all rows, without repeats."""
    first = min(smallest, rows)
    return sorted({round(size) for size in np.geomspace(first, rows, count)})


def most_transferable(conditional_entropy: pl.DataFrame, sources: Sequence[str]) -> list[str]:
    """The two binary targets that the sources leave the smallest share of entropy; ties go to the harder target."""
    found = (
        conditional_entropy.filter(
            (pl.col("split") == "train")
            & pl.col("source").is_in(list(sources))
            & (pl.col("n_target_values") == 2)
            & pl.col("normalised").is_not_null()
        )
        .group_by("target", maintain_order=True)
        .agg(pl.col("normalised").min(), pl.col("target_entropy").max())
        .sort(["normalised", "target_entropy"], descending=[False, True], maintain_order=True)
    )
    return found["target"].head(_DEFAULT_TARGETS).to_list()


def _transferred(work: Work, source: str, rows: Rows, sizes: list[int]) -> pl.DataFrame:
    from assets.models.embedding import load_embedding
    from assets.probes.learning_curve import probe_learning_curve
    from resources.compute import choose_double_device

    return probe_learning_curve(
        load_embedding(work.path("embedding", ".safetensors", source)),
        rows.codes[:, 0],
        rows.is_train,
        rows.is_test,
        sizes,
        work.study.settings.sample_efficiency.seeds,
        settings=work.study.settings.probe,
        device=choose_double_device(),
    )


def _dedicated(work: Work, target: str, rows: Rows, sizes: list[int]) -> pl.DataFrame:
    from assets.models.learning_curve import dedicated_learning_curve
    from resources.compute import choose_device

    cache = pixels_of(work.study, work.home)
    if cache is None:
        raise DataError(f"{work.study.name}: has no images, and dedicated networks are trained on them")
    return dedicated_learning_curve(
        cache.pixels,
        rows.codes[:, 0],
        rows.is_train,
        rows.is_test,
        work.study.settings.recipe,
        work.study.network(target),
        sizes,
        work.study.settings.sample_efficiency.seeds,
        device=choose_device(),
    )


def _labelled(curve: pl.DataFrame, source: str | None, target: str) -> pl.DataFrame:
    return curve.with_columns(
        pl.lit(source, dtype=pl.String).alias("source"),
        pl.lit(target).alias("target"),
        pl.col("seed").cast(pl.Int32),
    )


def _settings(study: Study, _partition: str | None) -> dict[str, Any]:
    return {
        "sample_efficiency": study.settings.sample_efficiency.model_dump(mode="json"),
        "recipe": study.settings.recipe.model_dump(mode="json"),
        "network": study.settings.network.model_dump(mode="json"),
        "networks": {
            task: network.model_dump(mode="json") for task, network in study.settings.networks.items()
        },
        "probe": study.settings.probe.model_dump(mode="json"),
    }


SAMPLE_EFFICIENCY = Stage(
    name="sample_efficiency",
    description="Test accuracy against the number of training images, for probes on transferred embeddings and for "
    "dedicated networks trained from scratch on the same images (Fig. 5).",
    make=make_sample_efficiency,
    after=(EMBEDDING, LABEL_TABLE, PIXELS, CONDITIONAL_ENTROPY),
    tables=(tables.SAMPLE_EFFICIENCY,),
    settings=_settings,
    kinds=frozenset({"pytorch", "duckdb"}),
    pool="gpu",
    command="sample-efficiency",
)
