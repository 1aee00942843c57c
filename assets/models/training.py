"""Training of one source model (Eq. 1-2) and what is measured of it at the end; it knows no tables."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from assets.models.batches import Pixels, epoch_generator, network_input, step_count
from assets.models.checkpoint import EpochRecord, fingerprint, load_checkpoint, prepare_state, save_checkpoint
from assets.models.evaluation import Evaluation, evaluate
from assets.models.networks import SourceNetwork, build_network
from assets.models.optimisation import learning_rate_at, make_loss, make_optimiser
from assets.models.settling import settle_batch_norms
from assets.models.weights import start_from
from assets.settings import NetworkSettings, Recipe
from resources.compute import choose_precision
from resources.errors import ComputeError, DataError

__all__ = ["EpochRecord", "TrainedModel", "not_trainable_because", "train_source_model"]

Labels = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]
COMPILE_FROM_STEPS = 2000  # compiling takes a minute or so, which a shorter training does not earn back


@dataclass(frozen=True)
class TrainedModel:
    """A trained source model and its measures, all in evaluation mode, without augmentation, in float32.

    Attributes:
        network: The model, in evaluation mode, on the device.
        classes: (K,) int64, the label code of each logit: the values seen in train, ascending.
        recipe: What it was trained by.
        history: One record an epoch.
        train_log_likelihood: Mean log p(z_i | x_i) over the labelled train rows, nats (l_Z of the paper).
        train_error: Share of labelled train rows misclassified.
        test_error: Share of labelled test rows misclassified: the task's empirical hardness. None, with the
            reason in `undefined_because`, where there is no such row or where one holds a value that train
            never showed.
        n_train: Labelled train rows.
        n_test: Labelled test rows.
        n_unseen: Those of them whose value train never showed.
        undefined_because: Why `test_error` is None, else None.
        log_p_z: (n,) float64, log p(z_i | x_i) of each image's own label, nats; null where that label is
            missing or train never showed it.
        seconds: Wall time of training (all its runs) and evaluation.
        device: Torch device.
        precision: Of the matrix products in training: float32 or bfloat16.
        gpu_memory_peak: Bytes, or None without CUDA.
    """

    network: SourceNetwork
    classes: npt.NDArray[np.int64]
    recipe: Recipe
    history: list[EpochRecord]
    train_log_likelihood: float
    train_error: float
    test_error: float | None
    n_train: int
    n_test: int
    n_unseen: int
    undefined_because: str | None
    log_p_z: pl.Series
    seconds: float
    device: str
    precision: str
    gpu_memory_peak: int | None


def not_trainable_because(labels: Labels, is_train: Mask) -> str | None:
    """Why no network can be trained on these labels (-1 = missing), or None."""
    seen = np.unique(labels[is_train & (labels >= 0)])
    if len(seen) == 0:
        return "no train row has a label"
    if len(seen) == 1:
        return f"the task is constant in train (always {seen[0]})"
    return None


def train_source_model(  # noqa: PLR0913 - the data and the settings of one training, and where it reports to
    pixels: npt.NDArray[np.uint8],
    labels: Labels,
    is_train: Mask,
    is_test: Mask,
    recipe: Recipe,
    network: NetworkSettings,
    *,
    device: str,
    checkpoint: Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_resume: Callable[[EpochRecord], None] | None = None,
    on_embedding: Callable[[int, Tensor], None] | None = None,
    resident: bool | None = None,
) -> TrainedModel:
    """Train one source model and measure it.

    Rows whose label is missing are left out. The same arguments give the same weights on the same CPU with
    the same number of threads, also after any number of interruptions.

    Args:
        pixels: (n, H, W, 3) uint8, array or memory map, at the recipe's image size.
        labels: (n,) integers, -1 = missing.
        is_train: (n,) bool.
        is_test: (n,) bool.
        recipe: How to train.
        network: Backbone and head.
        device: Torch device, as from `resources.compute.choose_device`.
        checkpoint: File that holds the state after each epoch and from which an interrupted training goes on;
            the caller removes it once the result is stored. One of other labels or settings is passed over.
        on_epoch: Told of each finished epoch of this run.
        on_resume: Told first, in order, of each epoch that earlier runs finished and the checkpoint holds.
        on_embedding: Gets the embeddings of all images, in order, from the evaluation pass: `(start, (B, D)
            float32)`.
        resident: Whether the pixels are held on the device; None: where they fit.

    Raises:
        ComputeError: The task is not trainable, or the loss is not a number; names the step and the learning
            rate.
        DataError: The arrays do not fit together.
        StoreError: No space for the checkpoint.
    """
    _check(pixels, labels, is_train, is_test)
    reason = not_trainable_because(labels, is_train)
    if reason is not None:
        raise ComputeError(f"not trainable: {reason}; leave this source out or change the split")
    classes = np.unique(labels[is_train & (labels >= 0)]).astype(np.int64)
    targets = class_indices(labels, classes)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)  # of the training before, in the same process
    images = Pixels(pixels, device=device, resident=resident)
    loop = TrainingLoop(
        images, targets, np.flatnonzero(is_train & (targets >= 0)), recipe, network, device=device
    )
    loop.network.classes.copy_(torch.from_numpy(classes))
    history = loop.run(checkpoint, on_epoch, on_resume)
    evaluation_started = time.perf_counter()
    evaluation = evaluate(loop.network, images, targets, receive=on_embedding)
    measured = _measures(evaluation, labels, targets, is_train, is_test)
    return TrainedModel(
        network=loop.network,
        classes=classes,
        recipe=recipe,
        history=history,
        seconds=sum(record.seconds for record in history) + time.perf_counter() - evaluation_started,
        device=device,
        precision=loop.precision,
        gpu_memory_peak=gpu_memory_peak(device),
        **measured,
    )


def class_indices(labels: Labels, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n,) index of each label among the ascending `classes`; -1 where it is missing or not among them."""
    at = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    return np.where(classes[at] == labels, at, -1).astype(np.int64)


def gpu_memory_peak(device: str) -> int | None:
    """Most bytes that tensors have held on a CUDA device since it was asked to count anew; None elsewhere."""
    return int(torch.cuda.max_memory_allocated(device)) if device.startswith("cuda") else None


class TrainingLoop:
    """One network's training: state, and the epochs over it.

    Args:
        images: All images.
        targets: (n,) class indices; those of `rows` are used.
        rows: (m,) int64, the training rows.
        recipe: How to train.
        network: Backbone and head.
        device: Torch device.
        epochs: Passes over `rows`; None: the recipe's.
    """

    def __init__(
        self,
        images: Pixels,
        targets: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        recipe: Recipe,
        network: NetworkSettings,
        *,
        device: str,
        epochs: int | None = None,
    ) -> None:
        if len(rows) < 2:
            raise ComputeError("not trainable: fewer than two labelled train rows; leave this source out")
        self.images, self.recipe, self.device = images, recipe, device
        self.epochs = epochs or recipe.epochs
        self.precision = choose_precision(device, recipe.precision)
        self.rows = torch.from_numpy(rows)
        self.targets = torch.from_numpy(targets[rows]).to(device)
        n_classes = int(targets[rows].max()) + 1
        self.belongs_to = fingerprint(recipe, network, self.targets, rows, self.precision)
        fresh = build_network(network, n_classes, seed=recipe.seed, image_size=recipe.image_size)
        self.network = start_from(fresh, network.weights).to(device)
        self.optimiser = make_optimiser(self.network, recipe, device)
        prepare_state(self.optimiser)
        self.loss = make_loss(recipe, self.targets, n_classes)
        self.steps = step_count(len(rows), recipe.batch_size)
        self.forward = self._compiled() if self._compile() else self.network

    def _compile(self) -> bool:
        worth_it = self.device.startswith("cuda") and self.steps * self.epochs >= COMPILE_FROM_STEPS
        return self.recipe.compile == "yes" or (self.recipe.compile == "auto" and worth_it)

    def _compiled(self) -> Callable[..., Tensor]:
        compiled: Callable[..., Tensor] = torch.compile(self.network, dynamic=False)
        return compiled

    def run(
        self,
        checkpoint: Path | None = None,
        on_epoch: Callable[[EpochRecord], None] | None = None,
        on_resume: Callable[[EpochRecord], None] | None = None,
    ) -> list[EpochRecord]:
        """Train the epochs that the checkpoint does not hold already; return the records of all.

        The network is then settled and in evaluation mode.
        """
        history: list[EpochRecord] = []
        if checkpoint is not None:
            history = load_checkpoint(checkpoint, self.network, self.optimiser, self.belongs_to)
        if on_resume is not None:
            for record in history:
                on_resume(record)
        for epoch in range(len(history), self.epochs):
            history.append(self._epoch(epoch))
            if checkpoint is not None:
                save_checkpoint(checkpoint, self.network, self.optimiser, history, self.belongs_to)
            if on_epoch is not None:
                on_epoch(history[-1])
        settle_batch_norms(self.network, self.images, self.rows, self.recipe.batch_size)
        return history

    def _epoch(self, epoch: int) -> EpochRecord:
        started = time.perf_counter()
        generator = epoch_generator(self.recipe.seed, epoch)
        order = torch.randperm(len(self.rows), generator=generator)
        losses = torch.zeros(self.steps, device=self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.network.train()
        with torch.random.fork_rng(devices=self._gpus()):  # dropout draws from the global state
            torch.manual_seed(generator.initial_seed())
            parts = torch.tensor_split(order.to(self.device), self.steps)
            batches = self.images.batches(self.rows[order], self.steps)
            for step, (part, batch) in enumerate(zip(parts, batches, strict=True)):
                images = network_input(batch, self.recipe.augmentation, generator)
                losses[step], right = self._step(images, self.targets[part], epoch * self.steps + step)
                correct += right
        self._check_losses(losses, epoch)
        seconds = time.perf_counter() - started
        return EpochRecord(
            epoch=epoch + 1,
            loss=float(losses.mean()),
            train_accuracy=int(correct) / len(self.rows),
            learning_rate=self._rate(epoch * self.steps + self.steps - 1),
            seconds=seconds,
            images_per_second=len(self.rows) / seconds,
            gpu_memory=gpu_memory_peak(self.device),
        )

    def _step(self, images: Tensor, targets: Tensor, step: int) -> tuple[Tensor, Tensor]:
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(step)
        self.optimiser.zero_grad()
        with self._autocast():
            logits = self.forward(images, targets)
        loss = self.loss(logits.float(), targets)
        loss.backward()
        self.optimiser.step()
        return loss.detach(), (logits.detach().argmax(1) == targets).sum()

    def _rate(self, step: int) -> float:
        return learning_rate_at(step, self.steps * self.epochs, self.recipe)

    def _autocast(self) -> AbstractContextManager[Any]:
        kind = self.device.partition(":")[0]
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _gpus(self) -> list[torch.device]:
        return [torch.device(self.device)] if self.device.startswith("cuda") else []

    def _check_losses(self, losses: Tensor, epoch: int) -> None:
        """Once an epoch, so that a GPU never waits for it; a checkpoint is written only after it."""
        bad = (~torch.isfinite(losses)).nonzero()
        if len(bad):
            step = epoch * self.steps + int(bad[0])
            raise ComputeError(
                f"the loss is not a number at step {step + 1} (epoch {epoch + 1}, learning rate "
                f"{self._rate(step):g}); lower recipe.learning_rate"
            )


def _check(pixels: npt.NDArray[np.uint8], labels: Labels, is_train: Mask, is_test: Mask) -> None:
    lengths = {len(pixels), len(labels), len(is_train), len(is_test)}
    if len(lengths) != 1:
        raise DataError(
            f"pixels, labels and masks differ in length ({sorted(lengths)}): make the pixels again"
        )
    if (is_train & is_test).any():
        raise DataError(f"image {int(np.flatnonzero(is_train & is_test)[0])} is in train and in test")


def _measures(
    evaluation: Evaluation, labels: Labels, targets: npt.NDArray[np.int64], is_train: Mask, is_test: Mask
) -> dict[str, Any]:
    train = is_train & (targets >= 0)
    test = is_test & (labels >= 0)
    log_likelihood = float(evaluation.log_p_z[train].mean())
    if not np.isfinite(log_likelihood):
        raise ComputeError("the trained network's log-likelihood is not a number; lower recipe.learning_rate")
    unseen = test & (targets < 0)
    n_test, n_unseen = int(test.sum()), int(unseen.sum())
    reason = None
    if n_test == 0:
        reason = "no test row has a label"
    elif n_unseen:
        values = len(np.unique(labels[unseen]))
        reason = f"{n_unseen} of {n_test} test rows hold {values} values that train never showed"
    return {
        "train_log_likelihood": log_likelihood,
        "train_error": float(1 - evaluation.correct[train].mean()),
        "test_error": None if reason else float(1 - evaluation.correct[test].mean()),
        "n_train": int(train.sum()),
        "n_test": n_test,
        "n_unseen": n_unseen,
        "undefined_because": reason,
        "log_p_z": pl.Series("log_p_z", evaluation.log_p_z, nan_to_null=True),
    }
