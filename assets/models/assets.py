"""Stages `source_model` and `embedding`: one network per source task, and its view of every image."""

import glob
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from assets.labels.assets import LABELS, PIXELS
from assets.materialize import Work
from assets.models import tables
from assets.models.brought import (
    make_brought_embedding,
    make_brought_source,
    outside_versions,
    record_file,
)
from assets.stage import Stage
from assets.study import Study
from resources.store import content_hash, file_hash

if TYPE_CHECKING:
    from assets.models.training import EpochRecord, TrainedModel

Mask = npt.NDArray[np.bool_]

UNTRAINABLE = "untrainable"
"""The data version of a source whose labels are constant in train: there is no network, and its partition says so."""


def make_source_model(work: Work) -> None:
    """Train one source's network, or mark it as not trainable or brought along."""
    if work.study.representation_file(work.task) is not None:
        make_brought_source(work)
        return
    from assets.labels.pixels import load_pixel_cache
    from assets.models.training import not_trainable_because, train_source_model
    from assets.models.weights import save_source_model
    from resources.compute import choose_device

    labels = pl.read_parquet(work.path("labels", ".parquet", work.task))
    codes = labels["value"].fill_null(-1).to_numpy()
    cache = load_pixel_cache(work.path("pixels", ".npy"))
    is_train, is_test = (
        (labels["split"] == split).to_numpy() & cache.readable for split in ("train", "test")
    )
    if (reason := not_trainable_because(codes, is_train)) is not None:
        _write_untrainable(work, reason, codes, is_train, is_test)
        return
    record_file(work)
    checkpoint = _checkpoint(work)
    trained = train_source_model(
        cache.pixels,
        codes,
        is_train,
        is_test,
        work.study.settings.recipe,
        work.study.network(work.task),
        device=choose_device(),
        checkpoint=checkpoint,
        on_epoch=lambda record: _log_epoch(work, record),
        on_resume=lambda record: _log_epoch(
            work, record
        ),  # else the curves of its MLflow run would lack them
    )
    with work.file(".safetensors") as path:
        save_source_model(trained, path)
        work.version = file_hash(path)
    work.keep_in_mlflow(work.path("source_model", ".safetensors", work.task))
    with work.file(".log_p_z.parquet") as path:
        pl.DataFrame({"log_p_z": trained.log_p_z}).write_parquet(path, statistics=False)
    _write_row(work, trained)
    checkpoint.unlink(missing_ok=True)


def make_embedding(work: Work) -> None:
    """The penultimate activations of one source's network for every image, or a representation brought along."""
    if (file := work.study.representation_file(work.task)) is not None:
        make_brought_embedding(work, file)
        return
    manifest = work.home.store.manifest(work.study.name, "source_model", work.task)
    if manifest is not None and manifest.data_version == UNTRAINABLE:
        work.version = UNTRAINABLE
        work.tell(images=0, note="the source is constant in train; there is no network")
        return
    from assets.labels.pixels import load_pixel_cache
    from assets.models.embedding import extract_embedding
    from assets.models.weights import load_source_model
    from resources.compute import choose_device

    weights = work.path("source_model", ".safetensors", work.task)
    work.home.store.verified(weights, work.study.name, "source_model", work.task)
    model = load_source_model(weights)
    cache = load_pixel_cache(work.path("pixels", ".npy"))
    with work.file(".safetensors") as path:
        extract_embedding(model, cache.pixels, path, device=choose_device())
        work.version = file_hash(path)
    work.tell(images=len(cache.pixels), width=model.embedding_width)


def has_network(work: Work, source: str) -> bool:
    """Whether a source has an embedding, or is marked as constant in train and so without a network."""
    manifest = work.home.store.manifest(work.study.name, "embedding", source)
    return manifest is None or manifest.data_version != UNTRAINABLE


def _checkpoint(work: Work) -> Path:
    """Where epochs are kept until the model is done; bound to what it is being made from."""
    identity = content_hash(dict(work.identity))[:16]
    path = work.path("source_model", f".{identity}.checkpoint", work.task)
    stem = path.name.removesuffix(f".{identity}.checkpoint")
    for other in path.parent.glob(f"{glob.escape(stem)}.{'[0-9a-f]' * 16}.checkpoint"):
        if other != path:  # of labels or a recipe that are no more
            other.unlink(missing_ok=True)
    if work.force:
        path.unlink(missing_ok=True)
    return path


def _log_epoch(work: Work, record: "EpochRecord") -> None:
    work.tracked.metrics(
        {
            "train_loss": record.loss,
            "train_accuracy": record.train_accuracy,
            "learning_rate": record.learning_rate,
            "images_per_second": record.images_per_second,
            "gpu_memory_gb": None if record.gpu_memory is None else record.gpu_memory / 1e9,
        },
        step=record.epoch,
    )


def _write_row(work: Work, trained: "TrainedModel") -> None:
    from resources.compute import describe_device

    network = work.study.network(work.task)
    facts = {
        "train_log_likelihood": trained.train_log_likelihood,
        "train_error": trained.train_error,
        "test_error": trained.test_error,
        "n_unseen": trained.n_unseen,
    }
    row = {
        "task": work.task,
        **facts,
        "n_train": trained.n_train,
        "n_test": trained.n_test,
        "epochs": work.study.settings.recipe.epochs,
        "seconds": trained.seconds,
        "device": trained.device,
        "undefined_because": trained.undefined_because,
        "backbone": network.backbone,
        "head": network.head,
        "n_classes": len(trained.classes),
    }
    work.write(tables.SOURCE_MODELS, tables.SOURCE_MODELS.frame([row]))
    work.tell(**{key: value for key, value in facts.items() if value is not None})
    work.record(
        device=describe_device(trained.device),
        precision=trained.precision,
        gpu_memory_peak=trained.gpu_memory_peak,
        libraries={name: version(name) for name in ("torch", "torchvision", "numpy")},
    )


def _write_untrainable(
    work: Work, reason: str, codes: npt.NDArray[np.int32], is_train: Mask, is_test: Mask
) -> None:
    known = codes >= 0
    seen = np.unique(codes[known & is_train])
    row = {
        "task": work.task,
        "n_train": int((known & is_train).sum()),
        "n_test": int((known & is_test).sum()),
        "n_unseen": int((known & is_test & ~np.isin(codes, seen)).sum()),
        "epochs": 0,
        "seconds": 0.0,
        "undefined_because": reason,
        "n_classes": len(seen),
    }
    work.write(tables.SOURCE_MODELS, tables.SOURCE_MODELS.frame([row]))
    work.version = UNTRAINABLE
    work.log.warning(f"{work.task}: {reason}")
    work.tell(note=reason)


def _training_settings(study: Study, task: str | None) -> Mapping[str, Any]:
    """What a network follows from; for the stage as a whole, the code version, of every source.

    A user's file stands here by its name, and by its content in `outside_versions`.
    """
    if task in study.settings.representations:
        return {"representation": study.settings.representations[task].to_record().model_dump(mode="json")}
    network = study.network(task or "").to_record().model_dump(mode="json")
    return {"recipe": study.settings.recipe.model_dump(mode="json"), "network": network}


SOURCE_MODEL = Stage(
    name="source_model",
    description="The network (w_Z, h_Z) of one source task, trained with cross entropy (Eq. 1-2); its own test error "
    "is the task's empirical hardness (Sec. 5.3). A representation that is brought along has neither.",
    make=make_source_model,
    partitions="sources",
    after=(LABELS, PIXELS),
    tables=(tables.SOURCE_MODELS,),
    settings=_training_settings,
    outside=outside_versions,
    kinds=frozenset({"pytorch", "duckdb"}),
    pool="gpu",
    command="models",
)

EMBEDDING = Stage(
    name="embedding",
    description="The representation w_Z(x) of every image: the penultimate activations of one source's network "
    "(Sec. 3.1), (n, d) float32; ResNet-18 gives d = 512.",
    make=make_embedding,
    partitions="sources",
    after=(SOURCE_MODEL, PIXELS),
    kinds=frozenset({"pytorch"}),
    pool="gpu",
    command="models",
)
