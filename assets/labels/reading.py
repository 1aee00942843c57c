"""Reading a study's labels once, and telling cheaply whether they may have changed since. Nothing is written here."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

from assets.labels.versions import label_versions
from assets.study import Study, misnamed_column
from resources.datasets import Dataset, LabelTable
from resources.datasets.base import UnknownColumnError
from resources.errors import DataError
from resources.store import content_hash


@dataclass(frozen=True)
class Reading:
    """A label table, the version of each of its columns, and the files' state just before it was read."""

    table: LabelTable
    versions: dict[str, str]
    state: str


def files_state(study: Study) -> str:
    """A hash that stays the same while no label file was touched: names, sizes, times, and the reader's options.

    It costs one stat a file. Where a data set ships inside a library, the library's version stands for its files.
    """
    files = []
    for path in study.dataset.label_files():
        try:
            stat = path.stat()
        except OSError:
            files.append((path.name, -1, -1))  # reading it will say what is wrong
        else:
            files.append((path.name, stat.st_size, stat.st_mtime_ns))
    shipped = [] if files else [version("scikit-learn")]
    return content_hash([files, shipped, study.settings.dataset.model_dump(mode="json")])


def read_labels(study: Study) -> Reading:
    """The study's labels as they stand now; a second call in one process costs a stat a file.

    Raises:
        StudyError: if the study's file names a column that the table does not have; with file and line.
        DataError: if they cannot be read, or no longer hold a task of the study.
    """
    try:
        reading = _read(study.name, files_state(study), study.dataset)
    except UnknownColumnError as error:
        raise error if study.file is None else misnamed_column(study.file, error) from None
    if lost := [task for task in study.tasks if task not in reading.versions]:
        raise DataError(
            f"{study.name}: task '{lost[0]}' is no longer in the labels; bring it back, or reload the study without it"
        )
    return reading


@lru_cache(maxsize=4)
def _read(_name: str, state: str, dataset: Dataset) -> Reading:
    # The state is taken before reading: should a file change in between, the next look sees another state.
    table = dataset.read()
    return Reading(table, label_versions(table), state)
