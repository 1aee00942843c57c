"""Finding the study files: those that ship here, and the user's own. What a study is, is said in `assets.study`."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assets.study import Study, load_study
from resources.errors import StudyError, TransferabilityError
from resources.home import default_data, default_home

SHIPPED = Path(__file__).parent


@dataclass(frozen=True)
class Studies:
    """All studies that could be opened, by name, and what was wrong with the others."""

    opened: dict[str, Study]
    broken: dict[str, str]

    def get(self, name: str) -> Study:
        """The study of that name.

        Raises:
            StudyError: if there is none, or its file has a mistake; the message says which.
        """
        if name in self.broken:
            raise StudyError(self.broken[name])
        if name not in self.opened:
            raise StudyError(f"no study '{name}'; the studies are {', '.join(self.opened)}")
        return self.opened[name]


def study_folders(home: Path) -> list[Path]:
    """Where study files are looked for: shipped ones, the home's, and those of `TRANSFERABILITY_STUDIES`."""
    extra = os.environ.get("TRANSFERABILITY_STUDIES", "")
    return [SHIPPED, home / "studies", *(Path(part) for part in extra.split(os.pathsep) if part)]


def find_studies(home: Path | None = None, data: Path | None = None) -> Studies:
    """Open every study file; one broken file does not take the others down.

    A user's study may not take the name of another: that would be two truths about one store.
    """
    home = home or default_home()
    data = data or default_data(home)
    opened: dict[str, Study] = {}
    broken: dict[str, str] = {}
    for path in _files(home):
        name = path.stem
        try:
            if name in opened:
                raise StudyError(f"{path.name}: a study '{name}' exists already; rename the file")
            opened[name] = load_study(path, data)
        except TransferabilityError as error:
            broken[name if name not in opened else f"{name} ({path.parent.name})"] = str(error)
    return Studies(opened, broken)


def _files(home: Path) -> Iterator[Path]:
    for folder in study_folders(home):
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"})
