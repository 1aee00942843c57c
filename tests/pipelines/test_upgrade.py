"""A home folder that an older version of the project wrote: recognised, and brought up to date as a whole or not used."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from assets.study import Study
from pipelines.definitions import study_definitions
from pipelines.reconcile import Outcome, Request, reconcile
from resources.home import Home
from resources.store import content_hash


def bring_up_to_date(study: Study, home: Home, instance: dg.DagsterInstance) -> Outcome:
    definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
    return reconcile(study, home, definitions, instance, Request(only="statistics"))


def rows_of(home: Home) -> dict[str, Any]:
    with home.warehouse.reading("shapes") as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return {
            name: connection.execute(f"FROM {name}").fetchall() for name in names if name != "publications"
        }


def rewrite(manifest: Path, **changes: Any) -> None:
    """A manifest as another version would have written it, sound in itself."""
    fields = json.loads(manifest.read_bytes())
    del fields["content_hash"]
    fields |= changes
    fields["identity_hash"] = content_hash(fields["identity"])
    manifest.write_text(json.dumps({**fields, "content_hash": content_hash(fields)}))


@pytest.mark.slow
def test_a_home_of_an_older_version_is_made_again(
    made: Any, home: Home, instance: dg.DagsterInstance
) -> None:
    study, before = made.open(), rows_of(home)
    # The older version's hardness lacked a column and stood in a piece of its own shape.
    manifest = home.store.manifest_path("shapes", "hardness", None)
    piece = home.store.table_path("shapes", "hardness", None)
    identity = json.loads(manifest.read_bytes())["identity"]
    pl.read_parquet(piece).drop("n_values").write_parquet(piece)
    home.store.commit("shapes", "hardness", None, identity={**identity, "code": "0"}, paths=[piece])
    with duckdb.connect(home.warehouse.path("shapes")) as connection:
        connection.execute("ALTER TABLE hardness DROP COLUMN n_values")
        connection.execute("CREATE TABLE relic AS SELECT 1 AS n")
        connection.execute("UPDATE publications SET fingerprint = '0' WHERE table_name = 'schema_version'")
    outcome = bring_up_to_date(study, home, instance)
    assert not outcome.failed
    assert set(outcome.made) >= {"hardness"}
    assert rows_of(home) == before


@pytest.mark.slow
def test_manifests_of_another_format_are_not_read(
    made: Any, home: Home, instance: dg.DagsterInstance
) -> None:
    study, before = made.open(), rows_of(home)
    manifests = list((home.store.root / "shapes").rglob("*.manifest.json"))
    for manifest in manifests:
        rewrite(manifest, format=0)
    outcome = bring_up_to_date(study, home, instance)
    assert not outcome.failed
    assert sum(outcome.made.values()) == len(manifests)
    assert rows_of(home) == before
    assert bring_up_to_date(study, home, instance).nothing_to_do
