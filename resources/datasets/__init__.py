"""Readers of data sets: digits, celeba, awa2, cub, and any table of labels. No Dagster, no pixels decoded."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from resources.datasets import options as _options
from resources.datasets.base import Dataset, LabelTable, TaskInfo, UnknownTaskError
from resources.errors import FieldError
from resources.validation import first_mistake

__all__ = ["READERS", "Dataset", "LabelTable", "TaskInfo", "open_dataset", "reader_options"]

_READERS: dict[str, tuple[type[_options.ReaderOptions], str]] = {
    "digits": (_options.DigitsOptions, "Digits"),
    "celeba": (_options.CelebaOptions, "CelebA"),
    "awa2": (_options.Awa2Options, "AwA2"),
    "cub": (_options.CubOptions, "Cub"),
    "table": (_options.TableOptions, "Table"),
}

READERS = tuple(_READERS)


def reader_options(reader: str) -> type[_options.ReaderOptions]:
    """The model of a reader's options, for validating them beside other settings.

    Raises:
        FieldError: If there is no such reader.
    """
    if reader not in _READERS:
        raise FieldError(("reader",), f"no reader '{reader}'; the readers are {', '.join(READERS)}")
    return _READERS[reader][0]


def open_dataset(reader: str, data_root: Path, options: Mapping[str, Any]) -> Dataset:
    """Open a data set without reading it; paths in the options are relative to ``data_root``.

    Raises:
        FieldError: If there is no such reader, an option is wrong, or a task that the options name does not exist;
            the field is ``reader``, or begins with ``options``.
    """
    model = reader_options(reader)
    try:
        valid = model.model_validate(dict(options))
    except ValidationError as error:
        place, problem = first_mistake(error, model)
        raise FieldError(("options", *place), problem) from None
    keywords = {name: getattr(valid, name) for name in model.model_fields}
    for name in ("folder", "table", "image_folder"):
        if keywords.get(name) is not None:
            keywords[name] = data_root / Path(keywords[name]).expanduser()
    # Imported only when used: the code location opens studies of other readers without paying for this one.
    module = import_module(f"resources.datasets.{reader}")
    try:
        dataset: Dataset = getattr(module, _READERS[reader][1])(**keywords)
    except UnknownTaskError as error:
        raise FieldError(("options", "tasks", (valid.tasks or ()).index(error.task)), str(error)) from None
    return dataset
