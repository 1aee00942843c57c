"""What training source models would cost on a named GPU: an estimate from counted FLOPs, not a measurement.

FLOPs are counted operation by operation by torch on a network without memory. How much of a GPU's peak a
training reaches is a fraction that the user states or measures; nothing here has been timed on such a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from assets.models.networks import build_network
from assets.settings import NetworkSettings, Recipe
from resources.errors import ComputeError

PEAK_FLOPS = {  # dense bfloat16 (float16 on the T4) with float32 sums, per second, by the makers' data sheets
    "T4": 65e12,
    "A100": 312e12,
    "L40S": 362e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
}
TYPICAL_FRACTION = 0.2  # of the peak; ResNets train at 10 to 30 % of it, small images at the lower end


@dataclass(frozen=True)
class Training:
    """One source model to be trained: its network, recipe, number of classes, and the images it sees."""

    network: NetworkSettings
    recipe: Recipe
    n_classes: int
    n_train: int
    n_images: int


@dataclass(frozen=True)
class CostEstimate:
    """What a list of trainings costs: FLOPs and hours of one GPU at the stated fraction of its peak."""

    gpu: str
    n_models: int
    training_flops: float
    evaluation_flops: float
    fraction_of_peak: float
    hours: float

    def __str__(self) -> str:
        total = self.training_flops + self.evaluation_flops
        return (
            f"{self.n_models} source models: about {self.hours:.3g} hours on one {self.gpu} "
            f"({total:.3g} FLOPs at {self.fraction_of_peak:.0%} of its peak); an estimate, not a measurement"
        )


@lru_cache(maxsize=256)
def flops_per_image(network: NetworkSettings, n_classes: int, image_size: int) -> tuple[float, float]:
    """FLOPs of one image: (a forward pass, a training step). A product and a sum are two.

    Batch normalisation, activations and the optimiser are not counted: they cost memory traffic rather than
    FLOPs.
    """
    batch = 2
    with torch.device("meta"):
        model = build_network(network, n_classes, seed=0, image_size=image_size).train()
        images = torch.empty(batch, 3, image_size, image_size)
        labels = torch.zeros(batch, dtype=torch.int64)
        with FlopCounterMode(display=False) as forward:
            logits = model(images, labels)
        with FlopCounterMode(display=False) as backward:
            logits.sum().backward()
    once = forward.get_total_flops() / batch
    return once, once + backward.get_total_flops() / batch


def estimate_cost(
    trainings: Sequence[Training], *, gpu: str = "H100", fraction_of_peak: float = TYPICAL_FRACTION
) -> CostEstimate:
    """Estimate the GPU hours of training, evaluating and embedding `trainings` one after the other.

    Hours = (epochs · n_train · FLOPs of a training step + 2 · n_images · FLOPs of a forward pass) / (fraction
    · peak): every image passes once for the evaluation and once for the embedding.

    Args:
        trainings: What is to be trained.
        gpu: A name in `PEAK_FLOPS`.
        fraction_of_peak: Share of the peak that the training reaches, 0 to 1. Measure it as
            `measured_fraction(images_per_second, …)` of a first source, and estimate the rest with it.

    Raises:
        ComputeError: The GPU is not listed, or the fraction is out of its range.
    """
    if gpu not in PEAK_FLOPS:
        raise ComputeError(f"no peak is known for GPU '{gpu}': use {', '.join(PEAK_FLOPS)}")
    if not 0 < fraction_of_peak <= 1:
        raise ComputeError(f"fraction_of_peak must lie between 0 and 1, not {fraction_of_peak}")
    training_flops = evaluation_flops = 0.0
    for training in trainings:
        forward, step = flops_per_image(training.network, training.n_classes, training.recipe.image_size)
        training_flops += step * training.recipe.epochs * training.n_train
        evaluation_flops += 2 * forward * training.n_images
    seconds = (training_flops + evaluation_flops) / (fraction_of_peak * PEAK_FLOPS[gpu])
    return CostEstimate(
        gpu, len(trainings), training_flops, evaluation_flops, fraction_of_peak, seconds / 3600
    )


def measured_fraction(
    images_per_second: float, network: NetworkSettings, n_classes: int, image_size: int, *, peak_flops: float
) -> float:
    """Share of a device's peak (FLOPs per second) that a training at this throughput reaches."""
    return images_per_second * flops_per_image(network, n_classes, image_size)[1] / peak_flops
