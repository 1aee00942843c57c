"""Files of the user behind sources, and what `source_model` and `embedding` hold where one is brought along whole.

How a file becomes an embedding is external.py's matter.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assets.labels.assets import pixels_of
from assets.labels.reading import read_labels
from assets.materialize import Work
from assets.models import tables
from assets.study import Study
from resources.errors import DataError, StoreError
from resources.home import Home
from resources.store import content_hash, file_hash

NO_HEAD = "a representation that was brought along: it has no head, so no likelihood and no error of its own"


def outside_versions(study: Study, home: Home) -> Mapping[str | None, Any]:
    """The content hash of the file that each source is, or starts from; None for those trained from scratch.

    A file is read again only where its size or time differ from those when it was read last; one that is missing
    stands as such, so that its source fails and no other.
    """
    return {source: _version(study, home, source) for source in study.sources}


def outside_file(study: Study, source: str) -> Path | None:
    """The user's file behind a source: a representation, or weights to start from."""
    weights = study.network(source).weights
    return study.representation_file(source) or (Path(weights) if weights else None)


def _version(study: Study, home: Home, source: str) -> str | None:
    path = outside_file(study, source)
    if path is None:
        return None
    manifest = home.store.manifest(study.name, "source_model", source)
    known = manifest.recorded.get("file") if manifest is not None else None
    if known and known["state"] == file_state(path):
        return str(known["version"])
    return content_version(path) if path.is_file() else "missing"


def record_file(work: Work) -> str | None:
    """Keep in the manifest what the user's file was, so that it need not be read again to tell that it is the same.

    Returns:
        The data version of the file's content; None where no file stands behind the source.
    """
    path = outside_file(work.study, work.task)
    if path is None:
        return None
    state = file_state(path)  # taken before reading: a change in between shows as another state
    version = content_version(path)
    work.record(file={"state": state, "version": version})
    work.tracked.params({"file_sha256": version})
    return version


def file_state(path: Path) -> str | None:
    """A hash of a file's place, size and time; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return content_hash([str(path), stat.st_size, stat.st_mtime_ns])


def content_version(path: Path) -> str:
    """The data version of a file's content.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return file_hash(path)[:32]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); mend its path") from error


def make_brought_source(work: Work) -> None:
    """The row of a source without a network; its data version is its file's content."""
    work.version = record_file(work)
    row = {"task": work.task, "undefined_because": NO_HEAD}
    work.write(tables.SOURCE_MODELS, tables.SOURCE_MODELS.frame([row]))
    work.tell(note=NO_HEAD)


def make_brought_embedding(work: Work, file: Path) -> None:
    """The embedding that the file holds, or that its network gives of the study's images."""
    from assets.models.embedding import load_embedding
    from assets.models.external import import_representation

    source = work.home.store.manifest(work.study.name, "source_model", work.task)
    if source is None or content_version(file) != source.data_version:
        raise StoreError(f"{file}: changed while it was being read; run again")
    cache = pixels_of(work.study, work.home)
    n = len(read_labels(work.study).table.frame)
    with work.file(".safetensors") as path:
        import_representation(file, path, n_images=n, pixels=None if cache is None else cache.pixels)
        work.version = file_hash(path)
        images, width = load_embedding(path).shape
    work.tell(images=images, width=width)
