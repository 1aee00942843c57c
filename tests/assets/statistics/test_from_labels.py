"""label_statistics against a second, slow way of computing everything: Python counting and math.fsum."""

import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from assets.statistics import counts as counts_module
from assets.statistics import label_statistics
from assets.statistics.from_counts import conditional_entropy_from_counts, hardness_from_counts
from resources.errors import DataError


def random_labels(seed: int, rows: int = 400, missing: float = 0.15) -> pl.DataFrame:
    """Binary, multi-class, text, wide and constant tasks, missing labels, a split with gaps."""
    rng = np.random.default_rng(seed)

    def column(values: list) -> list:
        return [None if rng.random() < missing else v for v in values]

    return pl.DataFrame(
        {
            "image_id": np.arange(rows),
            "a": column(rng.integers(0, 2, rows).tolist()),
            "b": rng.integers(0, 2, rows),
            "words": column(rng.choice(["red", "green", "blue"], rows).tolist()),
            "wide": column(rng.integers(1, 120, rows).tolist()),
            "minus": column(rng.choice([-1, 1], rows).tolist()),
            "flag": column((rng.random(rows) < 0.3).tolist()),
            "gaps": column(rng.choice([0, 2, 5], rows).tolist()),
            "names": column([f"n{v:03d}" for v in rng.integers(0, 90, rows)]),
            "constant": pl.Series([1] * rows),
            "empty": pl.Series([None] * rows, dtype=pl.Int64),
            "split": rng.choice(["train", "test", None], rows, p=[0.6, 0.3, 0.1]).tolist(),
        },
        schema_overrides={"split": pl.String},
    )


TASKS = ["a", "b", "words", "wide", "minus", "flag", "gaps", "names", "constant", "empty"]


def shown(frame: pl.DataFrame, task: str) -> list:
    """The labels of a task as the codes the tables are to show, by the documented rule."""
    values = frame[task].to_list()
    known = sorted({v for v in values if v is not None})
    if known and not isinstance(known[0], str) and (min(known) == 0 or set(known) <= {0, 1}):
        return [None if v is None else int(v) for v in values]
    return [None if v is None else known.index(v) for v in values]


def fsum_entropy(cells: Counter) -> float:
    n = sum(cells.values())
    return math.fsum(c / n * math.log(n / c) for c in cells.values())


def expected_pair(z: list, y: list) -> tuple[int, float | None, float | None, Counter]:
    both = [(a, b) for a, b in zip(z, y, strict=True) if a is not None and b is not None]
    if not both:
        return 0, None, None, Counter()
    cells, margin = Counter(both), Counter(a for a, _ in both)
    n = len(both)
    ce = math.fsum(c / n * math.log(margin[a] / c) for (a, _), c in cells.items())
    return n, ce, fsum_entropy(Counter(b for _, b in both)), cells


@pytest.mark.parametrize("seed", [0, 1])
def test_every_number_equals_exact_counts_summed_with_fsum(seed: int) -> None:
    labels = random_labels(seed)
    result = label_statistics(labels, split_column="split")
    parts = {
        "train": labels.filter(pl.col("split") == "train"),
        "test": labels.filter(pl.col("split") == "test"),
        "all": labels,
    }
    columns = {t: shown(labels, t) for t in TASKS}
    split = labels["split"].to_list()
    coded = {
        name: {t: [v for v, s in zip(columns[t], split, strict=True) if name in ("all", s)] for t in TASKS}
        for name in parts
    }
    ce = result.conditional_entropy
    expected_keys = [(s, z, y) for s in parts for z in TASKS for y in TASKS if z != y]
    assert list(ce.select("split", "source", "target").iter_rows()) == expected_keys
    cells_found = {
        key: Counter({(a, b): n for a, b, n in group.select("source_value", "target_value", "n").iter_rows()})
        for key, group in result.joint_counts.group_by("split", "source", "target")
    }
    for row in ce.iter_rows(named=True):
        key = (row["split"], row["source"], row["target"])
        n, value, target_entropy, cells = expected_pair(coded[key[0]][key[1]], coded[key[0]][key[2]])
        assert row["n"] == n
        assert cells_found.get(key, Counter()) == cells
        assert (row["undefined_because"] is None) == (n > 0)
        if n == 0:
            assert row["conditional_entropy"] is None
            assert row["target_entropy"] is None
            continue
        assert row["conditional_entropy"] == pytest.approx(value, abs=1e-12)
        assert row["target_entropy"] == pytest.approx(target_entropy, abs=1e-12)
        assert row["joint_entropy"] == pytest.approx(fsum_entropy(cells), abs=1e-12)
    order = result.joint_counts.with_columns(
        pl.col("split").replace_strict({"train": 0, "test": 1, "all": 2}),
        pl.col("source", "target").replace_strict({t: i for i, t in enumerate(TASKS)}),
    ).drop("n")
    assert order.equals(order.sort(order.columns))
    for row in result.hardness.iter_rows(named=True):
        known = Counter(v for v in coded[row["split"]][row["task"]] if v is not None)
        assert row["n"] == sum(known.values())
        assert row["n_values"] == len(known)
        if known:
            assert row["hardness"] == pytest.approx(fsum_entropy(known), abs=1e-12)
        else:
            assert row["hardness"] is None
            assert "label" in row["undefined_because"]
    for row in result.label_counts.iter_rows(named=True):
        assert row["n"] == coded[row["split"]][row["task"]].count(row["value"])


def test_codes_of_every_kind_of_column() -> None:
    values = label_statistics(random_labels(0)).label_values
    named = {t: dict(g.select("value", "name").iter_rows()) for (t,), g in values.group_by("task")}
    assert named["minus"] == {0: "-1", 1: "1"}
    assert named["words"] == {0: "blue", 1: "green", 2: "red"}
    assert named["flag"] == {0: "false", 1: "true"}
    assert named["gaps"] == {0: "0", 2: "2", 5: "5"}
    assert named["constant"] == {1: "1"}
    assert "empty" not in named


@pytest.mark.parametrize("piece_rows", [1024, 7919])
def test_frame_lazy_frame_and_file_agree_in_any_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_rows: int
) -> None:
    labels = random_labels(3, rows=20_000)
    whole = label_statistics(labels, split_column="split")
    labels.write_parquet(tmp_path / "labels.parquet", row_group_size=3000)
    monkeypatch.setattr(counts_module.PairCounter, "piece_rows", property(lambda _: piece_rows))
    for given in (labels, labels.lazy(), tmp_path / "labels.parquet", str(tmp_path / "labels.parquet")):
        other = label_statistics(given, split_column="split")
        for name in ("label_counts", "joint_counts", "conditional_entropy", "hardness", "label_values"):
            assert getattr(other, name).equals(getattr(whole, name)), name


def test_sources_and_targets_select_pairs_and_nothing_else() -> None:
    labels = random_labels(4)
    whole = label_statistics(labels, tasks=TASKS)
    part = label_statistics(labels, sources=["wide", "a"], targets=["b", "a", "names"])
    rows = list(part.conditional_entropy.select("source", "target").iter_rows())
    assert rows == [("a", "b"), ("a", "names"), ("wide", "a"), ("wide", "b"), ("wide", "names")]
    keys = ["split", "source", "target"]
    assert part.joint_counts.equals(
        whole.joint_counts.join(part.conditional_entropy.select(keys), on=keys, how="semi")
    )
    assert part.hardness["task"].to_list() == ["a", "b", "wide", "names"]


def test_no_pair_at_all_gives_empty_frames() -> None:
    result = label_statistics(random_labels(5), sources=["a"], targets=["a"])
    assert result.joint_counts.height == 0
    assert result.conditional_entropy.height == 0
    assert result.label_counts.height == 2


def test_columns_that_describe_rows_are_no_tasks() -> None:
    labels = random_labels(6).with_columns(image=pl.lit("x.jpg"), partition=0)
    assert label_statistics(labels).hardness["task"].to_list() == TASKS


def test_floats_are_labels_only_if_whole() -> None:
    whole = pl.DataFrame({"a": [0.0, 1.0, float("nan"), None], "b": [1, 0, 1, 0]})
    row = label_statistics(whole).conditional_entropy.row(0, named=True)
    assert (row["n"], row["conditional_entropy"]) == (2, 0.0)
    with pytest.raises(DataError, match=r"'a'.*decimals"):
        label_statistics(whole.with_columns(pl.Series("a", [0.5, 1.0, 2.0, 0.0])))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": ["a", "nowhere"]}, "'nowhere'"),
        ({"tasks": ["a", "a"]}, "twice"),
        ({"tasks": ["a", "b"], "sources": ["words"]}, "cannot be a source"),
        ({"split_column": "fold"}, "'fold'"),
        ({"tasks": []}, "no task"),
    ],
)
def test_a_wrong_name_is_refused_by_name(arguments: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        label_statistics(random_labels(7), **arguments)


def test_bad_input_is_refused_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no such file"):
        label_statistics(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("a,b\n1,0\n")
    with pytest.raises(DataError, match="not a Parquet file"):
        label_statistics(tmp_path / "text.parquet")
    with pytest.raises(DataError, match="called 'all'"):
        label_statistics(pl.DataFrame({"a": [0, 1], "split": ["all", "train"]}), split_column="split")
    with pytest.raises(DataError, match="List"):
        label_statistics(pl.DataFrame({"a": [[0], [1]]}))
    monkeypatch.setattr(counts_module, "MOST_CELLS", 1_000)
    with pytest.raises(DataError, match=r"'wide' has 1\d\d values"):
        label_statistics(random_labels(0))


def test_counts_as_tables_give_the_same_numbers() -> None:
    labels = random_labels(8)
    result = label_statistics(labels, tasks=TASKS, split_column="split")
    again = conditional_entropy_from_counts(
        result.joint_counts, splits=["train", "test", "all"], sources=TASKS, targets=TASKS
    )
    numbers = [c for c in again.columns if again[c].dtype == pl.Float64]
    assert again.drop(numbers).equals(result.conditional_entropy.drop(numbers))
    for name in numbers:
        difference = (again[name] - result.conditional_entropy[name]).abs().max()
        assert difference is not None
        assert difference < 1e-12
    hardness = hardness_from_counts(
        result.label_counts,
        splits=result.hardness["split"].unique(maintain_order=True).to_list(),
        tasks=result.hardness["task"].unique(maintain_order=True).to_list(),
    )
    assert (
        hardness.drop("hardness")
        .cast({"n_values": pl.Int64})
        .equals(result.hardness.drop("hardness").cast({"n_values": pl.Int64}))
    )
    assert hardness["hardness"].is_null().equals(result.hardness["hardness"].is_null())
    assert (hardness["hardness"] - result.hardness["hardness"]).abs().max() == pytest.approx(0, abs=1e-12)


def test_awa2_attributes_follow_from_the_class(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("awa2")
    classes = np.loadtxt(folder / "AwA2-labels.txt", dtype=int) - 1
    matrix = np.loadtxt(folder / "predicate-matrix-binary.txt", dtype=np.int8)
    lines = (folder / "predicates.txt").read_text().split("\n")
    attributes = [line.split()[1] for line in lines if line.strip()]
    table = pl.DataFrame({"class": classes, **{a: matrix[classes, i] for i, a in enumerate(attributes)}})
    label_statistics(table.head(100))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        result = label_statistics(table)
        times.append(time.perf_counter() - start)
    ce = result.conditional_entropy
    of_class = ce.filter(pl.col("source") == "class")
    assert of_class.height == 85
    assert set(of_class["conditional_entropy"]) == {0.0}
    assert result.hardness.row(0, named=True)["hardness"] == pytest.approx(3.785217, abs=5e-7)
    swims = {"swims", "water"}
    pair = ce.filter(pl.col("source").is_in(swims), pl.col("target").is_in(swims))
    assert pair["conditional_entropy"].to_list() == [0.0, 0.0]
    assert pair["equivalent"].all()
    assert min(times) < 1
