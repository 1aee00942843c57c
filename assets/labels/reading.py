"""Reading a study's labels once, and telling cheaply whether they may have changed since. Nothing is written here."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

from assets.labels.versions import label_versions
from assets.study import Study
from resources.datasets import Dataset, LabelTable
from resources.store import content_hash


@dataclass(frozen=True)
class Reading:
    """A label table and the version of each of its columns."""

    table: LabelTable
    versions: dict[str, str]


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
    """The study's labels as they stand now; a second call in one process costs a stat a file."""
    return _read(study.name, files_state(study), study.dataset)


@lru_cache(maxsize=4)
def _read(_name: str, _state: str, dataset: Dataset) -> Reading:
    table = dataset.read()
    return Reading(table, label_versions(table))
