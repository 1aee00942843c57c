"""An embedding that several fits are made to, with what they share; no fit."""

from functools import cached_property

import torch

from assets.probes.checked import checked_embedding
from assets.probes.rows import ArrayLike, Rows, Work
from assets.probes.spectrum import Spectrum, spectrum_of
from resources.errors import DataError


class PreparedEmbedding:
    """An embedding, checked, whose spectrum is found once for all fits to it.

    Args:
        embedding: (n, d) float32, NumPy (a memory map too) or torch; it is not copied and must not change.
        device: where fits compute; None is the CPU.

    Raises:
        DataError: as `fit_linear_svms` does for an embedding.
    """

    def __init__(self, embedding: ArrayLike, device: str | torch.device | None = None) -> None:
        self.x = checked_embedding(embedding)
        self.device = torch.device(device or "cpu")

    @cached_property
    def spectrum(self) -> Spectrum:
        """Of the second moments of the rows."""
        return spectrum_of(self.rows(Work()))

    def rows(self, work: Work) -> Rows:
        """The rows, whose products are counted in `work`."""
        return Rows(self.x, self.device, work=work)


def prepared(
    embedding: ArrayLike | PreparedEmbedding, device: str | torch.device | None
) -> PreparedEmbedding:
    """The embedding itself where it has been prepared, else prepared for one fit.

    Raises:
        DataError: prepared for another device.
    """
    if not isinstance(embedding, PreparedEmbedding):
        return PreparedEmbedding(embedding, device)
    if device is not None and torch.device(device) != embedding.device:
        raise DataError(
            f"the embedding was prepared for {embedding.device}, not for {device}; prepare it for that device"
        )
    return embedding
