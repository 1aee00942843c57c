"""Loss, optimiser and learning rate of a recipe (Eq. 1-2); the loop that uses them is in training.py."""

import math

import torch
from torch import Tensor, nn

from assets.settings import Recipe

WARM_UP = 0.25  # of all steps of the one-cycle schedule


def make_optimiser(network: nn.Module, recipe: Recipe, device: str) -> torch.optim.Optimizer:
    """The recipe's optimiser, as one fused kernel where the device has it."""
    fused = device.startswith(("cpu", "cuda"))
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused
        )
    return torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=fused,
    )


def learning_rate_at(step: int, n_steps: int, recipe: Recipe) -> float:
    """Learning rate of a step (0-based) of `n_steps`.

    `cosine` falls from the peak to 0 along half a cosine; `onecycle` climbs in a line for the first quarter
    and then falls so; `constant` stays.
    """
    if recipe.schedule == "constant":
        return recipe.learning_rate
    warm_up = WARM_UP * n_steps if recipe.schedule == "onecycle" else 0.0
    if step < warm_up:
        return recipe.learning_rate * (step + 1) / (math.floor(warm_up) + 1)
    progress = (step - warm_up) / max(1.0, n_steps - warm_up)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def make_loss(recipe: Recipe, targets: Tensor, n_classes: int) -> nn.CrossEntropyLoss:
    """Cross entropy in nats (Eq. 2), with the recipe's smoothing and class weights.

    Args:
        recipe: `class_weights` balanced: each class weighs n / (K n_class), by the training rows.
        targets: (n,) int64 class indices of the training rows, on the training's device.
        n_classes: K.
    """
    weight = None
    if recipe.class_weights == "balanced":
        weight = len(targets) / (
            n_classes * torch.bincount(targets, minlength=n_classes).clamp(min=1).float()
        )
    return nn.CrossEntropyLoss(weight=weight, label_smoothing=recipe.label_smoothing)
