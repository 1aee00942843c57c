"""A study: one data set with its tasks, its recipe and its results; here is its validated form.

Where study files lie and how they are found is the business of `pipelines.studies`; what is made of a study, of
`chain.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import yaml
from dagster import DagsterError, ScheduleDefinition
from pydantic import Field, ValidationError, field_validator

from assets.places import line_of, place_of
from assets.settings import (
    NetworkSettings,
    ProbeSettings,
    Recipe,
    RepresentationSettings,
    SampleEfficiencySettings,
    Settings,
    UncertaintySettings,
)
from resources.datasets import Dataset, open_dataset
from resources.datasets.base import RESERVED, UnknownColumnError
from resources.datasets.options import no_repeats
from resources.errors import DataError, FieldError, StudyError
from resources.validation import Place, first_mistake

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,63}$"


class DatasetSettings(Settings):
    """Which reader, and what it is told."""

    reader: str = Field(description="digits, celeba, awa2, cub or table")
    options: dict[str, Any] = Field(default_factory=dict, description="The reader's own options")


class StudyFile(Settings):
    """A study as it is written in YAML; every key but `dataset` may be left out."""

    title: str = Field("", description="A few words for headings; the file's name if empty")
    description: str = Field("", description="A sentence or two for pages")
    dataset: DatasetSettings
    sources: tuple[str, ...] | None = Field(None, description="Tasks to transfer from; all if left out")
    targets: tuple[str, ...] | None = Field(
        None, description="Tasks to transfer to; all that are no mere sources if left out"
    )
    recipe: Recipe = Recipe()
    network: NetworkSettings = NetworkSettings()
    networks: dict[str, NetworkSettings] = Field(
        default_factory=dict, description="Sources whose network differs, by task"
    )
    representations: dict[str, RepresentationSettings] = Field(
        default_factory=dict, description="Further sources that are brought along and not trained, by name"
    )
    probe: ProbeSettings = ProbeSettings()
    uncertainty: UncertaintySettings = UncertaintySettings()
    sample_efficiency: SampleEfficiencySettings = SampleEfficiencySettings()
    tolerate_unreadable_images: Annotated[int, Field(ge=0)] = 0
    owner: str = Field("team:transferability", description="Dagster owner: team:NAME or an e-mail address")
    nightly: str = Field("0 3 * * *", description="When whatever is stale or missing is reconciled, as cron")

    @field_validator("owner")
    @classmethod
    def _owner_of_dagster(cls, owner: str) -> str:
        if not re.fullmatch(r"team:[\w.-]+|[^@\s]+@[^@\s]+\.[^@\s]+", owner):
            raise ValueError(f"'{owner}' is neither team:NAME nor an e-mail address")
        return owner

    @field_validator("nightly")
    @classmethod
    def _cron_of_dagster(cls, nightly: str) -> str:
        try:
            ScheduleDefinition(name="nightly", job_name="nightly", cron_schedule=nightly)
        except DagsterError:
            raise ValueError(f"'{nightly}' is no cron schedule, for example 0 3 * * *") from None
        return nightly

    @field_validator("sources", "targets")
    @classmethod
    def _no_repeats(cls, tasks: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return no_repeats(tasks)


@dataclass(frozen=True)
class Study:
    """A study, opened: its settings, its data set (not yet read), and its tasks, which are known without data.

    Args:
        name: `[a-z][a-z0-9_]*`; the group of its assets and the stem of its files.
        settings: the YAML file's content.
        dataset: the reader, opened on the data folder.
        data_root: the data folder, to which the files of representations are relative.
        file: the file it was read from, if any, for messages.
    """

    name: str
    settings: StudyFile
    dataset: Dataset
    data_root: Path = Path()
    file: Path | None = field(default=None, compare=False)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """All tasks, in the data set's order."""
        return self.dataset.task_names()

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """What is transferred from: tasks in the data set's order, then the representations that are brought along."""
        return (*self.trained_sources, *self.settings.representations)

    @cached_property
    def trained_sources(self) -> tuple[str, ...]:
        """The sources that are tasks: each has a network of its own."""
        wanted = self.settings.sources
        return self.tasks if wanted is None else tuple(task for task in self.tasks if task in set(wanted))

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """The tasks that are transferred to, in the data set's order."""
        wanted = self.settings.targets
        if wanted is not None:
            return tuple(task for task in self.tasks if task in set(wanted))
        only_source = set(self.dataset.source_only_tasks())
        return tuple(task for task in self.tasks if task not in only_source)

    @property
    def title(self) -> str:
        """The heading of its pages."""
        return self.settings.title or self.name

    def source_task(self, source: str) -> str | None:
        """The task whose labels a source carries: itself, or what a representation says; None: it has none."""
        brought = self.settings.representations.get(source)
        return source if brought is None else brought.task

    def representation_file(self, source: str) -> Path | None:
        """The file of a representation; None for a source that is trained."""
        brought = self.settings.representations.get(source)
        return None if brought is None else self.data_root / Path(brought.file).expanduser()

    def network(self, task: str) -> NetworkSettings:
        """The network of one source."""
        return self.settings.networks.get(task, self.settings.network)

    def pairs(self) -> list[tuple[str, str]]:
        """(source, target), source ≠ target, in order."""
        return [(s, t) for s in self.sources for t in self.targets if s != t]


def open_study(name: str, content: Mapping[str, Any], data_root: Path, file: Path | None = None) -> Study:
    """A study from the content of its file.

    Raises:
        StudyError: if a field is wrong; the message names the field and, for an unknown key, the allowed ones.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise StudyError(
            f"study name '{name}': must match [a-z][a-z0-9_]* and be at most 64 long (it names files and assets)"
        )
    settings = _validated(content)
    dataset = _opened(settings.dataset, data_root)
    study = Study(name, settings, dataset, data_root, file)
    _check_tasks(study)
    _check_representations(study)
    return study


def load_study(path: Path, data_root: Path) -> Study:
    """A study from its YAML file, whose stem is its name.

    Raises:
        StudyError: naming the file, the line and the field.
    """
    text, content = _read_yaml(path)
    if not isinstance(content, dict):
        raise StudyError(f"{path.name}: must be a mapping with at least the key `dataset`")
    try:
        return open_study(path.stem, content, data_root, path)
    except FieldError as error:
        raise StudyError(f"{path.name}, line {line_of(text, error.field)}: {error}") from None
    except UnknownColumnError as error:
        raise misnamed_column(path, error) from None
    except (StudyError, DataError) as error:
        raise StudyError(f"{path.name}: {error}") from None


def misnamed_column(file: Path, error: UnknownColumnError) -> StudyError:
    """The error with the place in the study's file where the column is named; the same where it is not."""
    text, _ = _read_yaml(file)
    place = place_of(text, error.column, ("dataset", "options"))
    if place is None:
        return StudyError(f"{file.name}: {error}")
    return StudyError(f"{file.name}, line {line_of(text, place)}: {FieldError(place, str(error))}")


def _read_yaml(path: Path) -> tuple[str, Any]:
    """The text of a YAML file and what it says, with nothing but plain values in it."""
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_repeated_keys(yaml.compose(text, Loader=yaml.SafeLoader), path)
        return text, yaml.safe_load(text)
    except OSError as error:
        raise StudyError(f"{path.name}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path.name}: is not UTF-8 text (byte {error.start})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Beside YAML's own: a date or number that Python refuses, and brackets nested without end.
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise StudyError(f"{path.name}{line}: is not YAML ({problem})") from None


def _refuse_repeated_keys(root: yaml.Node | None, path: Path) -> None:
    """YAML's own loader keeps the last of two equal keys and drops the first without a word."""
    nodes, seen = [root], set[int]()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                nodes += [key, value]
                if isinstance(key, yaml.ScalarNode) and key.value in keys:
                    raise StudyError(
                        f"{path.name}, line {key.start_mark.line + 1}: key '{key.value}' is there twice; keep one"
                    )
                keys.add(str(key.value))


def _validated(content: Mapping[str, Any]) -> StudyFile:
    try:
        return StudyFile.model_validate(dict(content))
    except ValidationError as error:
        raise FieldError(*first_mistake(error, StudyFile)) from None


def _opened(settings: DatasetSettings, data_root: Path) -> Dataset:
    try:
        return open_dataset(settings.reader, data_root, settings.options)
    except FieldError as error:
        raise FieldError(("dataset", *error.field), error.problem) from None


def _check_tasks(study: Study) -> None:
    known, settings = set(study.tasks), study.settings
    curve, sources = settings.sample_efficiency, set(study.sources)
    named: list[tuple[Place, str]] = [
        *((("sources", i), name) for i, name in enumerate(settings.sources or ())),
        *((("targets", i), name) for i, name in enumerate(settings.targets or ())),
        *((("networks", name), name) for name in settings.networks),
        *(
            (("sample_efficiency", "sources", i), name)
            for i, name in enumerate(curve.sources)
            if name not in sources
        ),
        *((("sample_efficiency", "targets", i), name) for i, name in enumerate(curve.targets)),
    ]
    for place, name in named:
        if name not in known:
            shown = ", ".join(study.tasks[:8]) + (", …" if len(study.tasks) > 8 else "")
            raise FieldError(place, f"no task '{name}'; the tasks are {shown}")
    if not study.sources or not study.pairs():
        raise FieldError(("sources",), "no pair of a source and another task as its target is left")


def _check_representations(study: Study) -> None:
    for name, brought in study.settings.representations.items():
        place = ("representations", name)
        if name in study.tasks:
            raise FieldError(
                place,
                "is the name of a task, whose source is trained here; name the representation otherwise "
                f"and say `task: {name}`",
            )
        if not name.strip() or name.casefold() in RESERVED:
            raise FieldError(place, "is no name for a source; choose another")
        if brought.task is not None and brought.task not in study.tasks:
            raise FieldError(
                (*place, "task"), f"no task '{brought.task}'; name one of the study, or leave it out"
            )
