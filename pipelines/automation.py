"""When a study refreshes by itself: a sensor on its label files, two that follow its assets' conditions, and schedules.

All go by the manifests, so an event that is missed costs a night at most, and a file that is touched but says the same
starts nothing. When an asset is asked for is said in conditions.py.
"""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from assets.labels.assets import LABELS
from assets.labels.reading import files_state, read_labels
from assets.reports.assets import HARDNESS_CORRELATION, TRANSFER_CORRELATION
from assets.stage import Stage, State
from assets.study import Study
from pipelines.conditions import CHEAP, TRAINED
from pipelines.reconcile import RANGE_END, RANGE_START, ranges
from resources.errors import TransferabilityError
from resources.home import Home
from resources.names import partition_key
from resources.store import content_hash

CHANGED_TAG, VERSION_TAG = "transferability/changed", "transferability/labels"
_ATTEMPTS = 3  # runs that read the same labels before the sensor waits for a change, or for the night
_RESULTS_TAG = "transferability/results"
_ASKED_TAG = "transferability/asked"
_FAILED = {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


@dataclass(frozen=True)
class StudyAutomation:
    """The sensors and schedules of a study."""

    sensors: list[dg.SensorDefinition]
    schedules: list[dg.ScheduleDefinition]


def study_automation(study: Study) -> StudyAutomation:
    """Label statistics refresh by default; whatever trains is switched on in the UI."""
    return StudyAutomation(
        sensors=[
            _label_sensor(study),
            _follower(
                study,
                "statistics_refresh",
                CHEAP,
                dg.DefaultSensorStatus.RUNNING,
                f"Makes the label statistics of {study.name} again when their labels changed: counts, conditional "
                "entropy, hardness, the page of labels. Seconds of work.",
            ),
            _follower(
                study,
                "training_refresh",
                TRAINED,
                dg.DefaultSensorStatus.STOPPED,
                f"Trains and probes what depends on changed labels of {study.name}, and makes its report again. "
                "Off until somebody switches it on here: it takes hours on large data sets.",
            ),
        ],
        schedules=[
            dg.ScheduleDefinition(
                name=f"{study.name}_nightly",
                job_name=f"{study.name}_study",
                cron_schedule=study.settings.nightly,
                default_status=dg.DefaultScheduleStatus.STOPPED,
                description=f"Makes whatever of {study.name} is stale or missing, training included. Off by default.",
            )
        ],
    )


def _follower(
    study: Study, suffix: str, stages: tuple[Stage, ...], status: dg.DefaultSensorStatus, description: str
) -> dg.AutomationConditionSensorDefinition:
    """The sensor that evaluates the conditions of some stages; it runs in our own code, where manifests can be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.BetaWarning)  # of evaluation in user code, which works
        return dg.AutomationConditionSensorDefinition(
            name=f"{study.name}_{suffix}",
            target=dg.AssetSelection.assets(*(dg.AssetKey([study.name, stage.name]) for stage in stages)),
            default_status=status,
            minimum_interval_seconds=30,
            description=description,
            run_tags={"transferability/study": study.name},
            use_user_code_server=True,
        )


def _label_sensor(study: Study) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{study.name}_labels_changed",
        target=dg.AssetSelection.assets(dg.AssetKey([study.name, "labels"])),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Watches the label files of {study.name}: times and sizes first, then the content of each column "
        "with image keys and split. Reads just the tasks that changed; the assets' conditions do the rest.",
    )
    def sensor(context: dg.SensorEvaluationContext, home: Home) -> dg.SensorResult | dg.SkipReason:
        try:
            state = files_state(study)
            if context.cursor == state and not _out_of_date(study, home, _versions_read(study, home)):
                return dg.SkipReason("no label file was touched")
            versions = {task: version[:32] for task, version in read_labels(study).versions.items()}
            changed = _out_of_date(study, home, versions)
        except TransferabilityError as error:
            return dg.SkipReason(str(error))
        if not changed:
            # Only now: as long as a label differs from what was read, every tick looks again.
            return dg.SensorResult(skip_reason="touched, but every label is as it was read", cursor=state)
        # Of all: what has changed shrinks while a run reads it.
        version = content_hash([versions, LABELS.code_version(study)])[:32]
        if waiting := _already_asked(context.instance, study, version):
            return dg.SkipReason(waiting)
        return dg.SensorResult(run_requests=_reading(study, changed, version))

    return sensor


def _versions_read(study: Study, home: Home) -> dict[str, str]:
    """The version of each task's labels as the study last read them."""
    manifests = {task: home.store.manifest(study.name, "labels", task) for task in study.tasks}
    return {task: manifest.data_version if manifest else "" for task, manifest in manifests.items()}


def _out_of_date(study: Study, home: Home, versions: Mapping[str, str]) -> list[str]:
    """The tasks to read: labels of another version, an output that is gone, or one that older code wrote."""
    outside: dict[str | None, str] = dict(versions.items())
    states = LABELS.states(study, home, outside)
    return [task for task, state in states.items() if task is not None and state is not State.DONE]


def _already_asked(instance: dg.DagsterInstance, study: Study, version: str) -> str | None:
    """Why the labels of that version need not be asked for in this tick, if so."""
    filters = dg.RunsFilter(tags={"transferability/study": study.name, VERSION_TAG: version})
    runs = instance.get_runs(filters)
    if any(not run.is_finished for run in runs):
        return "the changed labels are being read"
    failed = {run.tags.get(_ASKED_TAG) for run in runs if run.status in _FAILED}
    if len(failed) >= _ATTEMPTS:
        return f"{_ATTEMPTS} runs failed to read the changed labels ({runs[0].run_id}); mend what it says and reload"
    return None


def _reading(study: Study, changed: Sequence[str], version: str) -> list[dg.RunRequest]:
    """Runs of `labels` for the changed tasks; Dagster runs a contiguous range at a time."""
    asked = str(time.time())  # one attempt may be several runs, and Dagster may retry each
    shown = ", ".join(changed[:5]) + (", …" if len(changed) > 5 else "")
    tags = {"transferability/study": study.name, VERSION_TAG: version, _ASKED_TAG: asked}
    return [
        dg.RunRequest(
            asset_selection=[dg.AssetKey([study.name, "labels"])],
            tags={
                **tags,
                CHANGED_TAG: shown[:200],
                RANGE_START: partition_key(first),
                RANGE_END: partition_key(last),
            },
        )
        for first, last in ranges(study.tasks, changed)
        if first is not None and last is not None
    ]


def cross_study_schedule(studies: Sequence[Study]) -> dg.ScheduleDefinition:
    """The page across studies, once a day where a study's results have changed."""
    job = dg.define_asset_job(
        "across_studies",
        dg.AssetSelection.assets("benchmark_report"),
        description="The page across all studies that have run.",
    )

    @dg.schedule(
        name="across_studies_daily",
        job=job,
        cron_schedule="0 6 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Makes the page across studies again on days when a study's results have changed. Seconds of work.",
    )
    def schedule(context: dg.ScheduleEvaluationContext, home: Home) -> dg.RunRequest | dg.SkipReason:
        manifests = {
            f"{study.name}/{stage.name}": home.store.manifest(study.name, stage.name, None)
            for study in studies
            for stage in (TRANSFER_CORRELATION, HARDNESS_CORRELATION)
        }
        versions = {name: manifest.data_version for name, manifest in manifests.items() if manifest}
        if not versions:
            return dg.SkipReason("no study has run to its report yet")
        tags = {_RESULTS_TAG: content_hash(versions)[:32]}
        filters = dg.RunsFilter(tags=tags, statuses=[dg.DagsterRunStatus.SUCCESS])
        if context.instance.get_runs(filters, limit=1):
            return dg.SkipReason("the page shows the latest results of every study")
        return dg.RunRequest(tags=tags)

    return schedule
