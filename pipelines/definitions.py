"""The code location: studies in, Definitions out. `workspace.yaml` and `[tool.dg]` both name this module.

Importing it must stay cheap: neither torch nor MLflow nor a plotting library is loaded until a stage needs it.
"""

import logging

import dagster as dg

from assets.chain import cross_study_assets, study_assets, study_checks
from assets.study import Study
from pipelines.automation import study_automation
from pipelines.jobs import study_jobs
from pipelines.studies import Studies, find_studies
from resources.home import Home


def study_definitions(study: Study) -> dg.Definitions:
    """Everything of one study: its chain of assets, their checks, its jobs, schedules and sensors."""
    automation = study_automation(study)
    return dg.Definitions(
        assets=study_assets(study),
        asset_checks=study_checks(study),
        jobs=study_jobs(study),
        schedules=automation.schedules,
        sensors=automation.sensors,
    )


def build_definitions(studies: Studies, home: Home) -> dg.Definitions:
    """The whole code location for the given studies and home folder."""
    for message in studies.broken.values():
        logging.getLogger("transferability").warning("study left out: %s", message)
    parts = [study_definitions(study) for study in studies.opened.values()]
    shared = dg.Definitions(
        assets=cross_study_assets(list(studies.opened.values())),
        resources={"home": home},
        executor=dg.in_process_executor,
        metadata={
            "studies": ", ".join(studies.opened),
            **{f"broken study {name}": message for name, message in studies.broken.items()},
        },
    )
    return dg.Definitions.merge(*parts, shared)


@dg.definitions
def defs() -> dg.Definitions:
    """The code location as the environment has it."""
    home = Home.default()
    return build_definitions(find_studies(home.folder, home.data), home)
