"""The asset `benchmark_report`: one page across all studies that have run."""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from assets.materialize import RETRY, StageConfig, no_retry_when_interrupted, run_tags
from assets.reports.assets import HARDNESS_CORRELATION, TRANSFER_CORRELATION, finished_tables, picture
from assets.study import Study
from resources.errors import StoreError, TransferabilityError
from resources.home import Home
from resources.store import content_hash
from resources.tracking import TrackedRun

if TYPE_CHECKING:
    from assets.reports.facts import StudyFacts

NAME = "benchmark_report"
DESCRIPTION = (
    "Hardness against error for all data sets side by side (Fig. 6), and how well conditional entropy predicts "
    "transfer in each."
)
FOLDER = "all-studies"
"""Of the page, in the home's reports; a hyphen, so that no study can have the name."""

CODE_VERSION = "1"


def benchmark_report(studies: Sequence[Study]) -> dg.AssetsDefinition:
    """Fig. 6 of all data sets side by side, and what each says of the estimate."""

    @dg.asset(
        key=NAME,
        deps=[
            dg.AssetKey([study.name, stage.name])
            for study in studies
            for stage in (TRANSFER_CORRELATION, HARDNESS_CORRELATION)
        ],
        group_name="across_studies",
        description=DESCRIPTION,
        kinds={"plotly", "html"},
        owners=["team:transferability"],
        code_version=CODE_VERSION,
        retry_policy=RETRY,
    )
    def body(
        context: dg.AssetExecutionContext, config: StageConfig, home: Home
    ) -> dg.MaterializeResult[None]:
        del config  # the page is cheap: it is made whenever it is asked for
        tags = run_tags(context, home, NAME, CODE_VERSION, DESCRIPTION)
        with no_retry_when_interrupted():
            try:
                with home.tracking.run("across_studies", NAME, tags) as tracked:
                    return _write(studies, home, tracked)
            except TransferabilityError as error:
                raise dg.Failure(f"{NAME}: {error}", allow_retries=False) from error

    return body


def _write(studies: Sequence[Study], home: Home, tracked: TrackedRun) -> dg.MaterializeResult[None]:
    from assets.reports.publish import copy_light, write_benchmark  # matplotlib and plotly load only here

    began = time.monotonic()
    finished = _finished(studies, home)
    tracked.params({"studies": ", ".join(facts.study for facts, _ in finished), "code": CODE_VERSION})
    links = {facts.study: os.path.join("..", facts.study, "index.html") for facts, _ in finished}  # noqa: PTH118
    written = write_benchmark(home.reports / FOLDER, finished, links=links)
    with tempfile.TemporaryDirectory() as light:
        copy_light(written, Path(light))
        tracked.artifact(Path(light), "report")
    version = content_hash({f.study: [str(t[n].hash_rows().sum()) for n in sorted(t)] for f, t in finished})
    numbers = {"studies": len(finished), "seconds": round(time.monotonic() - began, 3)}
    tracked.metrics(numbers)
    tracked.tags({"transferability/data_version": version[:32]})
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version[:32]),
        metadata={
            "page": dg.MetadataValue.path(str(written.index)),
            **({"report": dg.MetadataValue.url(link)} if (link := tracked.page("report/index.html")) else {}),
            **numbers,
            "mlflow_run": dg.MetadataValue.url(tracked.url) if tracked.url else "not tracked",
            **{f"figure {name}": picture(name, png) for name, png in written.previews.items()},
        },
    )


def _finished(studies: Sequence[Study], home: Home) -> list[tuple["StudyFacts", dict[str, pl.DataFrame]]]:
    """The studies that have run to their report: what was measured on what, and their tables.

    Raises:
        StoreError: if there is none.
    """
    from assets.reports.facts_of_study import study_facts

    finished = []
    for study in studies:
        if home.store.manifest(study.name, "hardness_correlation", None) is None:
            continue
        tables = finished_tables(study, home)
        labels = home.store.read_table(study.name, "labels", [None])
        finished.append((study_facts(study, home, labels, tables.get("source_models"), None), tables))
    if not finished:
        raise StoreError("no study has run to its report yet; `transferability run digits` takes minutes")
    return finished
