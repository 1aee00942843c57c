"""`transferability run`: bring a study up to date, with progress, and print what it found."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from assets.materialize import progress
from assets.stage import Stage
from assets.study import Study
from pipelines.console import Console
from pipelines.instance import open_instance
from pipelines.interruption import interruptions
from pipelines.reconcile import Outcome, Request, chosen_sources, end_orphans, reconcile
from pipelines.studies import find_studies
from pipelines.summary import summary_lines
from resources.errors import StudyError, one_line
from resources.home import Home

if TYPE_CHECKING:
    import dagster as dg


def main(options: argparse.Namespace) -> int:
    """Run; 0 if everything that was asked for stands, 1 if something failed.

    Raises:
        StudyError: for an unknown study, source or stage.
    """
    began = time.monotonic()
    home = Home.default()
    study = find_studies(home.folder, home.data).get(options.study)
    request = Request(options.only, _sources(options.sources, study), options.force)
    console = Console()
    with open_instance(home.folder) as instance, _alone(home, study.name, console):
        outcome = bring_up_to_date(study, home, instance, request, console)
    for warning in outcome.warnings:
        print(f"warning: {one_line(warning)}", file=sys.stderr)
    _print_end(outcome, time.monotonic() - began)
    for line in summary_lines(study, home):
        print(line)
    return 1 if outcome.failed else 0


def bring_up_to_date(
    study: Study, home: Home, instance: "dg.DagsterInstance", request: Request, console: Console
) -> Outcome:
    """Reconcile a study, showing progress, and end at the first Ctrl-C.

    Raises:
        KeyboardInterrupt: if one came; what was finished is kept.
    """
    # Imported here: the code location's module looks for all studies when it is loaded as a whole.
    import dagster as dg

    from pipelines.definitions import study_definitions

    if end_orphans(instance):
        home.tracking.end_orphans(study.name)
    definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
    with interruptions() as check:

        def hear(stage: str, partition: str | None, event: str, seconds: float) -> None:
            check()
            console.hear(stage, partition, event, seconds)

        def announce(stage: Stage, outputs: int) -> None:
            check()
            console.announce(stage, outputs)

        token = progress.set(hear)
        try:
            outcome = reconcile(study, home, definitions, instance, request, announce)
            check()
        finally:
            progress.reset(token)
            console.close()
    return outcome


def _sources(text: str | None, study: Study) -> tuple[str, ...] | None:
    if text is None:
        return None
    try:
        return chosen_sources((part.strip() for part in text.split(",") if part.strip()), study)
    except StudyError as error:
        raise StudyError(f"--sources: {error}") from None


@contextmanager
def _alone(home: Home, study: str, console: Console) -> Iterator[None]:
    """Hold a lock on the study; a second run says that it waits, and does."""
    lock = FileLock(home.folder / f".{study}.run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.say(f"another run of {study} is under way; waiting for it to end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _print_end(outcome: Outcome, seconds: float) -> None:
    if outcome.nothing_to_do:
        print(f"everything is up to date ({seconds:.1f} s)")
        return
    print(f"\n{'stage':<24}{'outputs':>8}{'seconds':>10}")
    for stage, made in outcome.made.items():
        print(f"{stage:<24}{made:>8}{outcome.seconds.get(stage, 0.0):>10.1f}")
    computing = sum(outcome.computing.values())
    share = 1 - computing / seconds if seconds else 0.0
    print(f"{'start':<24}{'':>8}{seconds - sum(outcome.seconds.values()):>10.1f}")
    print(f"{'in all':<24}{'':>8}{seconds:>10.1f}")
    print(f"of which Dagster, MLflow and DuckDB bookkeeping: {seconds - computing:.1f} s ({share:.0%})")
    for output, reason in outcome.failed.items():
        print(f"failed: {output}: {reason}", file=sys.stderr)
