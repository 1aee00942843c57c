"""A stage of the chain: what it is made from and what is out of date. No Dagster here, and nothing is made here.

The manifests in the store are the one truth: an output is up to date when its manifest's identity is what would be
made today and its files are there. Dagster's events mirror that; see `materialize.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from assets.study import Study
from resources.home import Home
from resources.store import Manifest, content_hash
from resources.warehouse import Table

if TYPE_CHECKING:
    from assets.materialize import Work


class State(Enum):
    """How an output stands."""

    DONE = "up to date"
    STALE = "stale"
    MISSING = "missing"
    WAITING = "waits for what it is made from"


@dataclass(frozen=True)
class Stage:
    """One asset of every study.

    Args:
        name: the asset's name.
        description: what it holds, naming the paper's equation or figure.
        make: the body for one output.
        partitions: what it is split by; `all` is a single output.
        after: the stages it is made from.
        beside: single-output stages that it takes in if they are there, without waiting for them.
        code: raised when the same inputs would give another result.
        tables: the warehouse tables it owns.
        settings: the part of the study that its result depends on.
        outside: the identity of what it reads from outside the store, by partition (roots only).
        kinds: Dagster's kinds, for icons.
        pool: Dagster's pool, which caps how many run at once.
        command: which `--only` of the command line asks for it.
    """

    name: str
    description: str
    make: Callable[["Work"], None]
    partitions: Literal["all", "tasks", "sources"] = "all"
    after: tuple["Stage", ...] = ()
    beside: tuple["Stage", ...] = ()
    code: str = "1"
    tables: tuple[Table, ...] = ()
    settings: Callable[[Study, str | None], Mapping[str, Any]] = field(default=lambda _study, _partition: {})
    outside: Callable[[Study, Home], Mapping[str | None, Any]] | None = None
    kinds: frozenset[str] = frozenset()
    pool: str | None = None
    command: str = "statistics"

    @property
    def table(self) -> Table | None:
        """The table that stands for the stage in the UI: the one of its name, else its first."""
        return next(
            (table for table in self.tables if table.name == self.name), next(iter(self.tables), None)
        )

    def outputs(self, study: Study) -> tuple[str | None, ...]:
        """The partitions of the stage in a study; (None,) for a single output."""
        return {"all": (None,), "tasks": study.tasks, "sources": study.sources}[self.partitions]

    def code_version(self, study: Study) -> str:
        """Dagster's code version: the code's and that of the settings the stage depends on."""
        every = {str(partition): self.settings(study, partition) for partition in self.outputs(study)}
        return f"{self.code}-{content_hash([every, self._shapes()])[:8]}"

    def _shapes(self) -> dict[str, list[str]]:
        """The columns of the stage's tables: rows of another shape, by an older version, are made again."""
        return {table.name: table.shape for table in self.tables}

    def shaped(self, manifest: Manifest) -> bool:
        """Whether an output's rows have the columns that the stage's tables have now."""
        return manifest.identity.get("tables") == self._shapes()

    def inputs(self, study: Study, home: Home, partition: str | None) -> dict[str, Any] | None:
        """Versions of what an output is made from; None while some of it is not there."""
        versions: dict[str, Any] = {}
        for parent in self.after:
            wanted = self.needed(study, parent, partition)
            found = {p or "": home.store.manifest(study.name, parent.name, p) for p in wanted}
            if any(manifest is None for manifest in found.values()):
                return None
            versions[parent.name] = {p: manifest.data_version for p, manifest in found.items() if manifest}
        for stage in self.beside:
            if manifest := home.store.manifest(study.name, stage.name, None):
                versions[stage.name] = {"": manifest.data_version}
        return versions

    def needed(self, study: Study, parent: "Stage", partition: str | None) -> tuple[str | None, ...]:
        """Which outputs of a parent an output is made from: its own partition's, or all."""
        if partition is None or parent.partitions == "all":
            return parent.outputs(study)
        if parent.partitions == self.partitions:
            return (partition,)
        task = study.source_task(partition)  # a source's labels; a representation may have none
        return () if task is None else (task,)

    def identity(
        self, study: Study, home: Home, partition: str | None, outside: Mapping[str | None, Any] | None = None
    ) -> dict[str, Any] | None:
        """All that an output's content follows from; None while its inputs are not there.

        Args:
            study: the study.
            home: the home folder.
            partition: which output.
            outside: what `self.outside` gave, where the caller has it already.
        """
        inputs = self.inputs(study, home, partition)
        if inputs is None:
            return None
        if self.outside is not None:
            found = outside if outside is not None else self.outside(study, home)
            inputs["outside"] = found[partition]
        return {
            "study": study.name,
            "asset": self.name,
            "partition": partition or "",
            "code": self.code,
            "tables": self._shapes(),
            "settings": dict(self.settings(study, partition)),
            "inputs": inputs,
        }

    def states(
        self, study: Study, home: Home, outside: Mapping[str | None, Any] | None = None
    ) -> dict[str | None, State]:
        """How every output of the stage stands.

        Args:
            study: the study.
            home: the home folder.
            outside: what `self.outside` would give, where the caller has it already.
        """
        if self.outside and outside is None:
            outside = self.outside(study, home)
        return {p: self._state(study, home, p, outside) for p in self.outputs(study)}

    def _state(
        self, study: Study, home: Home, partition: str | None, outside: Mapping[str | None, Any] | None
    ) -> State:
        manifest = home.store.manifest(study.name, self.name, partition)
        identity = self.identity(study, home, partition, outside)
        if identity is None:
            return State.WAITING
        if manifest is None or not home.store.holds(manifest):
            return State.MISSING
        return State.DONE if manifest.identity_hash == content_hash(identity) else State.STALE

    def publish(self, study: Study, home: Home) -> list[str]:
        """Bring the stage's tables in the warehouse in line with its finished outputs; return those that changed."""
        store = home.store
        finished = [
            p
            for p in self.outputs(study)
            if (manifest := store.manifest(study.name, self.name, p)) is not None
            and self.shaped(manifest)
            and store.holds(manifest)
        ]
        pieces = {
            table.name: [
                path for p in finished if (path := store.table_path(study.name, table.name, p)).exists()
            ]
            for table in self.tables
        }
        ready = [(table, pieces[table.name]) for table in self.tables if pieces[table.name]]
        return home.warehouse.publish(study.name, ready)
