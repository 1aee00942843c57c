"""Source models as safetensors files, and weights that a user starts from; nothing here is ever unpickled."""

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from assets.models.networks import SourceNetwork, build_network
from assets.models.tensor_files import open_tensors, write_tensors
from assets.settings import NetworkSettings
from resources.errors import StoreError

if TYPE_CHECKING:
    from assets.models.training import TrainedModel

FORMAT = "1"


def save_source_model(model: "TrainedModel | SourceNetwork", path: Path) -> None:
    """Write a source model: weights, classes, and in the header the settings it is rebuilt from.

    The file names neither times nor machines: the same weights give the same bytes.

    Raises:
        StoreError: No space on the disk; no file is left.
    """
    network = model if isinstance(model, SourceNetwork) else model.network
    tensors = {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "network": network.settings.to_record().model_dump_json(),
        "image_size": str(network.image_size),
        "n_classes": str(network.n_classes),
    }
    if not isinstance(model, SourceNetwork):
        metadata["recipe"] = model.recipe.model_dump_json()
    write_tensors(path, tensors, metadata)


def load_source_model(
    path: Path, *, network: NetworkSettings | None = None, classes: npt.NDArray[np.int64] | None = None
) -> SourceNetwork:
    """Rebuild a source model from its file, in evaluation mode, on the CPU.

    Args:
        path: A file of `save_source_model`.
        network: If given, the settings that it must have been made with.
        classes: If given, (K,) int64 label codes that its logits must stand for.

    Raises:
        StoreError: The file is missing, damaged, not a source model, or not the one that was asked for.
    """
    stored = open_tensors(path)
    try:
        if stored.metadata["format"] != FORMAT:
            raise StoreError(
                f"{path}: format {stored.metadata['format']}, this version reads {FORMAT}; train it again"
            )
        settings = NetworkSettings(**json.loads(stored.metadata["network"]))
        model = build_network(
            settings, int(stored.metadata["n_classes"]), seed=0, image_size=int(stored.metadata["image_size"])
        )
    except (KeyError, ValueError) as error:
        raise StoreError(f"{path}: not a source model ({error}); train it again") from error
    _take_over(
        model, {name: torch.from_numpy(np.array(array)) for name, array in stored.tensors.items()}, path
    )
    if network is not None and settings != network.to_record():
        differing = [key for key, value in network.to_record() if getattr(settings, key) != value]
        raise StoreError(
            f"{path}: made with another {' and '.join(differing)} than the study asks for; train it again"
        )
    if classes is not None and not np.array_equal(model.classes.numpy(), classes):
        raise StoreError(f"{path}: trained on other label values than the study holds; train it again")
    return model.eval()


def _take_over(model: SourceNetwork, tensors: dict[str, Tensor], path: Path) -> None:
    wanted = model.state_dict()
    missing, surplus = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    misshapen = [name for name in wanted.keys() & tensors.keys() if wanted[name].shape != tensors[name].shape]
    if missing or surplus or misshapen:
        first = (missing or surplus or sorted(misshapen))[0]
        what = "lacks" if missing else "has a surplus" if surplus else "has another shape of"
        raise StoreError(
            f"{path}: does not match {model.settings.backbone}: {what} '{first}'; train it again"
        )
    model.load_state_dict(tensors)


def start_from(network: SourceNetwork, weights: str | None) -> SourceNetwork:
    """Start the backbone from a user's weights file, or leave it as it is for None.

    Args:
        network: A fresh network.
        weights: A `.safetensors` or `.pth`/`.pt` file of tensors by torchvision's names (a classifier's
            tensors are passed over), or a source model of this project. `.pth` files are read with
            `weights_only=True`.

    Raises:
        StoreError: The file is missing, holds more than tensors, or does not fit the backbone.
    """
    if weights is None:
        return network
    path = Path(weights)
    given = {name.removeprefix("backbone."): tensor for name, tensor in _read_weights(path).items()}
    wanted = network.backbone.state_dict()
    for name, tensor in wanted.items():
        if name not in given:
            raise StoreError(
                f"{path}: does not fit {network.settings.backbone}: lacks '{name}'; give its own weights"
            )
        if given[name].shape != tensor.shape:
            shapes = f"{tuple(given[name].shape)}, not {tuple(tensor.shape)}"
            raise StoreError(f"{path}: does not fit {network.settings.backbone}: '{name}' is {shapes}")
    network.backbone.load_state_dict({name: given[name] for name in wanted})
    return network


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise StoreError(f"{path}: weights cannot be read ({error.strerror or error})") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        why = "is not a file of tensors alone, and nothing else is loaded"
        raise StoreError(f"{path}: {why}; save the state_dict, as .safetensors") from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise StoreError(f"{path}: holds more than tensors by name; save the state_dict, as .safetensors")
    return loaded
