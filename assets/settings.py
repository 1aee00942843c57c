"""The settings a study may make, each a validated model; what a study is, and its names, live in study.py.

Every pure stage takes one of these and nothing else from the study, so that a setting that a stage depends on can be
hashed into that stage's identity.
"""

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

REPRESENTATION_FILES = (".onnx", ".npy", ".safetensors", ".parquet")

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy and torch take


class Settings(BaseModel):
    """Base: immutable, and unknown keys are refused rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class Recipe(Settings):
    """How every source model of a study is trained (Eq. 1-2)."""

    image_size: Annotated[int, Field(ge=8, le=1024, description="Side of the square input, pixels")] = 64
    epochs: Annotated[int, Field(ge=1, description="Passes over the labelled training rows")] = 10
    batch_size: Annotated[int, Field(ge=2, description="Images per step")] = 128
    optimiser: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0, description="Peak learning rate")] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Literal["cosine", "onecycle", "constant"] = "cosine"
    augmentation: Literal["none", "flip", "crop", "flip+crop"] = "none"
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="The paper weighs no class; 'balanced' weighs by inverse frequency"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 autocast where the device has it and it is faster"
    )
    compile: Literal["auto", "yes", "no"] = Field(
        "auto", description="torch.compile; auto: on CUDA, for trainings of 2,000 steps or more"
    )
    seed: Seed = 0


class NetworkSettings(Settings):
    """One source's network: a torchvision classification backbone and a head."""

    backbone: str = Field("resnet18", description="A classification model of torchvision, by name")
    head: Literal["softmax", "cosface"] = "softmax"
    margin: Annotated[float, Field(ge=0, lt=1, description="CosFace margin m (paper: 0.4)")] = 0.4
    scale: Annotated[float, Field(gt=0, description="CosFace scale s (as published: 64)")] = 64.0
    weights: str | None = Field(
        None, description="A .safetensors or weights-only .pth file to start from; None trains from scratch"
    )

    def to_record(self) -> "NetworkSettings":
        """The same with the weights file's name alone, for what is kept: a folder is one machine's matter.

        Files of one name are told apart by their content, which is hashed into what is made from them.
        """
        return self.model_copy(update={"weights": self.weights and PurePath(self.weights).name})


class RepresentationSettings(Settings):
    """A source that is not trained here: a frozen network or features that the user brings."""

    file: str = Field(
        min_length=1,
        description="An .onnx network, or features with one row an image: .npy, .safetensors or .parquet; relative to "
        "the data folder",
    )
    task: str | None = Field(
        None,
        description="The task whose labels it was trained on: H(Y|Z) then applies; None: it is only probed",
    )

    def to_record(self) -> "RepresentationSettings":
        """The same with the file's name alone, as `NetworkSettings.to_record`."""
        return self.model_copy(update={"file": PurePath(self.file).name})

    @field_validator("file")
    @classmethod
    def _readable(cls, file: str) -> str:
        if PurePath(file).suffix not in REPRESENTATION_FILES:
            known = ", ".join(REPRESENTATION_FILES)
            raise ValueError(f"'{file}' is none of {known}; pickled or scripted models are not read")
        return file


class ProbeSettings(Settings):
    """The linear SVMs (Eq. 3)."""

    c: Annotated[float, Field(gt=0, description="LinearSVC's C")] = 1.0
    c_grid: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (),
        description="If given, C is chosen from it on a validation part of train: CelebA's partition 1, else a "
        "random fifth",
    )
    tolerance: Annotated[
        float,
        Field(
            gt=0,
            description="Certified relative distance from the optimum, ½‖∇f‖²/f, at which a probe has converged",
        ),
    ] = 1e-6
    memory_gb: Annotated[
        float,
        Field(
            gt=0,
            description="Bound on the solver's working memory beside the embedding and its standardised copy, GB",
        ),
    ] = 4.0

    def deciding(self) -> dict[str, Any]:
        """The settings that decide what is found; how much memory that may take is not among them."""
        return self.model_dump(mode="json", exclude={"memory_gb"})


class UncertaintySettings(Settings):
    """How the uncertainty of the label statistics is resampled."""

    permutations: Annotated[int, Field(ge=20, le=100_000, description="Shuffles of the source's labels")] = (
        200
    )
    seed: Seed = 0


class SampleEfficiencySettings(Settings):
    """Fig. 5: accuracy against the number of training images, transferred and dedicated."""

    sources: tuple[str, ...] = Field(
        (), description="Sources to transfer from; empty: the first that has an embedding"
    )
    targets: tuple[str, ...] = Field(
        (), description="Targets; empty: the two binary ones that transfer best from the sources"
    )
    sizes: Annotated[int, Field(ge=2, le=20, description="Log-spaced training-set sizes")] = 5
    smallest: Annotated[int, Field(ge=4, description="Images in the smallest training set")] = 20
    seeds: tuple[Seed, ...] = Field((0, 1, 2), min_length=1, description="Repeats")
