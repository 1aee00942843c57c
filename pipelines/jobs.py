"""The jobs of a study, for the UI's job list and the schedules: its label statistics alone, and the whole study."""

import dagster as dg
from pydantic import Field

from assets.study import Study
from pipelines.reconcile import Request, chosen_sources, end_orphans, reconcile
from resources.errors import StudyError
from resources.home import Home


class StudyConfig(dg.Config):
    """What a job of a study brings up to date."""

    sources: list[str] = Field(default=[], description="Only these sources; empty: all of the study's")
    force: bool = Field(default=False, description="Make everything again even where nothing has changed")


def study_jobs(study: Study) -> list[dg.JobDefinition]:
    """`<study>_statistics` (seconds, needs no image) and `<study>_study` (everything, trains)."""
    return [
        _job(
            study,
            "statistics",
            "statistics",
            "Label statistics from the label files: counts, conditional entropy, hardness.",
        ),
        _job(study, "study", None, "The whole study: statistics, source models, embeddings, probes, report."),
    ]


def _job(study: Study, suffix: str, only: str | None, description: str) -> dg.JobDefinition:
    """A job of one op: stages differ in their partitions, which a single asset job cannot mix.

    The op makes what is stale or missing, each stage in a Dagster run of its own, so that history, lineage and checks
    look the same wherever the work was started.
    """

    @dg.op(name=f"{study.name}_bring_{suffix}_up_to_date", description=description)
    def bring_up_to_date(context: dg.OpExecutionContext, config: StudyConfig, home: Home) -> None:
        # Imported here: the module that builds the definitions imports this one.
        from pipelines.definitions import study_definitions

        try:
            sources = chosen_sources(config.sources, study)
        except StudyError as error:
            raise dg.Failure(f"{study.name}: sources: {error}", allow_retries=False) from None
        if end_orphans(context.instance):
            home.tracking.end_orphans(study.name)
        definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
        request = Request(only=only, sources=sources or None, force=config.force)
        outcome = reconcile(study, home, definitions, context.instance, request)
        context.log.info("made: %s", outcome.made or "nothing, everything was up to date")
        if outcome.failed:
            first, reason = next(iter(outcome.failed.items()))
            raise dg.Failure(
                f"{len(outcome.failed)} outputs failed; first {first}: {reason}", allow_retries=False
            )

    @dg.job(
        name=f"{study.name}_{suffix}", description=description, tags={"transferability/study": study.name}
    )
    def job() -> None:
        bring_up_to_date()

    return job
