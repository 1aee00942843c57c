"""Asset checks: what a check is, and how it becomes Dagster's. What is checked is said beside the stages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import polars as pl

from assets.stage import Stage
from assets.study import Study
from resources.home import Home


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Args:
        passed: whether all is well.
        text: one line on what is wrong and where.
        values: the numbers that were compared, for the check's history.
        warning: whether a failure is only a warning, which stops nothing.
    """

    passed: bool
    text: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    warning: bool = False


@dataclass(frozen=True)
class Check:
    """A check of one stage's output.

    Args:
        stage: the stage.
        name: the check's name.
        description: what must hold.
        look: reads the tables and finds.
    """

    stage: Stage
    name: str
    description: str
    look: Callable[[Study, "TableReader"], Finding]


@dataclass(frozen=True)
class TableReader:
    """Reads the finished tables of a study for checks."""

    study: Study
    home: Home

    def __call__(self, table: str, stage: Stage | None = None) -> pl.DataFrame:
        """All rows of a table; for a stage that goes task by task, of its outputs that are there in today's columns."""
        store, name = self.home.store, self.study.name
        partitions: list[str | None] = [None]
        if stage is not None:
            partitions = [
                p
                for p in stage.outputs(self.study)
                if (manifest := store.manifest(name, stage.name, p)) is not None and stage.shaped(manifest)
            ]
        return store.read_table(name, table, partitions)


def check_asset(check: Check, study: Study) -> dg.AssetChecksDefinition:
    """Dagster's check: blocking, so that nothing of the same run builds on what is wrong."""

    @dg.asset_check(
        asset=dg.AssetKey([study.name, check.stage.name]),
        name=check.name,
        description=check.description,
        blocking=True,
    )
    def body(home: Home) -> dg.AssetCheckResult:
        found = check.look(study, TableReader(study, home))
        severity = dg.AssetCheckSeverity.WARN if found.warning else dg.AssetCheckSeverity.ERROR
        return dg.AssetCheckResult(
            passed=found.passed,
            severity=severity,
            description=found.text or None,
            metadata=dict(found.values),
        )

    return body
