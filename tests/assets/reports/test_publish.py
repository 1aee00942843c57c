"""What lies beside the page, that an earlier report survives a failure, and clustering."""

from io import BytesIO

import numpy as np
import polars as pl
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from assets.reports import publish
from assets.reports.clustering import cluster_tasks, map_tasks, task_distances
from assets.reports.derive import with_report_tables
from assets.reports.facts import StudyFacts
from assets.reports.figures import hardness_scatter
from assets.reports.gallery import hardness_panel_of
from assets.reports.publish import (
    copy_light,
    preview,
    replace_folder,
    write_benchmark,
    write_figure,
    write_report,
)

FACTS = StudyFacts(study="digits", title="Digits")


@pytest.fixture(scope="module")
def small(digits_report):
    """A handful of the sources, so that figures are quick."""
    keep = ["digit", "even", "is_2", "segment_c", "prime"]
    tables = {
        name: frame.filter(pl.col("source").is_in(keep)) if "source" in frame.columns else frame
        for name, frame in digits_report.items()
    }
    curve = {"target": "even", "n_train": [10, 100, 10, 100], "seed": [0, 0, 1, 1]}
    tables["sample_efficiency"] = pl.DataFrame(
        {**curve, "source": [None, None, "is_2", "is_2"], "test_accuracy": [0.6, 0.8, 0.7, 0.9]}
    )
    return tables


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("reports") / "digits", small, FACTS)


def test_page_figures_and_tables_lie_together(written, small):
    for name in ("figure-2", "figure-3", "figure-4", "figure-5", "figure-6", "heat-map"):
        assert {f"figures/{name}{end}" for end in (".png", ".svg", ".pdf")} <= set(written.files)
        assert 0 < len(written.previews[name]) < 100_000
        assert Image.open(BytesIO(written.previews[name])).format == "PNG"
    again = pl.read_csv(written.index.parent / "tables" / "hardness_correlation.csv")
    expected = small["hardness_correlation"]["pearson_r"].to_list()
    assert again["pearson_r"].to_list() == pytest.approx(expected)
    html = written.index.read_text("utf-8")
    for file in written.files:
        assert file == "index.html" or f'href="{file}"' in html


def test_a_tracked_run_keeps_the_page_small_tables_and_previews(written, tmp_path, monkeypatch):
    sizes = {name: (written.index.parent / name).stat().st_size for name in written.files}
    tables = sorted((size, name) for name, size in sizes.items() if name.endswith(".csv"))
    monkeypatch.setattr(publish, "TRACKED_TABLE_BYTES", tables[-1][0])
    copy_light(written, tmp_path)
    kept = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {
        "index.html",
        *(name for _, name in tables[:-1]),
        *(f"previews/{name}.png" for name in written.previews),
    }
    assert (tmp_path / "index.html").read_bytes() == written.index.read_bytes()


def test_no_table_of_what_has_not_been_measured_lies_beside_a_page_of_labels(digits, tmp_path):
    tables = {name: digits[name] for name in ("tasks", "conditional_entropy", "hardness")}
    files = write_report(tmp_path / "labels", tables, FACTS).files
    assert "tables/best_sources.csv" in files
    empty = {"transfer", "source_models", "residuals", "hardness_correlation"}
    assert not {f"tables/{name}.csv" for name in empty} & set(files)


def test_figures_leave_no_trace_in_pyplot_and_are_the_same_twice(small, tmp_path):
    panel = hardness_panel_of(small, title="Digits")
    for name in ("first", "second"):
        write_figure(hardness_scatter([panel]), tmp_path / name)
    for suffix in (".png", ".svg", ".pdf"):
        assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()
    assert plt.get_fignums() == []


def test_noise_is_made_small_enough():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8))
    raw = BytesIO()
    noise.save(raw, "png")
    assert len(preview(raw.getvalue())) < 100_000


def test_a_failure_leaves_the_earlier_report_and_nothing_else(tmp_path):
    folder = tmp_path / "study"
    replace_folder(folder, lambda fresh: (fresh / "index.html").write_text("old") and None)

    def fail(fresh):
        (fresh / "index.html").write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        replace_folder(folder, fail)
    assert (folder / "index.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["study"]
    replace_folder(folder, lambda fresh: (fresh / "new.html").write_text("new") and None)
    assert [path.name for path in folder.iterdir()] == ["new.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_across_studies(small, tmp_path):
    found = write_benchmark(tmp_path / "all", [(FACTS, small), (StudyFacts("b", "B"), small)])
    assert found.files == ["figure-6.pdf", "figure-6.png", "figure-6.svg", "hardness_correlation.csv", "index.html",
                           "overall_correlation.csv"]  # fmt: skip
    html = found.index.read_text("utf-8")
    for file in found.files:
        assert file == "index.html" or f'href="{file}"' in html
    table = pl.read_csv(found.index.parent / "overall_correlation.csv")
    assert table["study"].unique(maintain_order=True).to_list() == ["digits", "b"]


def test_duplicates_are_at_distance_zero_and_neighbours_in_the_tree(digits):
    names, distances = task_distances(digits["conditional_entropy"], "train")
    place = {name: i for i, name in enumerate(names)}
    assert distances[place["is_2"], place["segment_c"]] == pytest.approx(0, abs=1e-9)
    assert (distances == distances.T).all()
    order = cluster_tasks(names, distances).names
    assert abs(order.index("is_2") - order.index("segment_c")) == 1
    assert sorted(order) == sorted(names)


def test_distance_is_the_normalised_variation_of_information():
    row = pl.DataFrame({"split": ["train"], "source": ["z"], "target": ["y"], "conditional_entropy": [0.3],
                        "joint_entropy": [0.9], "target_entropy": [0.5]})  # fmt: skip
    # H(Y|Z) = 0.3 and H(Z|Y) = 0.9 − 0.5.
    assert task_distances(row, "train")[1][0, 1] == pytest.approx((0.3 + 0.4) / 0.9)


def test_map_shows_distances_in_the_plane_as_they_are():
    corners = np.array([[0, 0], [3, 0], [0, 4.0]])
    distances = np.linalg.norm(corners[:, None] - corners[None], axis=2)
    found = map_tasks(["a", "b", "c"], distances)
    again = np.linalg.norm(found.points[:, None] - found.points[None], axis=2)
    assert again == pytest.approx(distances, abs=1e-9)
    assert found.explained == pytest.approx(1)
    assert map_tasks(["a", "b"], distances[:2, :2]) is None


def with_copies(tables: dict[str, pl.DataFrame], copies: int) -> dict[str, pl.DataFrame]:
    """The tables with copies of some tasks added; pairs of a task with its copy are left out."""
    names = tables["tasks"]["task"].to_list()
    base = {name: name for name in names} | {f"{name}, once more": name for name in names[1 : copies + 1]}
    added = pl.DataFrame({"new": list(base), "old": list(base.values())})
    result = {}
    for name, frame in tables.items():
        wide = frame
        for column in ("task", "source", "target"):
            if column in frame.columns:
                wide = (
                    wide.join(added, left_on=column, right_on="old")
                    .with_columns(pl.col("new").alias(column))
                    .drop("new")
                )  # fmt: skip
        result[name] = wide
    return result


@pytest.mark.slow
def test_a_page_of_forty_tasks_is_under_five_megabytes(digits, tmp_path):
    forty = with_report_tables(with_copies(digits, 12), resamples=20)
    assert len(forty["tasks"]) == 41
    written = write_report(tmp_path / "forty", forty, FACTS)
    assert written.index.stat().st_size < 5_000_000
