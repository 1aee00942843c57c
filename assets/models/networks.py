"""The source network: a torchvision backbone, its embedding, a softmax or CosFace head; no training here."""

import math
from typing import Any, cast

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from assets.models.convolution import use_one_pixel_convolutions
from assets.settings import NetworkSettings
from resources.errors import StudyError, first_line

# The mean and the spread of ImageNet's pixels (0..255), which published weights expect; they suit any
# photograph.
CHANNEL_MEAN = (123.675, 116.28, 103.53)
CHANNEL_SPREAD = (58.395, 57.12, 57.375)


class SoftmaxHead(nn.Linear):
    """The usual last layer, W r + b; with the cross entropy it gives Eq. 1-2."""

    def forward(self, input: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, K) of embeddings (B, D); the labels (B,) are not looked at."""
        return super().forward(input)


class CosFaceHead(nn.Module):
    """The large-margin cosine head, CosFace: s (cos θ − m [label]) in training, s cos θ in evaluation.

    Args:
        width: D, size of the embedding.
        n_classes: K.
        scale: s.
        margin: m; 0.4 in the paper.
    """

    def __init__(self, width: int, n_classes: int, *, scale: float, margin: float) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin
        self.weight = nn.Parameter(torch.empty(n_classes, width))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, embedding: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, K) of embeddings (B, D); the margin is taken in training, given labels (B,)."""
        with torch.autocast(
            embedding.device.type, enabled=False
        ):  # a cosine needs more than bfloat16's 3 digits
            cosine = functional.linear(
                functional.normalize(embedding.float()), functional.normalize(self.weight)
            )
        if self.training and labels is not None:
            cosine = cosine - self.margin * functional.one_hot(labels, cosine.shape[1]).to(cosine)
        return self.scale * cosine


class SourceNetwork(nn.Module):
    """Backbone and head of one source task.

    The embedding is the backbone's penultimate activation: 512 wide for ResNet-18, 2,048 for ResNet-101 (the
    paper writes 2,048 for both).

    Attributes:
        settings: The network's settings.
        image_size: Side of the input, pixels.
        embedding_width: D.
        n_classes: K.
        classes: (K,) int64, the label code of each logit.
    """

    classes: Tensor

    def __init__(
        self, backbone: nn.Module, head: nn.Module, *, settings: NetworkSettings, image_size: int
    ) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.settings, self.image_size = settings, image_size
        n_classes, self.embedding_width = cast("Tensor", head.weight).shape
        self.n_classes = int(n_classes)
        self.register_buffer("classes", torch.arange(self.n_classes))

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (B, D) of normalised images (B, 3, H, W)."""
        return cast("Tensor", self.backbone(images).flatten(1))

    def logits(self, embedding: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, K) of embeddings (B, D); `labels` (B,), class indices, are for a margin in training."""
        return cast("Tensor", self.head(embedding, labels))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, K) of normalised images (B, 3, H, W)."""
        return self.logits(self.embed(images), labels)


def normalise(pixels: Tensor) -> Tensor:
    """Network input of a batch of pixels, on the device where they are.

    Args:
        pixels: (B, H, W, 3) uint8.

    Returns:
        (B, 3, H, W) float32 in channels-last memory, zero mean and unit spread for photographs.
    """
    images = pixels.permute(0, 3, 1, 2).float()
    mean = torch.tensor(CHANNEL_MEAN, device=pixels.device).view(1, 3, 1, 1)
    spread = torch.tensor(CHANNEL_SPREAD, device=pixels.device).view(1, 3, 1, 1)
    return images.sub_(mean).div_(spread)


class _WithoutMemory(TorchFunctionMode):
    """Builds a network whose weights take no memory.

    `torch.device("meta")` would also take the sums that RegNet does on its widths while it is built.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        place = {"device": "meta"} if func is torch.empty else {}
        return func(*args, **{**(kwargs or {}), **place})


def embedding_width(backbone: str, *, image_size: int = 224) -> int:
    """Size D of the embedding of a torchvision backbone, found without allocating its weights.

    Raises:
        StudyError: torchvision has no such classification model, or it cannot take this image size.
    """
    with _WithoutMemory():
        model, width = _backbone(backbone, image_size)
    _check_input(model, backbone, width, image_size)
    return width


def build_network(
    network: NetworkSettings, n_classes: int, *, seed: int, image_size: int = 224
) -> SourceNetwork:
    """Build a source network with seeded initial weights, on the CPU.

    Args:
        network: Backbone, head, margin and scale. `network.weights` is read by `weights.start_from`, not
            here.
        n_classes: K, at least 2.
        seed: Of the initial weights; the global random state is left as it was.
        image_size: Side of the input, pixels (transformers are built for one size).

    Raises:
        StudyError: torchvision has no such classification model, or it cannot take this image size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone, width = _backbone(network.backbone, image_size)
        head: nn.Module = SoftmaxHead(width, n_classes)
        if network.head == "cosface":
            head = CosFaceHead(width, n_classes, scale=network.scale, margin=network.margin)
    _check_input(backbone, network.backbone, width, image_size)
    use_one_pixel_convolutions(backbone)
    return SourceNetwork(backbone, head, settings=network, image_size=image_size).to(
        memory_format=torch.channels_last
    )


def _backbone(name: str, image_size: int) -> tuple[nn.Module, int]:
    """A torchvision model whose classifier is an identity, and the width of what it then returns."""
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise StudyError(
            f"backbone '{name}' is not a classification model of torchvision (for example resnet18)"
        )
    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options = {"image_size": image_size}
    if name.startswith("maxvit_"):
        options = {"input_size": (image_size, image_size)}
    if name in {"googlenet", "inception_v3"}:
        options = {"aux_logits": False, "init_weights": True}
    try:
        model = cast("nn.Module", torchvision.models.get_model(name, weights=None, **options))
    except (ValueError, RuntimeError, AssertionError) as error:
        raise _refused(name, image_size, error) from error
    return model, _remove_classifier(model, name)


def _check_input(model: nn.Module, name: str, width: int, image_size: int) -> None:
    """Pass the shape of a batch through a backbone, without numbers: many pool small images down to nothing.

    Raises:
        StudyError: It cannot take this image size, or does not give one embedding of `width` numbers an image.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {key: tensor.detach().to("meta") for key, tensor in tensors.items()}
    images = torch.empty(2, 3, image_size, image_size, device="meta")
    was_training = model.training
    model.eval()
    try:
        embedding = torch.func.functional_call(model, shapes, (images,)).flatten(1)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise _refused(name, image_size, error) from error
    finally:
        model.train(was_training)
    if embedding.shape != (2, width):
        raise StudyError(
            f"backbone '{name}' gives {embedding.shape[1]} numbers an image of {image_size} pixels where its last "
            f"layer took {width}: choose another"
        )


def _refused(name: str, image_size: int, error: Exception) -> StudyError:
    what = f"backbone '{name}' cannot take images of {image_size} pixels ({first_line(error)})"
    return StudyError(f"{what}; choose a larger or another recipe.image_size, or another backbone")


def _remove_classifier(model: nn.Module, name: str) -> int:
    """Put an identity in the place of the last layer of 1,000 outputs; return the number of its inputs."""
    for path, layer in reversed(list(model.named_modules())):
        if isinstance(layer, nn.Linear) and layer.out_features == 1000:
            model.set_submodule(path, nn.Identity())
            return layer.in_features
        if (
            isinstance(layer, nn.Conv2d) and layer.out_channels == 1000
        ):  # SqueezeNet: a 1 x 1 convolution, then the mean
            model.set_submodule(path, nn.Identity())
            return layer.in_channels
    raise StudyError(f"backbone '{name}' has no last layer to replace: choose another")


def parameter_count(model: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(math.prod(parameter.shape) for parameter in model.parameters())
