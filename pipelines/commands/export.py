"""`transferability export`: every table of a study as Parquet and CSV."""

import argparse
from pathlib import Path

from pipelines.studies import find_studies
from resources.errors import StoreError
from resources.home import Home
from resources.store import atomic_path


def main(options: argparse.Namespace) -> int:
    """Write `<table>.parquet` and `<table>.csv` for each table of the warehouse, each atomically.

    Raises:
        StoreError: if the study has no tables yet or the folder cannot be written.
    """
    home = Home.default()
    study = find_studies(home.folder, home.data).get(options.study)
    folder = Path(options.to)
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder}: is not a folder")
    with home.warehouse.reading(study.name) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main' ORDER BY table_name"
            ).fetchall()
            if name != "publications"
        ]
        for name in names:
            for suffix, form in (
                ("parquet", "FORMAT parquet, COMPRESSION zstd"),
                ("csv", "FORMAT csv, HEADER"),
            ):
                with atomic_path(folder / f"{name}.{suffix}") as temporary:
                    quoted = str(temporary).replace("'", "''")
                    connection.execute(f"COPY {name} TO '{quoted}' ({form})")
    print(f"{len(names)} tables written to {folder}")
    return 0
