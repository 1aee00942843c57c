"""What is kept after each epoch so that a killed training goes on from there; no pickle, and no random state.

No random state is needed: the draws of an epoch follow from the seed and the epoch's number alone.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from assets.models.tensor_files import open_tensors, write_tensors
from assets.settings import NetworkSettings, Recipe
from resources.errors import StoreError


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: number (1-based), mean loss (nats), accuracy over its batches in training mode.

    `learning_rate` is that of its last step, `seconds` its wall time, `images_per_second` its throughput,
    `gpu_memory` the peak of this training so far, bytes (None without CUDA).
    """

    epoch: int
    loss: float
    train_accuracy: float
    learning_rate: float
    seconds: float
    images_per_second: float
    gpu_memory: int | None = None


def fingerprint(
    recipe: Recipe, network: NetworkSettings, targets: Tensor, rows: npt.NDArray[np.int64], precision: str
) -> str:
    """SHA-256 of what a checkpoint belongs to: recipe, network, training rows and classes, precision."""
    digest = hashlib.sha256(json.dumps([recipe.model_dump(), network.model_dump(), precision]).encode())
    digest.update(rows.tobytes())
    digest.update(targets.cpu().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(
    path: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    history: list[EpochRecord],
    belongs_to: str,
) -> None:
    """Write the state after an epoch, in whole or not at all.

    Raises:
        StoreError: The disk is full; the checkpoint of the epoch before stays.
    """
    temporary = path.with_name(path.name + ".tmp")  # one writer: a killed one's rest is overwritten
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: _in_memory_order(tensor) for name, tensor in _state(network, optimiser).items()}
    metadata = {"fingerprint": belongs_to, "history": json.dumps([asdict(record) for record in history])}
    write_tensors(temporary, tensors, metadata)
    temporary.replace(path)


def load_checkpoint(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, belongs_to: str
) -> list[EpochRecord]:
    """Put the state of the last finished epoch into `network` and `optimiser`; return the epochs so far.

    A checkpoint that is absent, damaged, or of another recipe or other labels is passed over: the list is
    empty.
    """
    if not path.exists():
        return []
    try:
        stored = open_tensors(path)
    except StoreError:
        return []
    if stored.metadata.get("fingerprint") != belongs_to:
        return []
    with torch.no_grad():
        for name, tensor in _state(network, optimiser).items():
            saved = torch.from_numpy(np.array(stored.tensors[name]))
            _memory_view(tensor).copy_(saved)
    return [EpochRecord(**record) for record in json.loads(stored.metadata["history"])]


def prepare_state(optimiser: torch.optim.Optimizer) -> None:
    """Give the optimiser the zeros that its first step would otherwise make, laid out as the weights are.

    A fresh and a resumed run so compute with the same memory, and a checkpoint has a place to go.
    """
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            state = optimiser.state[parameter]
            if isinstance(optimiser, torch.optim.AdamW):
                step = torch.zeros(
                    (), dtype=torch.float32, device=parameter.device if group["fused"] else "cpu"
                )
                state |= {"step": step, "exp_avg": _zeros(parameter), "exp_avg_sq": _zeros(parameter)}
            elif group["momentum"] > 0:
                state["momentum_buffer"] = _zeros(parameter)


def _zeros(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter, memory_format=torch.preserve_format)


def _state(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Every tensor that training changes, by name."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    state: dict[str, Tensor] = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    buffers: Mapping[Tensor, Mapping[str, Any]] = optimiser.state
    for parameter, slots in buffers.items():
        for slot, tensor in slots.items():
            if isinstance(tensor, Tensor):
                state[f"optimiser.{slot}.{names[id(parameter)]}"] = tensor
    return state


def _memory_view(tensor: Tensor) -> Tensor:
    """A view in which a channels-last tensor is contiguous: stored and restored without reordering."""
    return tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor


def _in_memory_order(tensor: Tensor) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = _memory_view(tensor.detach()).cpu().numpy()
    return array
