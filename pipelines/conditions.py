"""When an asset is asked for by itself: an automation condition that reads the manifests. Sensors are in automation.py.

Dagster's own conditions follow events, and events can be missed; this one looks at what is true now, so it agrees with
the command line, the jobs and the nightly schedule, and nothing that arrives during a run is lost.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from assets.chain import STAGES
from assets.labels.assets import LABELS
from assets.stage import Stage, State
from assets.study import Study
from pipelines.reconcile import failed_checks
from resources.errors import TransferabilityError
from resources.home import Home
from resources.names import partition_key, task_of
from resources.store import content_hash

if TYPE_CHECKING:
    from dagster._core.asset_graph_view.entity_subset import EntitySubset


Asked = dict[str, tuple[str, int, float]]
"""By task, what was asked for and is not there yet: the making's hash, how often, and when last (seconds)."""

_TIMES, _APART = 3, 600.0  # askings for the same making, and seconds between them

CHEAP = tuple(stage for stage in STAGES if stage.command == "statistics" and stage is not LABELS)
"""Stages that count labels: seconds, no image."""

TRAINED = tuple(stage for stage in STAGES if stage.command in {"models", "probes", "reports"})
"""Stages that decode, train and probe, and the reports on that. Sample efficiency is made when a person asks for it."""


class Standing:
    """How the outputs of a study stand at one moment; every stage is looked at once.

    Args:
        study: the study.
        home: the home folder.
    """

    def __init__(self, study: Study, home: Home) -> None:
        self._study, self._home = study, home
        self._states: dict[str, dict[str | None, State]] = {}
        self._settled: dict[tuple[str, str | None], bool] = {}
        self._blocked: dict[str, bool] = {}

    def states(self, stage: Stage) -> dict[str | None, State]:
        """How every output of a stage stands.

        Raises:
            TransferabilityError: if the label files or images cannot be read.
        """
        if stage.name not in self._states:
            self._states[stage.name] = stage.states(self._study, self._home)
        return self._states[stage.name]

    def settled(self, stage: Stage, partition: str | None) -> bool:
        """Whether an output is up to date and so is all that it is made from, back to the label files."""
        key = (stage.name, partition)
        if key not in self._settled:
            self._settled[key] = self.states(stage)[partition] is State.DONE and all(
                self.settled(parent, p)
                for parent in stage.after
                for p in stage.needed(self._study, parent, partition)
            )
        return self._settled[key]

    def passes(self, stage: Stage) -> bool:
        """Whether a finished stage passes its blocking checks; they are looked at as the data are now."""
        if stage.name not in self._blocked:
            self._blocked[stage.name] = bool(failed_checks(stage, self._study, self._home))
        return not self._blocked[stage.name]


class Watch:
    """Looks at a study once a tick for all its conditions, which Dagster evaluates one after the other.

    Args:
        study: the study.
        home: the home folder; None: the one that the environment names.
    """

    def __init__(self, study: Study, home: Home | None = None) -> None:
        self.study = study
        self._home = home
        self._last: tuple[datetime, Standing] | None = None

    @property
    def home(self) -> Home:
        """The home folder."""
        return self._home or Home.default()

    def at(self, tick: datetime) -> Standing:
        """How the study stands in the tick of that time."""
        last = self._last
        if last is None or last[0] != tick:
            last = self._last = (tick, Standing(self.study, self.home))
        return last[1]


class OutOfDate(dg.AutomationCondition[dg.AssetKey]):
    """True of outputs whose manifest says that they are stale or missing, once all that they are made from is settled.

    What is asked for in one tick takes with it whatever can follow in the same run. The same making (the same inputs,
    settings and code) is asked for thrice at most, ten minutes apart: what fails three times waits for a change of
    what it is made from, for a person, or for the nightly schedule.

    Args:
        stage: the stage.
        watch: looks at the study.
    """

    def __init__(self, stage: Stage, watch: Watch) -> None:
        self._stage, self._watch, self._study = stage, watch, watch.study

    @property
    def name(self) -> str:
        """How the UI calls it."""
        return "out_of_date"

    @property
    def description(self) -> str:
        """How the UI explains it."""
        return "Its manifest says stale or missing, and what it is made from is settled and passes its checks"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """Which of the candidates are to be made; the cursor holds what has been asked for and is not there yet."""
        asked: Asked = json.loads(context.cursor or "{}")
        try:
            wanted = self._wanted(context, self._watch.at(context.evaluation_time), asked)
        except TransferabilityError as error:
            context.log.warning("%s: nothing is asked for: %s", context.key.to_user_string(), error)
            wanted, asked = set(), json.loads(context.cursor or "{}")
        return dg.AutomationResult(context, _subset(context, wanted), cursor=json.dumps(asked))

    def _wanted(
        self, context: dg.AutomationContext[dg.AssetKey], standing: Standing, asked: Asked
    ) -> set[str | None]:
        stage, study = self._stage, self._study
        along = {p: self._goes_along(context, p) for p in stage.outputs(study)}
        candidates = _partitions(context.candidate_subset)
        wanted: set[str | None] = set()
        for partition, state in standing.states(stage).items():
            key = partition or ""
            if state is State.DONE:
                asked.pop(key, None)
            due = along[partition] or state in {State.STALE, State.MISSING}
            if (
                partition not in candidates
                or not due
                or not self._ready(standing, partition, along[partition])
            ):
                continue
            if not along[partition]:
                version = content_hash(stage.identity(study, self._watch.home, partition))[:16]
                if not _ask(asked, key, version, context.evaluation_time.timestamp()):
                    continue
            wanted.add(partition)
        return wanted

    def _goes_along(self, context: dg.AutomationContext[dg.AssetKey], partition: str | None) -> set[str]:
        """The parents that are asked for in this tick and can be made in the same run."""
        return {
            parent.name
            for parent in self._stage.after
            if parent.partitions == self._stage.partitions
            and (asked := context.request_subsets_by_key.get(dg.AssetKey([self._study.name, parent.name])))
            and partition in _partitions(asked)
        }

    def _ready(self, standing: Standing, partition: str | None, along: set[str]) -> bool:
        return all(
            parent.name in along
            or (
                all(standing.settled(parent, p) for p in self._stage.needed(self._study, parent, partition))
                and standing.passes(parent)
            )
            for parent in self._stage.after
        )


def _ask(asked: Asked, key: str, version: str, now: float) -> bool:
    """Whether a making may be asked for now; if so, note it."""
    before, times, last = asked.get(key, ("", 0, 0.0))
    if before != version:
        times, last = 0, 0.0
    if times >= _TIMES or now - last < _APART:
        return False
    asked[key] = (version, times + 1, now)
    return True


def _partitions(subset: "EntitySubset[dg.AssetKey]") -> set[str | None]:
    """The partitions of one of Dagster's subsets, as tasks; {None} for a single output that is in it."""
    if subset.is_empty:
        return set()
    keys = subset.expensively_compute_partition_keys() if subset.is_partitioned else (None,)
    return {task_of(key) if key is not None else None for key in keys}


def _subset(
    context: dg.AutomationContext[dg.AssetKey], wanted: set[str | None]
) -> "EntitySubset[dg.AssetKey]":
    """Dagster's subset of the given outputs."""
    if not wanted:
        return context.get_empty_subset()
    if context.partitions_def is None:
        return context.candidate_subset
    keys = {partition_key(task) for task in wanted if task is not None}
    return context.asset_graph_view.get_subset_from_partition_keys(context.key, context.partitions_def, keys)


def condition(stage: Stage, watch: Watch) -> dg.AutomationCondition[dg.AssetKey]:
    """When an output of the stage is asked for by itself: it is out of date, and no run is about it or its parents."""
    idle = ~dg.AutomationCondition.in_progress() & ~dg.AutomationCondition.any_deps_in_progress()
    # Last, since it remembers what it was true of: that must be what is asked for.
    return idle & OutOfDate(stage, watch)


def with_conditions(
    assets: Sequence[dg.AssetsDefinition], study: Study, home: Home | None = None
) -> list[dg.AssetsDefinition]:
    """The assets of a study, each with its condition; but for `labels`, which a sensor on the files asks for."""
    watch = Watch(study, home)
    conditions = {
        dg.AssetKey([study.name, stage.name]): condition(stage, watch) for stage in (*CHEAP, *TRAINED)
    }

    def automated(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(automation_condition=conditions.get(spec.key))

    return [asset.map_asset_specs(automated) for asset in assets]
