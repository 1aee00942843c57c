"""The evaluation pass: every image once, in evaluation mode, without augmentation; and what is read from it.

Embeddings and logits are computed in float32 whatever the training's precision was, log probabilities in
float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from assets.models.batches import Pixels
from assets.models.networks import SourceNetwork, normalise

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Evaluation:
    """What a source model says of each image's own label.

    Attributes:
        log_p_z: (n,) float64, log p(z_i | x_i) in nats; NaN where the label is missing or train never showed
            it.
        correct: (n,) bool, whether the most probable class is the label.
    """

    log_p_z: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]


def embed_all(
    network: SourceNetwork,
    pixels: Pixels,
    receive: Callable[[int, Tensor], None],
    *,
    rows: Tensor | None = None,
    batch_size: int = EVALUATION_BATCH,
) -> None:
    """Hand the embeddings (B, D) of all images, or of `rows`, to `receive(start, embeddings)`, in order."""
    rows = torch.arange(len(pixels)) if rows is None else rows
    if len(rows) == 0:
        return
    was_training = network.training
    network.eval()
    start = 0
    with torch.inference_mode():
        for part in pixels.batches(rows, -(-len(rows) // batch_size)):
            embeddings = network.embed(normalise(part))
            receive(start, embeddings)
            start += len(embeddings)
    network.train(was_training)


def evaluate(
    network: SourceNetwork,
    pixels: Pixels,
    targets: npt.NDArray[np.int64],
    *,
    rows: Tensor | None = None,
    receive: Callable[[int, Tensor], None] | None = None,
) -> Evaluation:
    """Log probability and correctness of each row's own class, in one pass.

    Args:
        network: The source model.
        pixels: n images.
        targets: (m,) class indices of the rows, -1 where missing or unseen.
        rows: (m,) int64, the images to look at; None: all.
        receive: Also gets the embeddings, as in `embed_all`.
    """
    log_p = np.full(len(targets), np.nan)
    correct = np.zeros(len(targets), bool)
    known = torch.from_numpy(targets)

    def take(start: int, embeddings: Tensor) -> None:
        if receive is not None:
            receive(start, embeddings)
        logits = network.logits(embeddings)
        # float64 on the CPU: Apple's MPS has none, and a block of logits is small.
        log_softmax = torch.log_softmax(logits.float().cpu().double(), dim=1)
        own = known[start : start + len(embeddings)]
        values = log_softmax.gather(1, own.clamp(min=0)[:, None])[:, 0]
        here = (own >= 0).numpy()
        log_p[start : start + len(own)][here] = values.numpy()[here]
        correct[start : start + len(own)] = (log_softmax.argmax(1) == own).numpy() & here

    embed_all(network, pixels, take, rows=rows)
    return Evaluation(log_p, correct)
