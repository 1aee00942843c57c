"""Stage `sample_efficiency`: accuracy against the number of training images, transferred and dedicated (Fig. 5)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from assets.labels.assets import LABEL_TABLE, PIXELS, pixels_of
from assets.materialize import Work
from assets.models.assets import EMBEDDING, has_network
from assets.probes import tables
from assets.probes.rows_of_study import Rows, rows_of_study
from assets.settings import NetworkSettings
from assets.stage import Stage
from assets.statistics.assets import CONDITIONAL_ENTROPY
from assets.study import Study
from resources.errors import DataError

_DEFAULT_TARGETS = 2


def make_sample_efficiency(work: Work) -> None:
    """For every chosen target, probes on the chosen sources' embeddings and dedicated networks, on the same images."""
    settings = work.study.settings.sample_efficiency
    sources = _sources(work)
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
    work.write(tables.SAMPLE_EFFICIENCY, with_intervals(pl.concat(parts)))


def _sources(work: Work) -> tuple[str, ...]:
    """The chosen sources, or the study's first, without those that are constant in train and so have no embedding."""
    chosen = work.study.settings.sample_efficiency.sources
    able = tuple(source for source in chosen or work.study.sources if has_network(work, source))
    if lost := [source for source in chosen if source not in able]:
        note = f"left out, since constant in train and so without an embedding: {', '.join(lost)}"
        work.log.warning(note)
        work.tell(note=note)
    return able if chosen else able[:1]


def training_sizes(rows: int, count: int, smallest: int) -> list[int]:
    """Log-spaced numbers of training images from `smallest` to all rows, without repeats."""
    first = min(smallest, rows)
    return sorted({round(size) for size in np.geomspace(first, rows, count)})


def with_intervals(curves: pl.DataFrame) -> pl.DataFrame:
    """The curves with, in each row, the mean over the seeds of its point and Student's 95 % interval of that mean.

    Args:
        curves: `source`, `target`, `n_train`, `seed`, `test_accuracy`.

    Returns:
        `mean_accuracy`, `ci_low`, `ci_high` besides; the interval is cut at 0 and 1, and NULL where there is one seed.
    """
    from scipy.special import stdtrit  # only here, so that the code location loads fast

    point = ["source", "target", "n_train"]
    accuracy = pl.col("test_accuracy")
    summary = curves.group_by(point, maintain_order=True).agg(
        accuracy.mean().alias("mean_accuracy"), accuracy.std().alias("spread"), pl.len().alias("seeds")
    )
    seeds = summary["seeds"].to_numpy().astype(float)
    quantile = pl.Series(stdtrit(np.maximum(seeds - 1, 1), 0.975))
    half = pl.col("spread") / pl.col("seeds").sqrt() * quantile
    summary = summary.with_columns(
        (pl.col("mean_accuracy") - half).clip(0, 1).alias("ci_low"),
        (pl.col("mean_accuracy") + half).clip(0, 1).alias("ci_high"),
    )
    return curves.join(
        summary.drop("spread", "seeds"), on=point, how="left", nulls_equal=True, maintain_order="left"
    )


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

    path = work.path("embedding", ".safetensors", source)
    work.home.store.verified(path, work.study.name, "embedding", source)
    return probe_learning_curve(
        load_embedding(path),
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
        _from_scratch(work.study.network(target)),
        sizes,
        work.study.settings.sample_efficiency.seeds,
        device=choose_device(),
    )


def _from_scratch(network: NetworkSettings) -> NetworkSettings:
    """The network without weights to start from: a dedicated network learns from the given images alone."""
    return network.model_copy(update={"weights": None})


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
        "network": _from_scratch(study.settings.network).model_dump(mode="json"),
        "networks": {
            task: _from_scratch(network).model_dump(mode="json")
            for task, network in study.settings.networks.items()
        },
        "probe": study.settings.probe.deciding(),
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
