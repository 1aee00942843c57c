"""The Dagster side that all stages share: one asset a stage, one commit and one MLflow run an output.

A stage's body gets a `Work` for each output that is out of date; everything about events, provenance, locks, tracking
and publication happens here. What a stage computes does not.
"""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import dagster as dg
import polars as pl
from pydantic import Field

from assets.provenance import EVENTS_ARE_LOGGED, Parents, git_commit, parents_now
from assets.stage import Stage
from assets.study import Study
from resources.errors import StoreError, TransferabilityError
from resources.home import Home
from resources.names import partition_key, task_of
from resources.store import Manifest, atomic_path, content_hash
from resources.tracking import TrackedRun
from resources.warehouse import Table

Listener = Callable[[str, str | None, str, float], None]
"""Called with stage, partition, `started`, `done` or `failed`, and seconds."""

progress: ContextVar[Listener | None] = ContextVar("progress", default=None)
"""Who wants to hear of every output as it is made; the command line's progress bars do."""


MODEL_FOLDER = "model"
"""Where in a source model's MLflow run its weights and manifest are kept."""

RETRY = dg.RetryPolicy(max_retries=1, delay=5)
"""How often an asset is tried again after what is nobody's mistake: a full memory, a file that was busy."""

INTERRUPTED = "interrupted; what was finished is kept, and the next run goes on from there"


class StageConfig(dg.Config):
    """Settings of one materialization, in the launchpad."""

    force: bool = Field(
        default=False, description="Make the output again even where nothing that it is made from has changed"
    )


@dataclass
class Work:
    """One output in the making: what it reads, writes and tells.

    Args:
        stage: the stage.
        study: the study.
        partition: the task, or None for a single output.
        home: the home folder.
        log: Dagster's logger of the step.
        tracked: the MLflow run.
        identity: what the output is being made from.
        previous: the manifest of the output as it stood before, if any.
    """

    stage: Stage
    study: Study
    partition: str | None
    home: Home
    log: Any
    tracked: TrackedRun
    identity: Mapping[str, Any]
    previous: Manifest | None = None
    force: bool = False
    version: str | None = None
    _paths: list[Path] = field(default_factory=list)
    _kept: list[Path] = field(default_factory=list)
    _metadata: dict[str, Any] = field(default_factory=dict)
    _recorded: dict[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """The task of a partitioned stage."""
        if self.partition is None:
            raise StoreError(f"{self.study.name}/{self.stage.name}: is one output a task; choose a partition")
        return self.partition

    def read(self, table: str, partitions: list[str | None] | None = None) -> pl.DataFrame:
        """The rows of a table that another stage owns."""
        return self.home.store.read_table(self.study.name, table, partitions or [None])

    def path(self, stage: str, suffix: str, partition: str | None = None) -> Path:
        """A file of another stage, without looking at it."""
        return self.home.store.path(self.study.name, stage, partition, suffix)

    def write(self, table: Table, rows: pl.DataFrame) -> None:
        """Write this output's rows of a table that the stage owns; a zero has no sign there.

        Raises:
            StoreError: if the rows lack a column or hold NaN: an undefined number is NULL with a reason.
        """
        missing = [column.name for column in table.columns if column.name not in rows.columns]
        if missing:
            raise StoreError(f"{table.name}: the rows lack column '{missing[0]}'")
        floats = [name for name, dtype in rows.schema.items() if dtype.is_float()]
        if bad := [name for name in floats if rows[name].is_nan().any()]:
            raise StoreError(f"{table.name}: column '{bad[0]}' holds NaN")
        unsigned = (
            pl.when(pl.col(name) == 0).then(0.0).otherwise(pl.col(name)).alias(name) for name in floats
        )
        rows = rows.with_columns(unsigned)
        self._paths.append(self.home.store.write_table(self.study.name, table.name, self.partition, rows))
        self.tell(**{f"{table.name}_rows": len(rows)})

    @contextlib.contextmanager
    def file(self, suffix: str) -> Iterator[Path]:
        """A temporary path that becomes this output's file with the given suffix when the block ends well."""
        path = self.home.store.path(self.study.name, self.stage.name, self.partition, suffix)
        with atomic_path(path) as temporary:
            yield temporary
        self._paths.append(path)

    def adopt(self, path: Path) -> None:
        """Count a file that the stage's code wrote atomically by itself among this output's files."""
        self._paths.append(path)

    def keep_in_mlflow(self, path: Path) -> None:
        """Keep one of this output's files, with its manifest, as artifacts of its MLflow run, folder `model`."""
        self._kept.append(path)

    def tell(self, **facts: Any) -> None:
        """Facts for the asset's metadata; numbers also become MLflow metrics."""
        self._metadata.update(facts)
        numbers = {k: v for k, v in facts.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        self.tracked.metrics(numbers)

    def record(self, **facts: Any) -> None:
        """Facts that are kept in the manifest but never compared: times, device, library versions."""
        self._recorded.update(facts)

    def note(self, key: str) -> Any:
        """What `record` kept in the previous manifest of this output."""
        return self.previous.recorded.get(key) if self.previous else None


def stage_asset(stage: Stage, study: Study) -> dg.AssetsDefinition:
    """The Dagster asset of a stage in a study."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.BetaWarning)  # of backfill policies, which work
        return _stage_asset(stage, study)


def _stage_asset(stage: Stage, study: Study) -> dg.AssetsDefinition:
    @dg.asset(
        key=[study.name, stage.name],
        deps=[_dependency(stage, parent, study) for parent in stage.after],
        partitions_def=partitions_of(stage, study),
        group_name=study.name,
        description=stage.description,
        kinds=set(stage.kinds),
        owners=[study.settings.owner],
        code_version=stage.code_version(study),
        metadata=_definition_metadata(stage),
        pool=stage.pool,
        output_required=False,
        dagster_type=cast("dg.DagsterType", dg.Nothing),
        backfill_policy=dg.BackfillPolicy.single_run() if stage.partitions != "all" else None,
        retry_policy=RETRY,
        tags={"transferability/study": study.name, "transferability/stage": stage.command},
    )
    def body(context: dg.AssetExecutionContext, config: StageConfig, home: Home) -> Iterator[dg.Output[None]]:
        with no_retry_when_interrupted():
            materialize(stage, study, context, home, force=config.force)
        # Every output has been committed as it ended. What is left is to let later stages of the same run begin,
        # without a second event, which Dagster would give one data version for all partitions of the run.
        yield dg.Output(None, metadata={EVENTS_ARE_LOGGED: True})

    return body


@contextlib.contextmanager
def no_retry_when_interrupted() -> Iterator[None]:
    """As it is, Dagster would take an interruption for a failed step and try it again."""
    try:
        yield
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt) as error:
        raise dg.Failure(INTERRUPTED, allow_retries=False) from error


def partitions_of(stage: Stage, study: Study) -> dg.StaticPartitionsDefinition | None:
    """A stage's partitions in a study, as Dagster's keys."""
    if stage.partitions == "all":
        return None
    return dg.StaticPartitionsDefinition([partition_key(task) for task in stage.outputs(study) if task])


def materialize(
    stage: Stage, study: Study, context: dg.AssetExecutionContext, home: Home, *, force: bool = False
) -> None:
    """Make the outputs that a run asks for, as far as they are out of date, each committed as it ends.

    Raises:
        dagster.Failure: naming the outputs that failed, after all others have been made.
    """
    parents = parents_now(context.instance, [[study.name, parent.name] for parent in stage.after])
    wanted, outside = _prepared(stage, study, context, home)
    mistakes: dict[str, str] = {}
    unexpected: dict[str, str] = {}
    try:
        for partition in wanted:
            try:
                _one(stage, study, partition, context, home, parents, outside, force)
            except TransferabilityError as error:
                mistakes[partition or stage.name] = str(error)
                context.log.error(str(error))
            except Exception as error:
                if len(wanted) == 1:
                    raise
                # One failing task must not lose the others of the run.
                unexpected[partition or stage.name] = f"{type(error).__name__}: {error}"
                context.log.exception("unexpected error")
    finally:
        if stage.tables:
            stage.publish(study, home)
    if failures := mistakes | unexpected:
        # Running a user's mistake again would not mend it. Anything else may pass: the policy of the asset says how
        # often it is tried again, and what has been made by then returns at once.
        raise dg.Failure(f"{study.name}/{stage.name} {_first_of(failures)}", allow_retries=bool(unexpected))


def _prepared(
    stage: Stage, study: Study, context: dg.AssetExecutionContext, home: Home
) -> tuple[tuple[str | None, ...], Mapping[str | None, Any] | None]:
    """The outputs that a run asks for, and the identity of what they are made from outside the store.

    What fails here fails all of them, and is one failed run in MLflow.
    """
    wanted: tuple[str | None, ...] = (None,)
    try:
        wanted = _wanted(stage, study, context)
        return wanted, stage.outside(study, home) if stage.outside else None
    except Exception as error:
        one = wanted[0] if len(wanted) == 1 else None
        home.tracking.failed(study.name, _run_name(stage, one), _tags(stage, study, one, context, home))
        if isinstance(error, TransferabilityError):
            raise dg.Failure(f"{study.name}/{stage.name}: {error}", allow_retries=False) from error
        raise


def _wanted(stage: Stage, study: Study, context: dg.AssetExecutionContext) -> tuple[str | None, ...]:
    """The outputs that a run asks for."""
    if stage.partitions == "all":
        return (None,)
    if not context.has_partition_key and not context.has_partition_key_range:
        raise dg.Failure(
            f"{study.name}/{stage.name} is made task by task; choose partitions", allow_retries=False
        )
    return tuple(task_of(key) for key in context.partition_keys)


def _first_of(failures: Mapping[str, str]) -> str:
    first, message = next(iter(failures.items()))
    more = f" (and {len(failures) - 1} more: {', '.join(list(failures)[1:6])})" if len(failures) > 1 else ""
    return f"[{first}]: {message}{more}"


def _one(
    stage: Stage,
    study: Study,
    partition: str | None,
    context: dg.AssetExecutionContext,
    home: Home,
    parents: Parents,
    outside: Mapping[str | None, Any] | None,
    force: bool,
) -> None:
    listener = progress.get() or (lambda *_: None)
    began = time.monotonic()
    with home.store.lock(study.name, stage.name, partition):
        identity = stage.identity(study, home, partition, outside)
        previous = home.store.manifest(study.name, stage.name, partition)
        if previous and previous.recorded.get("dagster_run_id") == context.run.run_id:
            force = False  # made by this run, of which another output is now tried again
        if (
            identity
            and previous
            and not force
            and previous.identity_hash == content_hash(identity)
            and home.store.holds(previous)
        ):
            _log_materialization(context, stage, study, home, previous, parents, _told_before(previous))
            return
        listener(stage.name, partition, "started", 0.0)
        try:
            manifest, metadata = _make(stage, study, partition, context, home, identity, previous, force)
        except BaseException:
            listener(stage.name, partition, "failed", time.monotonic() - began)
            raise
        _log_materialization(context, stage, study, home, manifest, parents, metadata)
    listener(stage.name, partition, "done", time.monotonic() - began)


def _make(
    stage: Stage,
    study: Study,
    partition: str | None,
    context: dg.AssetExecutionContext,
    home: Home,
    identity: Mapping[str, Any] | None,
    previous: Manifest | None,
    force: bool,
) -> tuple[Manifest, dict[str, Any]]:
    """Run the stage's body under an MLflow run and write the manifest."""
    name, tags = _run_name(stage, partition), _tags(stage, study, partition, context, home)
    with home.tracking.run(study.name, name, tags) as tracked:
        began = time.monotonic()
        if identity is None:
            raise StoreError(
                "what it is made from is not there yet; materialise its upstream assets first "
                f"(or `transferability run {study.name}`)"
            )
        work = Work(stage, study, partition, home, context.log, tracked, identity, previous, force)
        tracked.params(stage.settings(study, partition))
        stage.make(work)
        seconds = time.monotonic() - began
        work.tell(seconds=round(seconds, 3))
        recorded = {
            "seconds": seconds,
            "dagster_run_id": context.run.run_id,
            "mlflow_run_id": tracked.run_id or None,
            "mlflow_run": tracked.url,
            "facts": {k: v for k, v in work._metadata.items() if isinstance(v, int | float | str)},
            "links": {k: v.url for k, v in work._metadata.items() if isinstance(v, dg.UrlMetadataValue)},
            **work._recorded,
        }
        manifest = home.store.commit(
            study.name,
            stage.name,
            partition,
            identity=identity,
            paths=work._paths,
            data_version=work.version,
            recorded=recorded,
        )
        tracked.tags({"transferability/data_version": manifest.data_version})
        for path in work._kept:
            tracked.keep(path, MODEL_FOLDER)
            tracked.keep(home.store.manifest_path(study.name, stage.name, partition), MODEL_FOLDER)
    return manifest, work._metadata


def _run_name(stage: Stage, partition: str | None) -> str:
    """What an output's run is called in MLflow."""
    return stage.name if partition is None else f"{stage.name}/{partition}"


def _told_before(manifest: Manifest) -> dict[str, Any]:
    """What an output told when it was made; its page in the UI shows the latest event alone."""
    links = {key: dg.MetadataValue.url(url) for key, url in manifest.recorded.get("links", {}).items()}
    return {**manifest.recorded.get("facts", {}), **links, "result": "was up to date"}


def _tags(
    stage: Stage, study: Study, partition: str | None, context: dg.AssetExecutionContext, home: Home
) -> dict[str, str]:
    key = f"{study.name}/{stage.name}"
    tags = run_tags(context, home, key, stage.code_version(study), stage.description)
    return tags if partition is None else {**tags, "dagster/partition": partition}


def run_tags(
    context: dg.AssetExecutionContext, home: Home, key: str, code_version: str, description: str
) -> dict[str, str]:
    """The tags of an asset's MLflow run: which Dagster run makes which asset, from what code."""
    run_url = f"{home.dagster_address}/runs/{context.run.run_id}"
    tags = {
        "dagster/run_id": context.run.run_id,
        "dagster/run_url": run_url,
        "dagster/asset_key": key,
        "dagster/code_version": code_version,
        "mlflow.note.content": f"{description}\n\n[The run in Dagster]({run_url})",  # tags are not links
    }
    if commit := git_commit():
        tags["mlflow.source.git.commit"] = commit
    return tags


def _log_materialization(
    context: dg.AssetExecutionContext,
    stage: Stage,
    study: Study,
    home: Home,
    manifest: Manifest,
    parents: Parents,
    facts: Mapping[str, Any],
) -> None:
    partition = None if stage.partitions == "all" else partition_key(manifest.partition)
    link = manifest.recorded.get("mlflow_run")
    metadata: dict[str, Any] = {
        "mlflow_run": dg.MetadataValue.url(link) if link else "not tracked",
        **(
            {"warehouse": dg.MetadataValue.path(str(home.warehouse.path(study.name)))} if stage.tables else {}
        ),
        **{key: value for key, value in facts.items() if value is not None},
    }
    rows = facts.get(f"{stage.table.name}_rows") if stage.table else None
    if rows is not None:
        metadata["dagster/row_count"] = rows
    context.log_event(
        dg.AssetMaterialization(
            asset_key=[study.name, stage.name],
            partition=partition,
            metadata=metadata,
            tags=parents.tags(manifest.data_version, stage.code_version(study)),
        )
    )


def _dependency(stage: Stage, parent: Stage, study: Study) -> dg.AssetDep:
    key = [study.name, parent.name]
    if stage.partitions == parent.partitions or "all" in {stage.partitions, parent.partitions}:
        return dg.AssetDep(key)
    fed: dict[str, list[str]] = {}
    for partition in filter(None, stage.outputs(study)):
        for above in filter(None, stage.needed(study, parent, partition)):
            fed.setdefault(partition_key(above), []).append(partition_key(partition))
    return dg.AssetDep(key, partition_mapping=dg.StaticPartitionMapping(fed))


def _definition_metadata(stage: Stage) -> dict[str, Any]:
    if stage.table is None:
        return {}
    columns = [
        dg.TableColumn(
            column.name,
            column.type,
            column.description,
            constraints=dg.TableColumnConstraints(nullable=not column.required),
        )
        for column in stage.table.columns
    ]
    return {
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/table_name": f"main.{stage.table.name}",
        "tables": ", ".join(table.name for table in stage.tables),
    }
