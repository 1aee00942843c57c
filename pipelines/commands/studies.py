"""`transferability studies`: the studies that can be found, and how each stands."""

import argparse
import sys

from assets.chain import STAGES
from assets.stage import State
from assets.study import Study
from pipelines.studies import find_studies
from resources.errors import TransferabilityError
from resources.home import Home


def main(options: argparse.Namespace) -> int:
    """Print a line a study; a broken study file is reported and makes the exit code 1."""
    del options
    home = Home.default()
    studies = find_studies(home.folder, home.data)
    for study in studies.opened.values():
        counts = f"{len(study.tasks)} tasks, {len(study.sources)} sources, {len(study.targets)} targets"
        print(f"{study.name:<16} {counts:<44} {_standing(study, home)}")
    for message in studies.broken.values():
        print(f"transferability: {message}", file=sys.stderr)
    return 1 if studies.broken else 0


def _standing(study: Study, home: Home) -> str:
    if not any(home.store.manifest(study.name, "labels", task) for task in study.tasks):
        absent = [path for path in study.dataset.label_files() if not path.exists()]
        return f"not run; {absent[0].name} is not in {absent[0].parent}" if absent else "not run"
    done = total = 0
    for stage in STAGES:
        if stage.command == "sample-efficiency":
            continue
        try:
            states = stage.states(study, home)
        except TransferabilityError as error:
            return str(error)
        total += len(states)
        done += sum(state is State.DONE for state in states.values())
    return f"{done} of {total} outputs up to date"
