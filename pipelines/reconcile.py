"""Bringing a study up to date: which outputs to make, in which order, each stage as Dagster runs in this process.

The command line, the jobs and the nightly schedule all go through here, so that they agree on what is out of date.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import pairwise

import dagster as dg

from assets.chain import CHECKS, STAGES
from assets.checks import Finding, TableReader
from assets.materialize import INTERRUPTED
from assets.stage import Stage, State
from assets.study import Study
from resources.errors import StudyError
from resources.home import Home
from resources.names import partition_key
from resources.processes import lives, this_process
from resources.store import sweep

PROCESS_TAG = "transferability/process"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_OPEN = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]


@dataclass(frozen=True)
class Request:
    """What is to be brought up to date.

    Args:
        only: one of `statistics`, `models`, `probes`, `reports`, `sample-efficiency`; None for the default chain.
        sources: restrict the stages that go source by source to these; None for all.
        force: make the outputs again even where nothing has changed.
    """

    only: str | None = None
    sources: tuple[str, ...] | None = None
    force: bool = False


@dataclass
class Outcome:
    """What was made, what failed, how long each stage took, how much of that was its own work, and what to mind."""

    made: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    computing: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def nothing_to_do(self) -> bool:
        """Whether everything was up to date."""
        return not self.made and not self.failed


def chosen_sources(names: Iterable[str], study: Study) -> tuple[str, ...]:
    """The sources of those names, as a person gave them.

    Raises:
        StudyError: for a name that is no source's; it tells the nearest ones.
    """
    chosen = tuple(names)
    for name in chosen:
        if name not in study.sources:
            near = get_close_matches(name, study.sources, 3)
            raise StudyError(
                f"no source '{name}'; the sources are {', '.join(study.sources[:10])}"
                f"{', …' if len(study.sources) > 10 else ''}"
                f"{'; the nearest: ' if near else ''}{', '.join(near)}"
            )
    return chosen


Announce = Callable[[Stage, int], None]


def stages_for(only: str | None) -> list[Stage]:
    """The stages that a request needs, in order: those it names and all they are made from."""
    commands = {stage.command for stage in STAGES}
    if only is None:
        return [stage for stage in STAGES if stage.command != "sample-efficiency"]
    if only not in commands:
        raise StudyError(f"no stage '{only}'; --only takes {', '.join(sorted(commands))}")
    needed: set[str] = set()

    def add(stage: Stage) -> None:
        if stage.name not in needed:
            needed.add(stage.name)
            for parent in stage.after:
                add(parent)

    for stage in STAGES:
        if stage.command == only:
            add(stage)
    return [stage for stage in STAGES if stage.name in needed]


def reconcile(
    study: Study,
    home: Home,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    request: Request,
    announce: Announce = lambda _stage, _n: None,
) -> Outcome:
    """Make whatever of the request is stale or missing, stage by stage.

    A stage with a failure does not stop what does not depend on it; what does is reported as failed too.
    """
    home.store.sweep(study.name)
    sweep(home.reports.glob(".*.tmp"))
    outcome = Outcome()
    for stage in stages_for(request.only):
        todo = _todo(stage, study, home, request, outcome)
        if todo:
            announce(stage, len(todo))
            began = time.monotonic()
            _run_stage(stage, study, home, definitions, instance, todo, request.force, outcome)
            outcome.seconds[stage.name] = time.monotonic() - began
        elif _complete(stage, study, home):
            # What failed its checks once does not pass by being left as it is.
            _heed(stage, study, _findings(stage, study, home), outcome)
    for stage in STAGES:
        if stage.tables:
            stage.publish(study, home)  # heals a warehouse that was deleted or left behind by a killed run
    return outcome


def _todo(stage: Stage, study: Study, home: Home, request: Request, outcome: Outcome) -> list[str | None]:
    states = stage.states(study, home)
    if request.sources is not None and stage.partitions == "sources":
        states = {p: state for p, state in states.items() if p in request.sources}
    # With some sources only, what is made from all of them may rightly wait for the others.
    restricted = request.sources is not None and stage.partitions == "all"
    for partition, state in states.items():
        if state is State.WAITING and not restricted:
            outcome.failed.setdefault(_label(stage, partition), "waits for an output that could not be made")
    wanted = {State.STALE, State.MISSING} | ({State.DONE} if request.force else set())
    return [partition for partition, state in states.items() if state in wanted]


def _run_stage(
    stage: Stage,
    study: Study,
    home: Home,
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    todo: Sequence[str | None],
    force: bool,
    outcome: Outcome,
) -> None:
    job = definitions.resolve_implicit_global_asset_job_def()
    key = dg.AssetKey([study.name, stage.name])
    op = f"{study.name}__{stage.name}"
    config: dict[str, object] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if force:
        config["ops"] = {op: {"config": {"force": True}}}
    for first, last in ranges(stage.outputs(study), todo):
        tags = {PROCESS_TAG: this_process(), "transferability/study": study.name}
        if first is not None and last is not None:
            tags |= {RANGE_START: partition_key(first), RANGE_END: partition_key(last)}
        try:
            result = job.execute_in_process(
                run_config=config, instance=instance, asset_selection=[key], tags=tags, raise_on_error=False
            )
        except dg.DagsterExecutionInterruptedError as error:
            raise KeyboardInterrupt from error
        found = [
            (
                check.check_name,
                Finding(
                    check.passed,
                    check.description or "",
                    warning=check.severity == dg.AssetCheckSeverity.WARN,
                ),
            )
            for check in result.get_asset_check_evaluations()
        ]
        _heed(stage, study, found, outcome)
        if not result.success and _reason(result) == INTERRUPTED:
            raise KeyboardInterrupt
        if not result.success:
            where = _label(stage, first) if first == last else f"{stage.name}[{first} … {last}]"
            outcome.failed[where] = _reason(result)
    states = stage.states(study, home)
    made = [partition for partition in todo if states.get(partition) is State.DONE]
    outcome.made[stage.name] = len(made)
    manifests = [home.store.manifest(study.name, stage.name, partition) for partition in made]
    outcome.computing[stage.name] = sum(float(m.recorded.get("seconds", 0.0)) for m in manifests if m)


def _complete(stage: Stage, study: Study, home: Home) -> bool:
    """Whether a stage with checks is finished; of the others, the states of some cost a look at every image file."""
    has_checks = any(check.stage is stage for check in CHECKS)
    return has_checks and all(state is State.DONE for state in stage.states(study, home).values())


def failed_checks(stage: Stage, study: Study, home: Home) -> list[str]:
    """The blocking checks that a finished stage does not pass."""
    return _blocking(_findings(stage, study, home))


def _findings(stage: Stage, study: Study, home: Home) -> list[tuple[str, Finding]]:
    """What the checks of a finished stage find, by their names."""
    read = TableReader(study, home)
    return [(check.name, check.look(study, read)) for check in CHECKS if check.stage is stage]


def _blocking(found: Iterable[tuple[str, Finding]]) -> list[str]:
    return [
        f"check {name} failed: {finding.text}".removesuffix(": ")
        for name, finding in found
        if not finding.passed and not finding.warning
    ]


def _heed(stage: Stage, study: Study, found: Sequence[tuple[str, Finding]], outcome: Outcome) -> None:
    """Stop at what blocks, and note what is only to be minded.

    Raises:
        StudyError: If a check that blocks has failed.
    """
    if blocked := _blocking(found):
        raise StudyError(f"{study.name}/{stage.name}: {'; '.join(blocked)}")
    outcome.warnings += [f"{study.name}: {finding.text}" for _, finding in found if not finding.passed]


def _reason(result: dg.ExecuteInProcessResult) -> str:
    """The first line of what went wrong in a run."""
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            error = event.step_failure_data.error
            if event.step_failure_data.user_failure_data is not None:
                return event.step_failure_data.user_failure_data.description or error.message
            cause = error.cause or error
            return (cause.message.strip().splitlines() or ["unknown error"])[0]
    return "the run failed; see the Dagster UI"


def ranges(outputs: Sequence[str | None], todo: Iterable[str | None]) -> list[tuple[str | None, str | None]]:
    """Contiguous ranges of partitions: Dagster runs a range, not a set, in one run."""
    wanted = set(todo)
    positions = [i for i, partition in enumerate(outputs) if partition in wanted]
    if not positions:
        return []
    breaks = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(positions)) if b > a + 1), len(positions)]
    return [(outputs[positions[a]], outputs[positions[b - 1]]) for a, b in pairwise(breaks)]


def end_orphans(instance: dg.DagsterInstance) -> int:
    """Fail the runs of this machine's dead processes and free their pool slots; return how many.

    A killed process leaves its run open and keeps its slot in a pool, on which the next run would wait for ever.
    """
    orphans = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=_OPEN))
        if PROCESS_TAG in run.tags and not lives(run.tags[PROCESS_TAG])
    ]
    for run in orphans:
        instance.report_run_failed(run, "its process ended before the run did")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return len(orphans)


def _label(stage: Stage, partition: str | None) -> str:
    return stage.name if partition is None else f"{stage.name}[{partition}]"
