"""The asset `benchmark_report`: one page across all studies that have run."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from assets.materialize import StageConfig
from assets.reports.assets import HARDNESS_CORRELATION, TRANSFER_CORRELATION, finished_tables
from assets.study import Study
from resources.errors import StoreError
from resources.home import Home, dagster_address
from resources.store import content_hash

FOLDER = "all-studies"
"""Of the page, in the home's reports; a hyphen, so that no study can have the name."""

CODE_VERSION = "1"


def benchmark_report(studies: Sequence[Study]) -> dg.AssetsDefinition:
    """Fig. 6 of all data sets side by side, and what each says of the estimate."""

    @dg.asset(
        key="benchmark_report",
        deps=[
            dg.AssetKey([study.name, stage.name])
            for study in studies
            for stage in (TRANSFER_CORRELATION, HARDNESS_CORRELATION)
        ],
        group_name="across_studies",
        description="Hardness against error for all data sets side by side (Fig. 6), and how well conditional entropy "
        "predicts transfer in each.",
        kinds={"plotly", "html"},
        owners=["team:transferability"],
        code_version=CODE_VERSION,
    )
    def body(
        context: dg.AssetExecutionContext, config: StageConfig, home: Home
    ) -> dg.MaterializeResult[None]:
        del config  # the page is cheap: it is made whenever it is asked for
        return _write(context, studies, home)

    return body


def _write(
    context: dg.AssetExecutionContext, studies: Sequence[Study], home: Home
) -> dg.MaterializeResult[None]:
    from assets.reports.facts_of_study import study_facts  # matplotlib and plotly load only here
    from assets.reports.publish import copy_light, write_benchmark

    finished = []
    for study in studies:
        if home.store.manifest(study.name, "hardness_correlation", None) is None:
            continue
        tables = finished_tables(study, home)
        labels = home.store.read_table(study.name, "labels", [None])
        finished.append((study_facts(study, home, labels, tables.get("source_models"), None), tables))
    if not finished:
        raise StoreError("no study has run to its report yet; `transferability run digits` takes minutes")
    tags = {
        "dagster/run_id": context.run.run_id,
        "dagster/run_url": f"{dagster_address()}/runs/{context.run.run_id}",
        "dagster/asset_key": "benchmark_report",
    }
    with home.tracking.run("across_studies", "benchmark_report", tags) as tracked:
        links = {facts.study: os.path.join("..", facts.study, "index.html") for facts, _ in finished}  # noqa: PTH118
        written = write_benchmark(home.reports / FOLDER, finished, links=links)
        tracked.metrics({"studies": len(finished)})
        with tempfile.TemporaryDirectory() as light:
            copy_light(written, Path(light))
            tracked.artifact(Path(light), "report")
    version = content_hash({f.study: [str(t[n].hash_rows().sum()) for n in sorted(t)] for f, t in finished})
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version[:32]),
        metadata={
            "page": dg.MetadataValue.path(str(written.index)),
            **({"report": dg.MetadataValue.url(link)} if (link := tracked.page("report/index.html")) else {}),
            "studies": len(finished),
            "mlflow_run": dg.MetadataValue.url(tracked.url) if tracked.url else "not tracked",
        },
    )
