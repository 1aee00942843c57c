"""Writing a report: the page, its figures and its tables in one folder, which is never seen half-written."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import polars as pl
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from assets.reports.derive import Tables, with_report_tables
from assets.reports.facts import StudyFacts
from assets.reports.figures import hardness_scatter
from assets.reports.gallery import hardness_panel_of, study_figures
from assets.reports.page import Picture, render_benchmark, render_report
from resources.store import sweep, temporary_beside

PREVIEW_BYTES = 100_000

TRACKED_TABLE_BYTES = 1_000_000
"""Tables of this size and more stay beside the page: every run that is tracked keeps a copy of its own."""

LISTED = (
    "tasks", "label_values", "label_counts", "conditional_entropy", "hardness", "label_uncertainty",
    "source_models", "transfer", "bound", "transfer_correlation", "overall_correlation",
    "hardness_correlation", "best_sources", "target_ranking", "residuals", "sample_efficiency",
)  # fmt: skip
"""The tables that go beside the page as CSV; the label table of every image is not among them."""


@dataclass(frozen=True)
class WrittenReport:
    """Where a report lies and what to show of it elsewhere.

    Attributes:
        index: the page.
        previews: name of a figure → PNG of less than 100 kB.
        files: all files written, relative to the page's folder, in alphabetical order.
    """

    index: Path
    previews: dict[str, bytes]
    files: list[str]


def preview(png: bytes, *, limit: int = PREVIEW_BYTES) -> bytes:
    """A PNG made smaller than `limit` bytes, by a coarser raster and fewer colours as far as needed.

    Args:
        png: the picture.
        limit: bytes that the result stays below.
    """
    picture = Image.open(BytesIO(png)).convert("RGB")
    for width in (1000, 800, 600, 450, 300, 150):
        small = BytesIO()
        size = (min(width, picture.width), max(1, round(picture.height * min(1, width / picture.width))))
        picture.resize(size, Image.Resampling.LANCZOS).quantize(48).save(small, format="png", optimize=True)
        if small.tell() < limit:
            break
    return small.getvalue()


def write_figure(figure: Figure, stem: Path) -> bytes:
    """Write `stem`.png at 150 dots an inch, `stem`.svg and `stem`.pdf; the same figure gives the same bytes.

    Returns:
        The PNG.
    """
    png = BytesIO()
    figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    stem.with_suffix(".png").write_bytes(png.getvalue())
    with rc_context({"svg.hashsalt": "transferability"}):
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
    with rc_context({"pdf.fonttype": 42}):  # TrueType: publishers refuse Type 3
        figure.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
    return png.getvalue()


def write_csv(frame: pl.DataFrame, path: Path) -> None:
    """Write a table as CSV; NULL is an empty field."""
    frame.write_csv(path)


def replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a new folder and put it in the place of `folder`; whoever looks sees the old one or the new one.

    Args:
        folder: the folder to replace; it need not exist.
        fill: writes everything into the empty folder it is given; if it fails, `folder` stays as it was.
    """
    fresh, old = temporary_beside(folder), temporary_beside(folder)
    fresh.mkdir(parents=True)
    sweep(folder.parent.glob(f".{folder.name}.*.tmp"))
    try:
        fill(fresh)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)


def write_report(folder: Path, tables: Tables, facts: StudyFacts) -> WrittenReport:
    """Write a study's report: `index.html`, `figures/` (PNG, SVG and PDF) and `tables/` (CSV).

    Args:
        folder: where it goes; an earlier report there is replaced as a whole.
        tables: the study's tables by name, as for `render_report`.
        facts: what was measured on what.

    Returns:
        The page's path, small previews of the figures, and the files written.
    """
    tables = with_report_tables(tables)
    previews: dict[str, bytes] = {}

    def fill(fresh: Path) -> None:
        (fresh / "figures").mkdir()
        (fresh / "tables").mkdir()
        pictures = []
        for named in study_figures(tables):
            previews[named.name] = preview(write_figure(named.figure, fresh / "figures" / named.name))
            if named.in_page:
                pictures.append(
                    Picture(previews[named.name], named.caption, named.caption, section=named.section)
                )
        for name in LISTED:
            if name in tables and len(tables[name]):
                write_csv(tables[name], fresh / "tables" / f"{name}.csv")
        beside = sorted(path.relative_to(fresh).as_posix() for path in fresh.rglob("*.*") if path.is_file())
        html = render_report(tables, facts, pictures=pictures, files=beside)
        (fresh / "index.html").write_text(html, encoding="utf-8")

    replace_folder(folder, fill)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return WrittenReport(index=folder / "index.html", previews=previews, files=files)


def write_benchmark(
    folder: Path, studies: Sequence[tuple[StudyFacts, Tables]], *, links: Mapping[str, str] | None = None
) -> WrittenReport:
    """Write the page across studies: `index.html`, Fig. 6 of all studies side by side, and its table as CSV.

    Args:
        folder: where it goes; an earlier page there is replaced as a whole.
        studies: facts and tables of each study.
        links: study → address of its own page, relative to `folder`.

    Returns:
        The page's path, small previews of the figures, and the files written.
    """
    complete = [(facts, with_report_tables(tables)) for facts, tables in studies]
    previews: dict[str, bytes] = {}

    def fill(fresh: Path) -> None:
        panels = [hardness_panel_of(tables, title=facts.title) for facts, tables in complete]
        drawn = [panel for panel in panels if panel is not None]
        if drawn:
            previews["figure-6"] = preview(write_figure(hardness_scatter(drawn), fresh / "figure-6"))
        for name in ("overall_correlation", "hardness_correlation"):
            parts = [
                tables[name].select(pl.lit(facts.study).alias("study"), pl.all())
                for facts, tables in complete
            ]
            if parts:
                write_csv(pl.concat(parts), fresh / f"{name}.csv")
        beside = sorted(path.name for path in fresh.iterdir())
        html = render_benchmark(complete, links=links, files=beside)
        (fresh / "index.html").write_text(html, encoding="utf-8")

    replace_folder(folder, fill)
    return WrittenReport(folder / "index.html", previews, sorted(path.name for path in folder.iterdir()))


def copy_light(written: WrittenReport, into: Path) -> None:
    """Copy what is worth keeping of every run: the page, its tables below 1 MB, and small previews of the figures.

    Args:
        written: the report.
        into: an existing folder, which gets `index.html`, the tables where they lie beside the page, and `previews/`
            (PNG).
    """
    folder = written.index.parent
    tables = [name for name in written.files if name.endswith(".csv")]
    light = [name for name in tables if (folder / name).stat().st_size < TRACKED_TABLE_BYTES]
    for name in (written.index.name, *light):
        (into / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / name, into / name)
    if written.previews:
        (into / "previews").mkdir()
    for name, png in written.previews.items():
        (into / "previews" / f"{name}.png").write_bytes(png)
