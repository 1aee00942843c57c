"""When a study refreshes by itself: a sensor on its label files and a nightly schedule.

Both ask for jobs that make just what the manifests say is out of date, so an event that is missed costs a night at
most, and a file that is touched but says the same starts nothing.
"""

from dataclasses import dataclass

import dagster as dg

from assets.labels.reading import files_state, read_labels
from assets.study import Study
from resources.errors import TransferabilityError
from resources.home import Home


@dataclass(frozen=True)
class StudyAutomation:
    """The sensors and schedules of a study."""

    sensors: list[dg.SensorDefinition]
    schedules: list[dg.ScheduleDefinition]


def study_automation(study: Study) -> StudyAutomation:
    """Statistics refresh by default; whatever trains is switched on in the UI."""
    return StudyAutomation(
        sensors=[
            _label_sensor(study, "statistics", dg.DefaultSensorStatus.RUNNING),
            _label_sensor(study, "study", dg.DefaultSensorStatus.STOPPED),
        ],
        schedules=[
            dg.ScheduleDefinition(
                name=f"{study.name}_nightly",
                job_name=f"{study.name}_study",
                cron_schedule=study.settings.nightly,
                default_status=dg.DefaultScheduleStatus.STOPPED,
                description=f"Make whatever of {study.name} is stale or missing.",
            )
        ],
    )


def _label_sensor(study: Study, suffix: str, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{study.name}_labels_changed_{suffix}",
        job_name=f"{study.name}_{suffix}",
        minimum_interval_seconds=30,
        default_status=status,
        description=f"Watches the label files of {study.name}: times and sizes first, then the content of each column. "
        f"Starts {study.name}_{suffix} when a label changed.",
    )
    def sensor(context: dg.SensorEvaluationContext, home: Home) -> dg.SensorResult | dg.SkipReason:
        try:
            state = files_state(study)
            if context.cursor == state:
                return dg.SkipReason("no label file was touched")
            changed = _changed_tasks(study, home)
        except TransferabilityError as error:
            return dg.SkipReason(str(error))
        if not changed:
            return dg.SensorResult(skip_reason="touched, but every label is as it was", cursor=state)
        shown = ", ".join(changed[:5]) + (", …" if len(changed) > 5 else "")
        request = dg.RunRequest(tags={"transferability/changed": shown[:200]})
        return dg.SensorResult(run_requests=[request], cursor=state)

    return sensor


def _changed_tasks(study: Study, home: Home) -> list[str]:
    """The tasks whose labels differ from what the study last read."""
    now = read_labels(study).versions
    known = {task: home.store.manifest(study.name, "labels", task) for task in study.tasks}
    return [
        task
        for task, manifest in known.items()
        if manifest is None or manifest.data_version != now[task][:32]
    ]
