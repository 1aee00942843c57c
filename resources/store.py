"""Files of a study: where they lie, how they are written so that nobody sees half of one, and the manifest beside each.

A manifest is the commit point of an output and the one truth about what is out of date: it names what the output was
made from (identity), what it is (files and their hashes, data version) and what is only recorded. No stage logic here.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock

from resources.errors import StoreError
from resources.names import file_stem
from resources.processes import pid_lives

MANIFEST_FORMAT = 1
WHOLE = "_"  # stands for the partition of an unpartitioned asset


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_hash(value: object) -> str:
    """The SHA-256 of a JSON-like value in canonical form, as hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def temporary_beside(destination: Path) -> Path:
    """A new name beside a file or folder that is about to be written.

    The process id in it lets a later run recognise and sweep what a killed process left.
    """
    return destination.with_name(f".{destination.name[-100:]}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


def sweep(leftovers: Iterable[Path]) -> int:
    """Remove those files and folders of `temporary_beside` whose process no longer lives; return how many."""
    swept = 0
    for path in list(leftovers):
        pid = path.name.rsplit(".", 3)[-3]
        if pid.isdigit() and pid_lives(int(pid)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        swept += 1
    return swept


@contextlib.contextmanager
def atomic_path(destination: Path) -> Iterator[Path]:
    """A temporary path in the destination's folder that takes its place when the block ends well.

    Raises:
        StoreError: where the folder cannot be written or the disk is full; nothing is left behind.
    """
    temporary = temporary_beside(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(destination)
    except Exception as error:
        reason = _refusal(error)
        if reason is None:
            raise
        raise StoreError(
            f"{destination.name}: cannot be written ({reason}); free space or "
            f"mend the permissions of {destination.parent.name}/ and run again"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # there is none any more, or there could never be one
            temporary.unlink()


def _refusal(error: Exception) -> str | None:
    """Why the file system refused, if it did; libraries written in other languages wrap its words in their own."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    reasons = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)]
    return next((reason for reason in reasons if reason in str(error)), None)


def write_bytes(destination: Path, content: bytes) -> None:
    """Write a small file atomically."""
    with atomic_path(destination) as temporary:
        temporary.write_bytes(content)


@dataclass(frozen=True)
class Manifest:
    """What stands beside an output: its identity, its files and its version."""

    study: str
    asset: str
    partition: str
    identity: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]  # path from the study's folder -> {"sha256", "bytes", "modified"}
    data_version: str
    recorded: Mapping[str, Any] = field(default_factory=dict)  # times, device, versions: never compared
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    format: int = MANIFEST_FORMAT

    @property
    def identity_hash(self) -> str:
        """The hash that tells whether the output is still what would be made today."""
        return content_hash(self.identity)

    def to_json(self) -> str:
        """The manifest as it is written, with a hash of itself that shows whether it was edited or cut short."""
        fields = json.dumps({**self.__dict__, "identity_hash": self.identity_hash}, sort_keys=True)
        content = json.loads(fields)
        return json.dumps({**content, "content_hash": content_hash(content)}, indent=1, sort_keys=True)


def read_manifest(path: Path) -> Manifest | None:
    """The manifest in a file; None where it is absent, cut short or edited: then the output is made again."""
    try:
        fields = json.loads(path.read_bytes())
        stored_hash = fields.pop("content_hash")
        sound = stored_hash == content_hash(fields) and fields.pop("format") == MANIFEST_FORMAT
        del fields["identity_hash"]
        manifest = Manifest(**fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return manifest if sound else None


@dataclass(frozen=True)
class Store:
    """The files of all studies below `root`, one folder a study, one folder an asset."""

    root: Path

    def folder(self, study: str, asset: str) -> Path:
        """Where an asset's files lie."""
        return self.root / study / asset

    def path(self, study: str, asset: str, partition: str | None, suffix: str) -> Path:
        """The file of one output, for example `store/<study>/embedding/<task>.safetensors`."""
        return self.folder(study, asset) / f"{file_stem(partition or WHOLE)}{suffix}"

    def table_path(self, study: str, table: str, partition: str | None) -> Path:
        """The Parquet piece of a table that one output contributes; the warehouse is made from these."""
        return self.path(study, f"tables/{table}", partition, ".parquet")

    def manifest_path(self, study: str, asset: str, partition: str | None) -> Path:
        """Where the manifest of an output lies."""
        return self.path(study, asset, partition, ".manifest.json")

    def manifest(self, study: str, asset: str, partition: str | None) -> Manifest | None:
        """The manifest of an output, or None where there is none that this version can read."""
        manifest = read_manifest(self.manifest_path(study, asset, partition))
        if manifest is None:
            return None
        own = (manifest.study, manifest.asset, manifest.partition) == (study, asset, partition or WHOLE)
        return manifest if own else None

    def holds(self, manifest: Manifest) -> bool:
        """Whether every file of a manifest is there as it was committed.

        A file of the right length and time is taken to be the one; where only the time differs (a copied home folder,
        or a process that was killed between replacing a file and writing its manifest) its bytes decide.
        """
        try:
            return all(
                _same_file(self.root / manifest.study / name, facts) for name, facts in manifest.files.items()
            )
        except OSError:
            return False

    def commit(
        self,
        study: str,
        asset: str,
        partition: str | None,
        *,
        identity: Mapping[str, Any],
        paths: list[Path],
        data_version: str | None = None,
        recorded: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Write the manifest of an output whose files are all in place; this is what makes it count.

        Files may also lie elsewhere in the home folder, as report pages do; they are named from the study's folder.
        """
        files = {
            self._name(study, path): {
                "sha256": file_hash(path),
                "bytes": path.stat().st_size,
                "modified": path.stat().st_mtime_ns,
            }
            for path in sorted(paths)
        }
        version = data_version or content_hash({name: facts["sha256"] for name, facts in files.items()})
        manifest = Manifest(
            study, asset, partition or WHOLE, dict(identity), files, version[:32], dict(recorded or {})
        )
        write_bytes(self.manifest_path(study, asset, partition), manifest.to_json().encode())
        return manifest

    def _name(self, study: str, path: Path) -> str:
        """A file's path from the study's folder, so that a home folder can be moved as a whole."""
        return Path(os.path.relpath(path, self.root / study)).as_posix()

    def verified(self, path: Path, study: str, asset: str, partition: str | None) -> Path:
        """The path, once its bytes have been found equal to its manifest's.

        Raises:
            StoreError: if the file is missing or differs.
        """
        manifest = self.manifest(study, asset, partition)
        name = self._name(study, path)
        facts = manifest.files.get(name) if manifest else None
        if facts is None or not path.exists():
            raise StoreError(
                f"{study}/{name}: is missing or was never finished; run `transferability run {study}`"
            )
        if path.stat().st_size != facts["bytes"] or file_hash(path) != facts["sha256"]:
            raise StoreError(
                f"{study}/{name}: does not match its manifest (changed or truncated after it was "
                f"written); delete it and run `transferability run {study}`"
            )
        return path

    def read_table(self, study: str, table: str, partitions: list[str | None]) -> pl.DataFrame:
        """The rows of a table that the given outputs contributed, in that order."""
        paths = [self.table_path(study, table, partition) for partition in partitions]
        try:
            return pl.concat([pl.read_parquet(path) for path in paths], how="vertical_relaxed")
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            lost = next((path for path in paths if not path.exists()), None)
            what = f"a piece is missing ({lost.name})" if lost else "a piece cannot be read"
            raise StoreError(f"{study}/tables/{table}: {what}; run `transferability run {study}`") from error

    def write_table(self, study: str, table: str, partition: str | None, rows: pl.DataFrame) -> Path:
        """Write one output's rows of a table, atomically, and return where."""
        path = self.table_path(study, table, partition)
        with atomic_path(path) as temporary:
            rows.write_parquet(temporary, compression="zstd", statistics=False)
        return path

    def lock(self, study: str, asset: str, partition: str | None) -> FileLock:
        """A lock between processes for one output; the system releases it when its holder dies."""
        path = self.path(study, asset, partition, ".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def sweep(self, study: str) -> int:
        """Remove temporary files of processes that no longer live; return how many."""
        return sweep((self.root / study).rglob(".*.tmp"))


def _same_file(path: Path, facts: Mapping[str, Any]) -> bool:
    stat = path.stat()
    if stat.st_size != facts["bytes"]:
        return False
    return bool(stat.st_mtime_ns == facts["modified"]) or file_hash(path) == facts["sha256"]
