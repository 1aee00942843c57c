"""A pair is probed again when, and only when, something that its probe looks at has changed."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from PIL import Image
from polars.testing import assert_frame_equal

from assets.checks import Finding, TableReader
from assets.probes.assets import BOUND, TRANSFER
from assets.probes.checks import probes_converged
from assets.probes.sample_efficiency import SAMPLE_EFFICIENCY
from assets.study import Study, open_study
from pipelines.definitions import study_definitions
from pipelines.reconcile import Request, reconcile
from pipelines.summary import summary_lines
from resources.home import Home
from tests.resources.datasets import official_formats

N = 60
NOWHERE = "http://127.0.0.1:9"
TASKS = ["shade", "third", "fifth", "seventh"]


class Pairs:
    """A study over sixty small images whose two sources are features; its probes take a second."""

    def __init__(self, folder: Path, home: Home) -> None:
        self.folder, self.home = folder / "data", home
        if not self.folder.exists():
            self._write_images_and_features()
        self.columns: dict[str, list[str | None]] = {
            "image": [f"{i:02}.png" for i in range(N)],
            "split": ["train" if i < 40 else "test" for i in range(N)],
            **{
                task: ["yes" if i % step == 0 else "no" for i in range(N)]
                for task, step in zip(TASKS, (2, 3, 5, 7), strict=True)
            },
        }
        self.columns["third"][50] = None
        self.settings: dict[str, Any] = {
            "representations": {
                "plain": {"file": "plain.npy"}, "of_shade": {"file": "of_shade.npy", "task": "shade"},
            },
        }  # fmt: skip

    def _write_images_and_features(self) -> None:
        (self.folder / "images").mkdir(parents=True)
        rng = np.random.default_rng(0)
        for i in range(N):
            image = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(image).save(self.folder / "images" / f"{i:02}.png")
        for name in ("plain", "of_shade"):
            np.save(self.folder / f"{name}.npy", rng.normal(size=(N, 6)).astype(np.float32))

    def study(self) -> Study:
        pl.DataFrame(self.columns).write_csv(self.folder / "labels.csv")
        options = {
            "table": "labels.csv", "image_column": "image", "image_folder": "images", "split_column": "split",
            "tasks": TASKS,
        }  # fmt: skip
        content = {
            "dataset": {"reader": "table", "options": options},
            "sources": [],
            "recipe": {"image_size": 8},
            "tolerate_unreadable_images": 3,
            "uncertainty": {"permutations": 20},
        }
        return open_study("pairs", content | self.settings, self.folder)

    def probe(self) -> set[tuple[str, str]]:
        """Bring the probes up to date; the pairs that were probed."""
        return probe(self.study(), self.home)

    def spoil(self, row: int) -> None:
        (self.folder / "images" / f"{row:02}.png").write_bytes(b"not a picture")


def pair_versions(study: Study, home: Home) -> dict[tuple[str, str], str]:
    found = {}
    for source in study.sources:
        manifest = home.store.manifest(study.name, "transfer", source)
        if manifest is not None:
            found |= {(source, target): v for target, v in manifest.recorded["pairs"].items()}
    return found


def probe(study: Study, home: Home) -> set[tuple[str, str]]:
    """Bring the probes of a study up to date; the pairs that were probed, as counted in the metadata too."""
    before, made = pair_versions(study, home), manifests(study, home)
    definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
    outcome = reconcile(study, home, definitions, dg.DagsterInstance.ephemeral(), Request(only="probes"))
    assert not outcome.failed
    moved = {pair for pair, version in pair_versions(study, home).items() if before.get(pair) != version}
    counted = {}
    for source in study.sources:
        manifest = home.store.manifest(study.name, "transfer", source)
        assert manifest is not None
        same = made.get(source) == manifest.created
        counted[source] = 0 if same else manifest.recorded["facts"]["pairs_probed"]
    assert counted == {source: sum(s == source for s, _ in moved) for source in study.sources}
    return moved


def manifests(study: Study, home: Home) -> dict[str, Any]:
    found = {source: home.store.manifest(study.name, "transfer", source) for source in study.sources}
    return {source: manifest.created for source, manifest in found.items() if manifest}


def assert_as_if_probed_at_once(pairs: Pairs) -> None:
    """The table is that of an empty home; probes do not depend on their batch, but for rounding."""
    study, other = pairs.study(), Home(path=str(pairs.home.folder.parent / "other"), mlflow_uri=NOWHERE)
    probe(study, other)
    found, expected = rows(study, pairs.home), rows(study, other)
    assert_frame_equal(found.drop("gradient_norm"), expected.drop("gradient_norm"), rel_tol=1e-3)


def rows(study: Study, home: Home) -> pl.DataFrame:
    return home.store.read_table(study.name, "transfer", list(study.sources))


EVERY = {(s, t) for s in ("plain", "of_shade") for t in TASKS}


@pytest.fixture(scope="module")
def _probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data and a home in which every pair has been probed."""
    folder = tmp_path_factory.mktemp("pairs")
    made = Pairs(folder, Home(path=str(folder / "home"), mlflow_uri=NOWHERE))
    assert made.probe() == EVERY
    assert made.probe() == set()
    return folder


@pytest.fixture
def pairs(_probed: Path, tmp_path: Path, home: Home) -> Pairs:
    """Every pair probed; files with their times are copies, for the test to change."""
    shutil.copytree(_probed, tmp_path, dirs_exist_ok=True)
    made = Pairs(tmp_path, home)
    assert made.probe() == set()
    return made


def test_a_train_image_that_cannot_be_read_any_more_concerns_every_pair(pairs: Pairs) -> None:
    pairs.spoil(3)
    assert pairs.probe() == EVERY
    assert rows(pairs.study(), pairs.home)["n_train"].unique().to_list() == [39]
    assert_as_if_probed_at_once(pairs)


def test_probes_are_solved_where_there_is_float64(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's MPS has none; a machine that says it has MPS, as this one then does, solves on its processor."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    pairs.spoil(3)
    assert pairs.probe() == EVERY


def test_a_test_image_that_cannot_be_read_concerns_the_targets_that_it_has_labels_of(pairs: Pairs) -> None:
    pairs.spoil(50)  # of no known label of `third`
    assert pairs.probe() == {pair for pair in EVERY if pair[1] != "third"}
    assert_as_if_probed_at_once(pairs)


def test_another_image_that_features_do_not_look_at_concerns_none(pairs: Pairs) -> None:
    Image.new("RGB", (8, 8), "red").save(pairs.folder / "images" / "04.png")
    assert pairs.probe() == set()


def test_another_split_concerns_every_pair(pairs: Pairs) -> None:
    pairs.columns["split"][45] = "train"
    assert pairs.probe() == EVERY


def test_a_label_that_becomes_known_concerns_its_targets_pairs(pairs: Pairs) -> None:
    pairs.columns["third"][50] = "yes"
    assert pairs.probe() == {pair for pair in EVERY if pair[1] == "third"}


def test_a_source_label_that_goes_missing_concerns_the_pairs_of_that_source(pairs: Pairs) -> None:
    """It changes the rows of l_Y; with `shade` as target, it is a label of every source's probe too."""
    pairs.columns["shade"][10] = None
    assert pairs.probe() == {pair for pair in EVERY if pair[0] == "of_shade" or pair[1] == "shade"}


def test_another_bound_on_memory_concerns_none(pairs: Pairs) -> None:
    before = manifests(pairs.study(), pairs.home)
    pairs.settings["probe"] = {"memory_gb": 0.5}
    assert pairs.probe() == set()
    assert manifests(pairs.study(), pairs.home) == before
    for stage in (TRANSFER, BOUND, SAMPLE_EFFICIENCY):
        assert "memory" not in str(stage.settings(pairs.study(), "plain"))


def test_one_tasks_labels_cost_the_pairs_that_involve_it_and_not_all(pairs: Pairs) -> None:
    """Of K = 4 trained tasks, its 3 pairs as a source and its 3 as a target; 6 pairs of others stay."""
    pairs.settings = {
        "sources": TASKS,
        "network": {"backbone": "shufflenet_v2_x0_5"},
        "recipe": {"image_size": 8, "epochs": 1, "batch_size": 16},
    }
    every = {(s, t) for s in TASKS for t in TASKS if s != t}
    assert pairs.probe() == every
    pairs.columns["third"][1] = "yes"
    assert pairs.probe() == {pair for pair in every if "third" in pair}
    told = {
        source: manifest.recorded["facts"]["pairs_probed"]
        for source in TASKS
        if (manifest := pairs.home.store.manifest("pairs", "transfer", source))
    }
    assert told == {"shade": 1, "third": 3, "fifth": 1, "seventh": 1}
    assert pairs.probe() == set()


def _celeba(folder: Path, probe: Mapping[str, Any]) -> Study:
    content = {
        "dataset": {"reader": "celeba"},
        "sources": [],
        "targets": ["Male", "Smiling", "Young"],
        "representations": {"features": {"file": "features.npy"}},
        "recipe": {"image_size": 8},
        "uncertainty": {"permutations": 20},
        "probe": dict(probe),
    }
    return open_study("faces", content, folder)


@pytest.mark.parametrize(("grid", "again"), [([0.001, 1.0], 3), ([], 0)])
def test_which_rows_validate_matters_where_c_is_chosen_on_them(
    grid: list[float], again: int, tmp_path: Path, home: Home
) -> None:
    folder = tmp_path / "data"
    official_formats.write_celeba(folder / "celeba")
    np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32))
    study = _celeba(folder, {"c_grid": grid})
    assert len(probe(study, home)) == 3
    table = home.store.read_table("faces", "labels", [None])
    official = folder / "celeba" / "list_eval_partition.txt"
    lines = official.read_text().splitlines()
    assert (lines[0][-1], lines[90][-1]) == ("0", "1")
    lines[0], lines[90] = lines[0][:-1] + "1", lines[90][:-1] + "0"  # both stay in train
    official.write_text("\n".join(lines) + "\n")
    assert len(probe(_celeba(folder, {"c_grid": grid}), home)) == again
    moved = home.store.read_table("faces", "labels", [None])
    assert (table["partition"] != moved["partition"]).sum() == 2
    assert table.drop("partition").equals(moved.drop("partition"))


def test_probes_short_of_their_tolerance_are_counted_warned_of_and_shown(pairs: Pairs) -> None:
    """No float64 gradient is as small as that."""
    study = pairs.study()
    assert probes_converged(study, TableReader(study, pairs.home)) == Finding(
        passed=True, values={"pairs": 8, "unconverged": 0}, warning=True
    )
    assert not any("probe.tolerance" in line for line in summary_lines(study, pairs.home))
    pairs.settings["probe"] = {"tolerance": 1e-40}
    assert pairs.probe() == EVERY  # and the run goes on
    study = pairs.study()
    short = rows(study, pairs.home).filter(~pl.col("converged"))
    assert 0 < len(short) <= 8
    found = probes_converged(study, TableReader(study, pairs.home))
    assert (found.passed, found.warning) == (False, True)
    assert found.text.startswith(f"{len(short)} of 8 probes stopped short of probe.tolerance 1e-40")
    told = [
        manifest.recorded["facts"]["pairs_unconverged"]
        for source in study.sources
        if (manifest := pairs.home.store.manifest("pairs", "transfer", source))
    ]
    assert sum(told) == len(short)
    (line,) = [line for line in summary_lines(study, pairs.home) if "probe.tolerance" in line]
    assert line.startswith(f"{len(short)} of 8 probes stopped short")
    assert " → " in line


def test_checks_pass_over_rows_of_an_older_shape(pairs: Pairs) -> None:
    """One source is made again in the UI, and the others still stand as an older version wrote them."""
    study, store = pairs.study(), pairs.home.store
    manifest = store.manifest("pairs", "transfer", "plain")
    assert manifest is not None
    piece = store.table_path("pairs", "transfer", "plain")
    pl.read_parquet(piece).drop("objective").write_parquet(piece)
    shapes = {"transfer": [*manifest.identity["tables"]["transfer"][:-1]]}
    store.commit(
        "pairs", "transfer", "plain", identity={**manifest.identity, "tables": shapes}, paths=[piece]
    )
    assert probes_converged(study, TableReader(study, pairs.home)).values["pairs"] == 4
