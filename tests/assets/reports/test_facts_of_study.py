"""What the page says of split, seeds and resampling is what applies, also where the study leaves it to the defaults."""

from pathlib import Path

import polars as pl
import pytest

from assets.reports.correlations import RESAMPLES
from assets.reports.facts_of_study import study_facts
from assets.reports.page import fact_rows
from assets.study import open_study
from resources.home import Home

LABELS = pl.DataFrame({"split": ["train", "train", "test"]})
MODELS = pl.DataFrame({"task": ["even"], "device": ["cpu"]})
HASHED = "chosen by a seeded hash of each image's"


def shown(dataset, home: Home, folder: Path, models=None, **changes) -> dict[str, str]:
    (folder / "labels.csv").write_text("picture,split,who,a,b\n1.png,train,x,0,1\n2.png,test,y,1,0\n")
    study = open_study("given", {"dataset": dataset, **changes}, folder)
    return dict(fact_rows(study_facts(study, home, LABELS, models, None)))


def table(**options):
    return {"reader": "table", "options": {"table": "labels.csv", "tasks": ["a", "b"], **options}}


@pytest.mark.parametrize(
    ("dataset", "rule", "seed"),
    [
        ({"reader": "digits"}, f"30 % of the images of each digit are test, {HASHED} number", 0),
        (
            {"reader": "digits", "options": {"test_fraction": 0.125, "seed": 7}},
            f"12.5 % of the images of each digit are test, {HASHED} number",
            7,
        ),
        ({"reader": "awa2"}, f"10 % of the images of each class are test, {HASHED} path", 0),
        ({"reader": "celeba"}, "official partition: 0 and 1 are train, 2 is test", None),
        ({"reader": "cub"}, "official split of train_test_split.txt", None),
        (table(split_column="split"), "as column “split” of the table says", None),
        (table(), f"30 % are test, {HASHED} number", 0),
        (table(image_column="picture"), f"30 % are test, {HASHED} path", 0),
        (table(stratify_by="who"), f"30 % of the images of each who are test, {HASHED} number", 0),
        (
            table(group_by="who", seed=3),
            "30 % are test, chosen by a seeded hash of who, so that each stays on one side",
            3,
        ),
    ],
)
def test_split_and_its_seed_are_stated(dataset, rule, seed, home: Home, tmp_path: Path) -> None:
    facts = shown(dataset, home, tmp_path)
    assert facts["Split"] == rule
    assert (f"split {seed}" in facts["Seeds"]) == (seed is not None)
    assert ("split" in facts["Seeds"]) == (seed is not None)


def test_every_seed_and_number_of_resamples_is_stated(home: Home, tmp_path: Path) -> None:
    changes = {"recipe": {"seed": 5}, "uncertainty": {"seed": 4, "permutations": 30}}
    labels_alone = shown({"reader": "digits"}, home, tmp_path, **changes)
    assert labels_alone["Seeds"] == "split 0, shuffled labels 4"
    assert labels_alone["Resampling"] == "30 shuffles of the source's labels"
    trained = shown({"reader": "digits"}, home, tmp_path, MODELS, **changes)
    assert trained["Seeds"] == "split 0, shuffled labels 4, training 5, bootstrap over tasks 0"
    assert f"{RESAMPLES:,} bootstrap resamples of tasks" in trained["Resampling"]
