"""What a report says of how its numbers came about: facts that the tables do not hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StudyFacts:
    """What was measured on what; everything but the names may be left out and is then not shown.

    Attributes:
        study: the study's key, as in the tables' file name.
        title: the study's name for people.
        description: one or two sentences on the data set and its tasks.
        n_images: images in the label table.
        n_train: images in train.
        n_test: images in test.
        n_readable: images that could be read, split → number, where some could not; empty otherwise.
        split_rule: how the split came about, in words.
        seeds: purpose → seed.
        resamples: what is drawn again and again → how often.
        recipe: setting → value of the source models' recipe and the probes.
        versions: library → version.
        date: when the report was made, ISO 8601.
        device: what the models were trained on.
        seconds: stage → seconds it took.
        warnings: what the checks of the data found worth a warning, one line each.
        notes: what else a reader should know of the data set, one sentence each.
        links: label → address of further pages, such as the MLflow run; http, https or relative.
    """

    study: str
    title: str
    description: str = ""
    n_images: int | None = None
    n_train: int | None = None
    n_test: int | None = None
    n_readable: Mapping[str, int] = field(default_factory=dict)
    split_rule: str = ""
    seeds: Mapping[str, int] = field(default_factory=dict)
    resamples: Mapping[str, int] = field(default_factory=dict)
    recipe: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    device: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)
