"""The code location: studies in, Definitions out. `workspace.yaml` and `[tool.dg]` both name this module.

Importing it must stay cheap: neither torch nor MLflow nor a plotting library is loaded until a stage needs it.
"""

import logging

import dagster as dg

from assets.chain import cross_study_assets, study_assets, study_checks
from assets.study import Study
from pipelines.automation import cross_study_schedule, study_automation
from pipelines.conditions import with_conditions
from pipelines.jobs import study_jobs
from pipelines.studies import Studies, find_studies
from resources.errors import first_line
from resources.home import Home


def study_definitions(study: Study, home: Home | None = None) -> dg.Definitions:
    """Everything of one study: its chain of assets, their checks, its jobs, schedules, sensors and conditions.

    Args:
        study: the study.
        home: where the conditions look for manifests; None: where the environment says.
    """
    automation = study_automation(study)
    return dg.Definitions(
        assets=with_conditions(study_assets(study), study, home),
        asset_checks=study_checks(study),
        jobs=study_jobs(study),
        schedules=automation.schedules,
        sensors=automation.sensors,
    )


def build_definitions(studies: Studies, home: Home) -> dg.Definitions:
    """The whole code location for the given studies and home folder."""
    parts, broken = {}, dict(studies.broken)
    for name, study in studies.opened.items():
        try:
            parts[name] = study_definitions(study, home)
        except Exception as error:  # what Dagster refuses in one study must not take the others down
            broken[name] = f"{name}: {first_line(error)}"
    for message in broken.values():
        logging.getLogger("transferability").warning("study left out: %s", message)
    shown = [studies.opened[name] for name in parts]
    shared = dg.Definitions(
        assets=cross_study_assets(shown),
        schedules=[cross_study_schedule(shown)],
        resources={"home": home},
        executor=dg.in_process_executor,
        metadata={
            "studies": ", ".join(parts),
            **{f"broken study {name}": message for name, message in broken.items()},
        },
    )
    return dg.Definitions.merge(*parts.values(), shared)


@dg.definitions
def defs() -> dg.Definitions:
    """The code location as the environment has it."""
    home = Home.default()
    return build_definitions(find_studies(home.folder, home.data), home)
