"""Sample efficiency: what it is measured with, and that a source that cannot be measured loses no other."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from PIL import Image
from scipy.stats import t
from sklearn.datasets import load_digits

from assets.labels.pixels import load_pixel_cache
from assets.models.learning_curve import dedicated_learning_curve
from assets.probes.sample_efficiency import SAMPLE_EFFICIENCY, with_intervals
from assets.settings import NetworkSettings
from assets.study import Study, open_study
from pipelines.definitions import study_definitions
from pipelines.reconcile import Outcome, Request, reconcile
from resources.home import Home

NETWORK = {"backbone": "shufflenet_v2_x0_5"}


def test_each_point_has_its_mean_and_students_interval() -> None:
    curves = pl.DataFrame(
        {
            "source": [None] * 3 + ["a"] * 4,
            "target": ["y"] * 7,
            "n_train": [10, 10, 10, 10, 10, 10, 20],
            "seed": [0, 1, 2, 0, 1, 2, 0],
            "test_accuracy": [0.5, 0.6, 0.7, 0.98, 0.99, 1.0, 0.8],
        },
        schema_overrides={"source": pl.String},
    )
    rows = with_intervals(curves)
    assert rows.select(curves.columns).equals(curves)
    low, high = t.interval(0.95, 2, loc=0.6, scale=np.std([0.5, 0.6, 0.7], ddof=1) / 3**0.5)
    assert rows.row(0, named=True)["mean_accuracy"] == pytest.approx(0.6)
    assert rows.row(1)[-2:] == pytest.approx((low, high))
    assert rows["ci_high"][3] == 1  # cut: an accuracy is at most 1
    assert rows.row(6)[-3:] == (0.8, None, None)


class Curves:
    """Eighty digits with two sources, of which `late` is constant in train; a home for the run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        self.home = Home(path=str(folder / "home"), mlflow_uri="http://127.0.0.1:9")
        (self.folder / "images").mkdir(parents=True)
        bunch = load_digits()
        digit = bunch.target[:80]
        for i, image in enumerate(bunch.images[:80]):
            Image.fromarray((image * 15).astype(np.uint8)).save(self.folder / "images" / f"{i:02}.png")
        train = np.arange(80) < 50
        columns = {"late": ~train & (digit == 1), "even": digit % 2 == 0, "small": digit < 5}
        pl.DataFrame(
            {
                "image": [f"{i:02}.png" for i in range(80)],
                "split": np.where(train, "train", "test"),
                **{name: np.where(column, "yes", "no") for name, column in columns.items()},
            }
        ).write_csv(self.folder / "labels.csv")

    def study(self, **chosen: Any) -> Study:
        options = {
            "table": "labels.csv", "image_column": "image", "image_folder": "images", "split_column": "split",
            "tasks": ["late", "even", "small"],
        }  # fmt: skip
        content = {
            "dataset": {"reader": "table", "options": options},
            "sources": ["late", "even"],
            "recipe": {"image_size": 8, "epochs": 1, "batch_size": 16},
            "network": NETWORK,
            "networks": {"small": NETWORK | {"weights": str(self.folder / "absent.safetensors")}},
            "uncertainty": {"permutations": 20},
            "sample_efficiency": {"sizes": 2, "seeds": [0, 1], "targets": ["small"], **chosen},
        }
        return open_study("curves", content, self.folder)

    def run(self, *, force: bool = False, **chosen: Any) -> Outcome:
        study = self.study(**chosen)
        definitions = dg.Definitions.merge(
            study_definitions(study), dg.Definitions(resources={"home": self.home})
        )
        request = Request(only="sample-efficiency", force=force)
        return reconcile(study, self.home, definitions, dg.DagsterInstance.ephemeral(), request)

    def rows(self) -> pl.DataFrame:
        return self.home.store.read_table("curves", "sample_efficiency", [None])


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> Curves:
    made = Curves(tmp_path_factory.mktemp("curves"))
    outcome = made.run(sources=["late", "even"])
    assert not outcome.failed
    return made


def test_a_source_that_is_constant_in_train_is_left_out_and_named(curves: Curves) -> None:
    rows = curves.rows()
    assert rows.select("source", "n_train", "seed").rows() == [
        *[("even", n, seed) for seed in (0, 1) for n in (20, 50)],
        *[(None, n, seed) for seed in (0, 1) for n in (20, 50)],
    ]
    assert (rows["ci_low"] <= rows["mean_accuracy"]).all()
    assert (rows["mean_accuracy"] <= rows["ci_high"]).all()
    manifest = curves.home.store.manifest("curves", "sample_efficiency", None)
    assert manifest is not None
    assert "constant in train and so without an embedding: late" in manifest.recorded["facts"]["note"]


def test_an_untrainable_source_still_counts_its_rows(curves: Curves) -> None:
    """Among the 30 test rows, those that show a one carry the value that train never showed."""
    (row,) = curves.home.store.read_table("curves", "source_models", ["late"]).rows(named=True)
    ones = int((load_digits().target[50:80] == 1).sum())
    assert (row["n_train"], row["n_test"], row["n_unseen"], row["n_classes"]) == (50, 30, ones, 1)
    assert ones > 0
    assert "constant in train" in row["undefined_because"]


def test_the_first_source_is_the_first_that_has_an_embedding(curves: Curves) -> None:
    assert not curves.run().failed
    assert set(curves.rows()["source"]) == {"even", None}


def test_dedicated_networks_start_from_scratch(curves: Curves) -> None:
    """`small` has weights to start from as a source, which are not even there: here they are not looked at."""
    found = curves.rows().filter(pl.col("source").is_null())["test_accuracy"].to_list()
    study, settings = curves.study(), NetworkSettings(**NETWORK)
    labels = curves.home.store.read_table("curves", "labels", [None])
    pixels = load_pixel_cache(curves.home.store.path("curves", "pixels", None, ".npy")).pixels
    train = (labels["split"] == "train").to_numpy()
    direct = dedicated_learning_curve(
        pixels, labels["small"].to_numpy(), train, ~train, study.settings.recipe, settings, [20, 50], [0, 1],
        device="cpu",
    )  # fmt: skip
    assert found == direct["test_accuracy"].to_list()
    given = curves.study().network("small").weights
    assert given is not None
    assert given not in str(SAMPLE_EFFICIENCY.settings(study, None))


def test_an_embedding_that_is_not_its_manifests_is_refused(curves: Curves) -> None:
    path = curves.home.store.path("curves", "embedding", "even", ".safetensors")
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(content[:-4] + b"\0\0\0\1")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # else it would be seen, and made again
    for piece in curves.home.folder.glob("store/curves/sample_efficiency/*"):
        piece.unlink()
    try:
        failed = curves.run().failed
    finally:
        path.write_bytes(content)
    assert "embedding/even.safetensors: does not match its manifest" in str(failed)
