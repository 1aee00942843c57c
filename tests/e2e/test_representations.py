"""Sources that are brought along, and sources that fail, through the command line as a user runs it."""

import json
import os
import subprocess
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.command_line import command_line
from tests.onnx_files import onnx_network

N = 60
UNREADABLE = 12
STUDY = """
dataset:
  reader: table
  options: {table: labels.csv, image_column: image, image_folder: images, split_column: split,
            tasks: [shade, corner, late, third, fifth]}
sources: [shade, corner, late]
networks:
  corner: {weights: absent.safetensors}
representations:
  features: {file: features.npy}
  net: {file: net.onnx, task: third}
recipe: {image_size: 16, epochs: 1, batch_size: 16}
tolerate_unreadable_images: 1
uncertainty: {permutations: 20}
"""


class Home:
    """A home folder with a study of sixty small images, and the command line run in it."""

    def __init__(self, path: Path) -> None:
        self.path, self.data = path, path / "data"
        (path / "studies").mkdir(parents=True)
        (self.data / "images").mkdir(parents=True)
        (path / "studies" / "mine.yaml").write_text(STUDY)
        draw = np.random.default_rng(0)
        for i in range(N):
            noise = draw.integers(0, 80, (16, 16, 3), dtype=np.uint8) + 100 * (i % 2)
            Image.fromarray(noise.astype(np.uint8)).save(self.data / "images" / f"{i:02}.png")
        (self.data / "images" / f"{UNREADABLE:02}.png").write_bytes(b"not a picture")
        split = ["train" if i < 40 else "test" for i in range(N)]
        pl.DataFrame(
            {
                "image": [f"{i:02}.png" for i in range(N)],
                "split": split,
                "shade": ["dark" if i % 2 == 0 else "light" for i in range(N)],
                "corner": ["a" if i % 7 < 3 else "b" for i in range(N)],
                # Constant in train, but for the image that cannot be read.
                "late": ["no" if i < 50 and i != UNREADABLE else "yes" for i in range(N)],
                "third": ["yes" if i % 3 == 0 else "no" for i in range(N)],
                "fifth": ["yes" if i % 5 == 0 else "no" for i in range(N)],
            }
        ).write_csv(self.data / "labels.csv")

    def run(self) -> "subprocess.CompletedProcess[str]":
        return command_line(self.path, threads=2)("run", "mine")

    def manifests(self) -> dict[str, str]:
        found = self.path.glob("store/mine/**/*.manifest.json")
        return {
            f"{p.parent.name}/{p.name.split('.')[0]}": json.loads(p.read_text())["created"] for p in found
        }

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with duckdb.connect(self.path / "warehouse" / "mine.duckdb", read_only=True) as connection:
            return connection.execute(sql).fetchall()


@pytest.mark.slow
def test_failing_sources_are_named_and_lose_no_other_and_brought_ones_are_probed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    features = np.random.default_rng(1).normal(size=(N, 5))
    features[:, 0] = np.arange(N) % 3 == 0
    holes = features.copy()
    holes[7, 2] = np.nan
    np.save(home.data / "features.npy", holes)
    (home.data / "net.onnx").write_bytes(onnx_network("Relu", ["n", 3, 8, 8]))

    done = home.run()
    assert done.returncode == 1
    failed = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert any(
        "[corner]" in line and "absent.safetensors: cannot be read (No such file" in line for line in failed
    )
    assert any("features.npy: row 7 holds something that is not a finite float32" in line for line in failed)
    assert "Traceback" not in done.stderr
    made = home.manifests()
    assert {
        "source_model/shade",
        "source_model/late",
        "embedding/net",
        "transfer/shade",
        "transfer/net",
    } <= set(made)
    assert "embedding/features" not in made
    assert "source_model/corner" not in made
    (late,) = home.rows(
        "SELECT epochs, test_error, n_unseen, undefined_because FROM source_models WHERE task = 'late'"
    )
    assert late[:3] == (0, None, 10)
    assert "constant in train" in str(late[3])

    # What was wrong is mended: only that and what follows from it is made.
    np.save(home.data / "features.npy", features)
    study = home.path / "studies" / "mine.yaml"
    study.write_text(STUDY.replace("{weights: absent.safetensors}", "{backbone: resnet18}"))
    done = home.run()
    assert done.returncode == 0, done.stderr
    assert {path for path, created in home.manifests().items() if made.get(path) == created} >= {
        "source_model/shade", "embedding/shade", "transfer/shade", "embedding/net", "transfer/net",
    }  # fmt: skip
    _check_tables(home)
    embedding = load_file(home.path / "store" / "mine" / "embedding" / "features.safetensors")["embedding"]
    np.testing.assert_array_equal(embedding, features.astype(np.float32))
    assert "everything is up to date" in home.run().stdout

    # The file's content is part of the identity: touched it is the same, changed it is made again.
    before = home.manifests()
    os.utime(home.data / "features.npy")
    assert "everything is up to date" in home.run().stdout
    np.save(home.data / "features.npy", features[:, :4])
    assert home.run().returncode == 0
    remade = {path for path, created in home.manifests().items() if before[path] != created}
    assert {path for path in remade if not path.endswith("/_")} == {
        f"{stage}/features" for stage in ("source_model", "embedding", "transfer", "bound")
    }


def _check_tables(home: Home) -> None:
    """Every pair of a source and another task, the same in both tables, and a reason wherever a number is missing."""
    sources = ["shade", "corner", "late", "features", "net"]
    targets = ["shade", "corner", "late", "third", "fifth"]
    pairs = {(s, t) for s in sources for t in targets if s != t}
    assert set(home.rows("SELECT source, target FROM transfer")) == pairs
    assert set(home.rows("SELECT source, target FROM conditional_entropy WHERE split = 'train'")) == pairs
    assert set(home.rows("SELECT source, target FROM bound")) == pairs
    assert home.rows("SELECT DISTINCT n_train, n_test FROM transfer") == [(39, 20)]
    assert home.rows("SELECT DISTINCT n_train, n_test FROM source_models WHERE task = 'late'") == [(39, 20)]
    nulls = "conditional_entropy IS NULL, undefined_because LIKE '%no labels to condition on%'"
    asked = f"SELECT DISTINCT {nulls} FROM conditional_entropy WHERE source = 'features'"
    assert home.rows(asked) == [(True, True)]
    assert (
        home.rows("SELECT equivalent FROM conditional_entropy WHERE source = 'net' AND target = 'third'")
        == [(True,)] * 3
    )
    brought = "task IN ('features', 'net')"
    assert home.rows(
        f"SELECT DISTINCT train_log_likelihood, test_error, undefined_because LIKE '%brought along%' FROM source_models WHERE {brought}"
    ) == [(None, None, True)]
    assert home.rows(
        "SELECT DISTINCT slack, undefined_because LIKE '%no l_Z%' FROM bound WHERE source IN ('features', 'net')"
    ) == [(None, True)]
    assert home.rows(
        "SELECT test_error < 0.1 FROM transfer WHERE source = 'features' AND target = 'third'"
    ) == [(True,)]
    ((reason,),) = home.rows(
        "SELECT undefined_because FROM transfer_correlation WHERE source = 'features' AND split = 'train' AND target_values = 2"
    )
    assert "no labels to condition on" in str(reason)
