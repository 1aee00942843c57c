"""What the solver is given, checked and brought into the form it computes with; nothing is computed here."""

import math

import numpy as np
import torch
from torch import Tensor

from assets.probes.rows import ArrayLike, as_tensor
from resources.errors import DataError

_LARGEST = 1e15  # its square, summed over rows, must not overflow float32
_BLOCK_VALUES = 1 << 22


def checked_embedding(embedding: ArrayLike) -> Tensor:
    """(n, d) float32; nothing is copied unless NumPy's strides or byte order are none that torch takes.

    Raises:
        DataError: not an array of two dimensions, not float32, or a value that is not finite or beyond 1e15.
    """
    x = _taken(embedding, "embedding", "(n, d)")
    if x.dtype != torch.float32:
        raise DataError(f"the embedding is {x.dtype}; convert it to float32")
    step = max(1, _BLOCK_VALUES // max(x.shape[1], 1))
    for start in range(0, x.shape[0], step):
        part = x[start : start + step]
        if part.numel():
            low, high = torch.aminmax(part)
            if not -_LARGEST <= float(low) <= float(high) <= _LARGEST:
                row = start + int((~(part.abs() <= _LARGEST)).any(1).nonzero()[0, 0])
                raise DataError(
                    f"the embedding has a value in row {row} that is not finite or beyond ±1e15; "
                    "leave that row out, or standardise the features"
                )
    return x


def checked_labels(labels: ArrayLike) -> Tensor:
    """(n, T) of a signed integer type: 0 or 1, or negative where missing.

    Raises:
        DataError: not an array of two dimensions, not integer or boolean, or a label above 1.
    """
    y = _taken(labels, "labels", "(n, T)")
    if y.is_floating_point() or y.is_complex():
        raise DataError(f"the labels are {y.dtype}; give integers 0 and 1, negative where missing")
    if y.dtype not in (torch.int8, torch.int16, torch.int32, torch.int64):
        y = y.to(torch.int64)
    if bool((y > 1).any()):
        raise DataError(
            "labels must be 0 or 1, or negative where missing; split a multi-class target one-vs-rest"
        )
    return y


def checked_c(c: float | ArrayLike, n_targets: int) -> Tensor:
    """(T,) float64.

    Raises:
        DataError: not one number or one a target, or not positive and finite.
    """
    penalty = torch.as_tensor(c, dtype=torch.float64)
    if penalty.ndim > 1 or penalty.numel() not in (1, n_targets):
        raise DataError(
            f"C has shape {tuple(penalty.shape)}; give one number, or one for each of {n_targets} targets"
        )
    penalty = penalty.expand(n_targets)
    if not bool(((penalty > 0) & penalty.isfinite()).all()):
        raise DataError("C must be positive and finite for every target")
    return penalty


def checked_start(start: ArrayLike | None, shape: tuple[int, int]) -> Tensor | None:
    """(d + 1, T) weights to start from, or None.

    Raises:
        DataError: another shape, or a weight that is not finite.
    """
    if start is None:
        return None
    weights = _taken(start, "start", "(d + 1, T)")
    if tuple(weights.shape) != shape or not bool(weights.isfinite().all()):
        raise DataError(
            f"start {tuple(weights.shape)} must be finite weights {shape}: one a feature, the intercept last"
        )
    return weights


def checked_number(value: float, name: str) -> float:
    """A positive finite number.

    Raises:
        DataError: it is not.
    """
    if not (math.isfinite(value) and value > 0):
        raise DataError(f"{name} is {value}; it must be positive and finite")
    return float(value)


def _taken(array: ArrayLike, name: str, form: str) -> Tensor:
    if isinstance(array, np.ndarray) and array.dtype.kind in "biuf":
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        array = np.ascontiguousarray(native) if any(stride < 0 for stride in native.strides) else native
    elif not isinstance(array, Tensor):
        kind = f"of {array.dtype}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
        raise DataError(f"{name} is {kind}; give a NumPy array or a torch tensor of numbers, {form}")
    tensor = as_tensor(array).detach()
    if tensor.ndim != 2:
        raise DataError(f"{name} {tuple(tensor.shape)} must be {form}: two dimensions")
    return tensor
