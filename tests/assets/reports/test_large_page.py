"""A page of as many tasks as CUB's stays usable: its size, the time in which it opens, and what it answers."""

import time

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_digits

from assets.reports.derive import with_report_tables
from assets.reports.facts import StudyFacts
from assets.reports.publish import WrittenReport, copy_light, write_report
from assets.statistics import label_statistics
from tests.assets.reports.conftest import least_squares, probe

pytestmark = pytest.mark.slow
TASKS = 312
PAGE_BYTES = 9_000_000
OPENS_IN = 15.0  # seconds until all charts are drawn, on one slow core
SWITCHES_IN = 3.0  # seconds from choosing another source until it is drawn


def pixel_tasks() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Real pixels of the digits, and whether single ones are brighter than a threshold: 312 binary tasks."""
    x = load_digits().data
    tasks = {
        f"has_pixel_pattern::row_{place // 8}_column_{place % 8}_brighter_than_{level}": (x[:, place] > level)
        for level in range(1, 16)
        for place in range(64)
    }
    varied = {name: y.astype(int) for name, y in tasks.items() if 0.02 < y.mean() < 0.98}
    return x / 16, dict(list(varied.items())[:TASKS])


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    x, labels = pixel_tasks()
    assert len(labels) == TASKS
    is_train = np.random.default_rng(0).permutation(len(x)) < 1257
    split = np.where(is_train, "train", "test")
    found = label_statistics(pl.DataFrame({"split": split, **labels}), split_column="split")
    train, test = ({name: y[rows] for name, y in labels.items()} for rows in (is_train, ~is_train))
    mix = np.random.default_rng(1).normal(size=(64, 6))
    errors = []
    for name, y in train.items():
        features = np.c_[x @ least_squares(x[is_train], np.eye(2)[y]), x @ mix]
        guessed = probe(features[is_train], train, features[~is_train])
        errors += [(name, other, float((guess != test[other]).mean())) for other, guess in guessed.items()]
    transfer = pl.DataFrame(errors, schema=["source", "target", "test_error"], orient="row").with_columns(
        constant_target=False, undefined_because=pl.lit(None, pl.String)
    )
    own = transfer.filter(pl.col("source") == pl.col("target"))
    return with_report_tables(
        {
            "tasks": pl.DataFrame(
                {"task": list(labels), "n_values": 2, "is_source": True, "is_target": True, "description": ""}
            ),
            "conditional_entropy": found.conditional_entropy,
            "hardness": found.hardness,
            "transfer": transfer.filter(pl.col("source") != pl.col("target")),
            "source_models": own.select(
                "test_error", "undefined_because", task="source", device=pl.lit("cpu")
            ),
        },
        resamples=20,
    )


@pytest.fixture(scope="module")
def written(tables, tmp_path_factory) -> WrittenReport:
    folder = tmp_path_factory.mktemp("reports") / "large"
    return write_report(folder, tables, StudyFacts("large", "Pixels of digits"))


def test_the_page_and_what_mlflow_keeps_of_it_stay_small(written, tmp_path):
    assert written.index.stat().st_size < PAGE_BYTES
    copy_light(written, tmp_path)
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    whole = sum((written.index.parent / name).stat().st_size for name in written.files)
    assert kept < PAGE_BYTES + 5_000_000
    assert whole > 3 * kept


def test_the_page_opens_and_answers_in_seconds_without_a_word_on_the_console(browser, written, tables):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    began = time.monotonic()
    page.goto(written.index.as_uri())
    page.wait_for_selector("html[data-charts=ready]", timeout=120_000)
    opened = time.monotonic() - began
    source = tables["tasks"]["task"][100]
    began = time.monotonic()
    page.select_option("#source", label=source)
    page.wait_for_function(
        "name => document.getElementById('scatter-caption').textContent.startsWith(name)", arg=source
    )
    points = page.evaluate("document.getElementById('scatter').data.at(-1).x.length")
    switched = time.monotonic() - began
    page.select_option("#layer", "error")
    page.fill('[data-table="hardness"] input', "row_3_column_4")
    rows = page.locator("#table-hardness tbody tr:visible").count()
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert points == TASKS - 1
    assert 0 < rows < TASKS
    assert wide <= 1280
    assert said == []
    assert opened < OPENS_IN
    assert switched < SWITCHES_IN
