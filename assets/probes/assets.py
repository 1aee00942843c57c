"""Stages `transfer` and `bound`: all probes of one source, and Theorem 1 for all its pairs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from assets.labels.assets import LABEL_TABLE, PIXELS
from assets.materialize import Work
from assets.models.assets import EMBEDDING, SOURCE_MODEL, has_network
from assets.probes import tables
from assets.probes.rows_of_study import Rows, rows_of_study
from assets.stage import Stage
from assets.study import Study
from resources.store import content_hash

if TYPE_CHECKING:
    from assets.models.networks import SoftmaxHead
    from assets.probes.source_head import SourceHead

NO_HEAD = "the representation was brought along without the head that it was trained with, so it has no l_Z"
NO_NETWORK = "the source is constant in train, so it has no network and no embedding"


def make_transfer(work: Work) -> None:
    """Probe every target on one source's embedding; pairs whose inputs are as before keep their rows."""
    targets = tuple(target for target in work.study.targets if target != work.task)
    versions = _pair_versions(work, targets)
    kept = _kept_rows(work, versions)
    todo = tuple(target for target in targets if target not in set(kept["target"]))
    fresh = _probe(work, todo) if todo else kept.clear()
    order = pl.DataFrame({"target": targets})
    rows = order.join(
        pl.concat([kept, fresh.select(kept.columns)]), on="target", how="left", maintain_order="left"
    )
    work.write(tables.TRANSFER, rows)
    work.record(pairs=versions)
    work.version = content_hash(rows.to_dicts())
    errors, unconverged = rows["test_error"].drop_nulls(), rows.filter(~pl.col("converged"))["target"]
    work.tell(
        pairs=len(rows),
        pairs_probed=len(todo),
        pairs_unconverged=len(unconverged),
        median_test_error=errors.median(),
    )
    if len(unconverged):
        work.log.warning(f"{work.task}: {len(unconverged)} probes stopped short of probe.tolerance")


def make_bound(work: Work) -> None:
    """Theorem 1 for every pair of one source, everything on the same train rows."""
    targets = tuple(target for target in work.study.targets if target != work.task)
    if not has_network(work, work.task):
        work.write(tables.BOUND, _unmeasured_bound(work.task, targets, NO_NETWORK))
        return
    from assets.probes.bound import theorem_1_bound  # torch loads only here

    rows = rows_of_study(work, targets, work.task)
    if work.study.representation_file(work.task) is not None:
        work.write(tables.BOUND, _bound_without_head(work, rows))
        return
    head, classes = _source_head(work)
    index = np.searchsorted(classes, rows.source)
    known = (rows.source >= 0) & (classes[np.minimum(index, len(classes) - 1)] == rows.source)
    frame = theorem_1_bound(
        head,
        np.where(known, index, -1),
        rows.codes,
        rows.is_train,
        targets=rows.targets,
        n_values=rows.n_values,
    )
    probes = work.read("transfer", [work.task]).select("target", "probe_log_likelihood")
    frame = frame.join(probes, on="target", how="left", maintain_order="left")
    frame = frame.with_columns(pl.lit(work.task).alias("source"))
    work.write(tables.BOUND, frame.select(column.name for column in tables.BOUND.columns))
    work.tell(least_slack=frame["slack"].min(), violations=int(frame["n_violations"].fill_null(0).sum()))


def _source_head(work: Work) -> tuple["SourceHead", npt.NDArray[np.int64]]:
    """p_Z of one source for any rows, recomputed from its head and embedding, and the label code of each logit."""
    from assets.models.embedding import load_embedding
    from assets.models.networks import CosFaceHead
    from assets.models.weights import load_source_model
    from assets.probes.source_head import CosineHead, LinearHead

    weights, vectors = (work.path(name, ".safetensors", work.task) for name in ("source_model", "embedding"))
    for name, path in (("source_model", weights), ("embedding", vectors)):
        work.home.store.verified(path, work.study.name, name, work.task)
    model, embedding = load_source_model(weights), load_embedding(vectors)
    if isinstance(model.head, CosFaceHead):
        head: SourceHead = CosineHead(embedding, model.head.weight.detach(), model.head.scale)
    else:
        linear = cast("SoftmaxHead", model.head)
        head = LinearHead(embedding, linear.weight.detach(), linear.bias.detach())
    return head, model.classes.numpy()


def _probe(work: Work, targets: tuple[str, ...]) -> pl.DataFrame:
    if not has_network(work, work.task):
        return _unmeasured(work, targets)
    from assets.models.embedding import load_embedding
    from assets.probes.probe import probe_targets
    from resources.compute import choose_double_device

    path = work.path("embedding", ".safetensors", work.task)
    work.home.store.verified(path, work.study.name, "embedding", work.task)
    rows = rows_of_study(work, targets, work.task)
    result = probe_targets(
        load_embedding(path),
        rows.codes,
        rows.is_train,
        rows.is_test,
        targets=rows.targets,
        n_values=rows.n_values,
        settings=work.study.settings.probe,
        device=choose_double_device(),
        likelihood_rows=None
        if work.study.source_task(work.task) is None
        else rows.is_train & (rows.source >= 0),
        validation=rows.validation,
    )
    if result.logistic_unconverged:  # of a k' that is not the best one, Theorem 1 says no less
        work.log.warning(
            f"{work.task}: {len(result.logistic_unconverged)} logistic probes stopped short of probe.tolerance"
        )
    return result.frame.with_columns(pl.lit(work.task).alias("source"))


def _pair_versions(work: Work, targets: tuple[str, ...]) -> dict[str, str]:
    """What each pair's row follows from: embedding, rows with their labels, settings, code.

    The rows are hashed as the probe sees them and not by the versions of labels and images, so that an image that can
    no longer be read moves the pairs that used it, and no others.
    """
    embedding = work.home.store.manifest(work.study.name, "embedding", work.task)
    digests = rows_of_study(work, targets, work.task).digests(
        conditioned=work.study.source_task(work.task) is not None,
        validated=bool(work.study.settings.probe.c_grid),
    )
    common: list[Any] = [
        embedding.data_version if embedding else None,
        work.identity["settings"],
        work.identity["tables"],
        work.stage.code,
    ]
    return {target: content_hash([common, digest])[:16] for target, digest in digests.items()}


def _kept_rows(work: Work, versions: dict[str, str]) -> pl.DataFrame:
    """Rows of the previous output that would come out the same again."""
    empty = tables.TRANSFER.frame([])
    before = work.note("pairs")
    if work.force or not before or work.previous is None or not work.home.store.holds(work.previous):
        return empty
    same = [target for target, version in versions.items() if before.get(target) == version]
    rows = work.home.store.read_table(work.study.name, "transfer", [work.task])
    return rows.filter(pl.col("target").is_in(same)).select(empty.columns).match_to_schema(empty.schema)


def _unmeasured(work: Work, targets: tuple[str, ...]) -> pl.DataFrame:
    """Rows of pairs whose source could not be trained: the errors are NULL with the reason."""
    rows = rows_of_study(work, targets, work.task)
    known = rows.codes >= 0
    n_train, n_test = known[rows.is_train].sum(axis=0).tolist(), known[rows.is_test].sum(axis=0).tolist()
    unmeasured = [
        {
            "source": work.task, "target": target, "n_train": train, "n_test": test,
            "constant_target": False, "undefined_because": NO_NETWORK,
        }
        for target, train, test in zip(targets, n_train, n_test, strict=True)
    ]  # fmt: skip
    return tables.TRANSFER.frame(unmeasured)


def _unmeasured_bound(source: str, targets: tuple[str, ...], reason: str) -> pl.DataFrame:
    rows = [{"source": source, "target": target, "n": 0, "undefined_because": reason} for target in targets]
    return tables.BOUND.frame(rows)


def _bound_without_head(work: Work, rows: Rows) -> pl.DataFrame:
    """Rows of a representation that was brought along: only what its probes measured."""
    both = (rows.codes >= 0) & (rows.is_train & (rows.source >= 0))[:, None]
    measured = dict(work.read("transfer", [work.task]).select("target", "probe_log_likelihood").iter_rows())
    return _unmeasured_bound(work.task, rows.targets, NO_HEAD).with_columns(
        pl.Series("n", both.sum(axis=0), dtype=pl.Int64),
        pl.Series("probe_log_likelihood", [measured.get(t) for t in rows.targets], dtype=pl.Float64),
    )


def _settings(study: Study, source: str | None) -> Mapping[str, Any]:
    """The probes' settings; whose labels are a representation's Z; where CelebA's C is chosen (`Rows.validation`)."""
    settings = study.settings.probe
    probe = settings.deciding()
    if settings.c_grid and study.settings.dataset.reader == "celeba":
        probe["validation"] = "partition 1"
    if source not in study.settings.representations:
        return probe
    return {**probe, "source_task": study.source_task(source)}


TRANSFER = Stage(
    name="transfer",
    description="For one source's frozen embedding, a linear SVM for every target (Eq. 3); its test error is "
    "1 - Trf(Z → Y) (Eq. 4). A pair is probed again only when the embedding or the target's labels changed.",
    make=make_transfer,
    partitions="sources",
    after=(EMBEDDING, LABEL_TABLE, PIXELS),
    tables=(tables.TRANSFER,),
    settings=_settings,
    kinds=frozenset({"pytorch", "duckdb"}),
    pool="gpu",
    command="probes",
)

BOUND = Stage(
    name="bound",
    description="Theorem 1 (Eq. 9-12) for every pair of one source, on its train rows: l_Y(k̄) ≥ l_Z - H(Y|Z), "
    "with the slack computed two ways.",
    make=make_bound,
    partitions="sources",
    after=(SOURCE_MODEL, EMBEDDING, LABEL_TABLE, PIXELS, TRANSFER),
    tables=(tables.BOUND,),
    settings=_settings,
    kinds=frozenset({"pytorch", "duckdb"}),
    pool="gpu",
    command="probes",
)
