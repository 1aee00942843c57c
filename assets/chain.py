"""The chain: every stage in the order of the paper, and the assets of a study made from it."""

from collections.abc import Sequence

import dagster as dg

from assets.checks import check_asset
from assets.labels import checks as label_checks
from assets.labels.assets import LABEL_TABLE, LABELS, PIXELS
from assets.materialize import stage_asset
from assets.models.assets import EMBEDDING, SOURCE_MODEL
from assets.probes import checks as probe_checks
from assets.probes.assets import BOUND, TRANSFER
from assets.probes.sample_efficiency import SAMPLE_EFFICIENCY
from assets.reports.assets import HARDNESS_CORRELATION, LABEL_REPORT, REPORT, TRANSFER_CORRELATION
from assets.reports.benchmark import benchmark_report
from assets.stage import Stage
from assets.statistics import checks as statistics_checks
from assets.statistics.assets import (
    CONDITIONAL_ENTROPY,
    HARDNESS,
    JOINT_COUNTS,
    LABEL_COUNTS,
    LABEL_UNCERTAINTY,
)
from assets.study import Study

STAGES: tuple[Stage, ...] = (
    LABELS,
    LABEL_TABLE,
    LABEL_COUNTS,
    JOINT_COUNTS,
    CONDITIONAL_ENTROPY,
    HARDNESS,
    LABEL_UNCERTAINTY,
    LABEL_REPORT,
    PIXELS,
    SOURCE_MODEL,
    EMBEDDING,
    TRANSFER,
    BOUND,
    TRANSFER_CORRELATION,
    HARDNESS_CORRELATION,
    SAMPLE_EFFICIENCY,
    REPORT,
)

CHECKS = (*label_checks.CHECKS, *statistics_checks.CHECKS, *probe_checks.CHECKS)


def study_assets(study: Study) -> list[dg.AssetsDefinition]:
    """The assets of a study, one a stage."""
    return [stage_asset(stage, study) for stage in STAGES]


def study_checks(study: Study) -> list[dg.AssetChecksDefinition]:
    """The asset checks of a study, all blocking."""
    return [check_asset(check, study) for check in CHECKS]


def cross_study_assets(studies: Sequence[Study]) -> list[dg.AssetsDefinition]:
    """Assets that look at several studies at once."""
    return [benchmark_report(studies)]
