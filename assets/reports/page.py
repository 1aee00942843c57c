"""The page of a study and the page across studies: self-contained HTML. Nothing is written to disk."""

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from assets.reports.certainty import (
    bound_sentences,
    bound_table,
    uncertainty_sentence,
    uncertainty_table,
)
from assets.reports.charts import chart_data, hardness_panel
from assets.reports.clustering import map_tasks, task_distances
from assets.reports.correlation_tables import correlation_table, overall_table, ranking_table
from assets.reports.derive import CERTAIN, Tables, main_group, main_split, with_report_tables
from assets.reports.facts import StudyFacts
from assets.reports.formatting import PageTable, count, percent
from assets.reports.page_tables import (
    benchmark_table,
    first_table,
    hardness_table,
    published_page_table,
    residual_table,
    sources_table,
)
from assets.reports.published import CELEBA_ATTRIBUTES
from assets.reports.summary import missing_stages, summarise
from assets.reports.table_one import table_one, wide_sources

SAFE_SCHEMES = ("http://", "https://", "file://")


@dataclass(frozen=True)
class Picture:
    """A PNG to show in the page, with the text that stands for it where it cannot be seen."""

    png: bytes
    alt: str
    caption: str
    section: str = "figures"


def embedded_json(value: Mapping[str, Any]) -> str:
    """JSON that can stand in a script element: no `<`, `>`, `&`; a number that is not finite is an error."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    return re.sub("[<>&\u2028\u2029]", lambda found: escapes[found[0]], text)


@cache
def _plotly() -> str:
    """Plotly's script, compressed: 2.0 MB in place of 4.8; the page unpacks it with the browser's gzip."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)).decode("ascii")


def breakable(text: str) -> Markup:
    """Escaped text whose lines may also break after the signs that join words in task names."""
    return Markup(re.sub(r"([=_/]|::)(?=[^\s=_/:])", r"\1<wbr>", str(escape(text))))  # noqa: S704


def files_by_stem(files: Sequence[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The files beside the page, each once with its forms: (`figures/figure-2`, [(`pdf`, address), …])."""
    found: dict[str, list[tuple[str, str]]] = {}
    for address in files:
        path = PurePosixPath(address)
        found.setdefault(str(path.with_suffix("")), []).append((path.suffix.lstrip("."), address))
    return list(found.items())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("assets.reports", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment


def _render(template: str, data: Mapping[str, Any], **context: object) -> str:
    page = resources.files("assets.reports") / "page"
    return (
        _environment()
        .get_template(template)
        .render(
            data=embedded_json(data),
            plotly=_plotly(),
            css=(page / "page.css").read_text("utf-8"),
            js=(page / "page.js").read_text("utf-8"),
            **context,
        )
    )


def _line(facts: StudyFacts, tables: Tables) -> str:
    """The line below the title: how much was looked at."""
    parts = [count(len(tables["tasks"]), "task")]
    if facts.n_images is not None:
        parts.append(count(facts.n_images, "image"))
    if facts.n_train is not None and facts.n_test is not None:
        parts.append(f"{facts.n_train:,} for training and {facts.n_test:,} for testing")
    left_out = f" {unreadable_words(facts)}." if facts.n_readable else ""
    return ", ".join(parts) + f". Estimates are counted on split “{main_split(tables)}”." + left_out


def unreadable_words(facts: StudyFacts) -> str:
    """How many images were left out because they could not be read, with both numbers of rows."""
    train, test = (facts.n_readable.get(name, 0) for name in ("train", "test"))
    unreadable = (facts.n_images or 0) - train - test
    return (
        f"{count(unreadable, 'image')} could not be read; what stands beside a measurement here, H(Y|Z) and hardness "
        f"included, is taken over the other {train:,} for training and {test:,} for testing, and the page of labels "
        "alone over all"
    )


def fact_rows(facts: StudyFacts) -> list[tuple[str, str]]:
    """What is known of how the numbers came about, as label and text; what is not known is left out."""
    listed = {
        "Seeds": ", ".join(f"{name} {seed}" for name, seed in facts.seeds.items()),
        "Resampling": ", ".join(f"{n:,} {what}" for what, n in facts.resamples.items()),
        "Recipe": ", ".join(
            f"{name} {value}" for name, value in facts.recipe.items() if value not in (None, [], ())
        ),
        "Versions": ", ".join(f"{name} {version}" for name, version in facts.versions.items()),
        "Seconds per stage": ", ".join(f"{name} {seconds:.1f}" for name, seconds in facts.seconds.items()),
    }
    rows = [
        ("Study", facts.study),
        ("Images", "" if facts.n_images is None else f"{facts.n_images:,}"),
        ("Training images", "" if facts.n_train is None else f"{facts.n_train:,}"),
        ("Test images", "" if facts.n_test is None else f"{facts.n_test:,}"),
        ("Unreadable images", unreadable_words(facts) if facts.n_readable else ""),
        ("Split", facts.split_rule),
        ("Seeds", listed["Seeds"]),
        ("Resampling", listed["Resampling"]),
        ("Recipe", listed["Recipe"]),
        ("Device", facts.device),
        ("Seconds per stage", listed["Seconds per stage"]),
        ("Versions", listed["Versions"]),
        ("Date", facts.date),
    ]
    return [(label, value) for label, value in rows if value]


def safe_links(links: Mapping[str, str]) -> list[tuple[str, str]]:
    """The links that a page may carry: http, https, file or a relative path, so that none is a script."""
    relative = (address for address in links.values() if ":" not in PurePosixPath(address).parts[0])
    allowed = set(relative) | {
        address for address in links.values() if address.lower().startswith(SAFE_SCHEMES)
    }
    return [(label, address) for label, address in links.items() if address in allowed]


def _says_nothing(rows: pl.DataFrame) -> bool:
    """Whether a Table 1 has no order to show: a source that determines every target, and nothing measured."""
    targets = rows.drop_nulls("target")
    measured = targets["dedicated_accuracy"].is_not_null() | targets["transferred_accuracy"].is_not_null()
    return not measured.any() and bool((targets["conditional_entropy"].abs() < CERTAIN).all())


def first_page_tables(tables: Tables) -> list[PageTable]:
    """Table 1 of every source that is wider than all targets; CelebA's beside the published one."""
    splits = tables["conditional_entropy"]["split"].unique().to_list()
    split = "all" if "all" in splits else main_split(tables)
    shown = []
    for number_of, source in enumerate(wide_sources(tables["tasks"]), 1):
        rows = table_one(
            tables["conditional_entropy"], tables["transfer"], tables["source_models"], tables["tasks"],
            source=source, split=split,
        )  # fmt: skip
        if len(rows) < 2 or _says_nothing(rows):
            continue
        if set(CELEBA_ATTRIBUTES) <= set(rows["target"]):
            shown.append(published_page_table(rows))
        if len(rows) > 11:
            shown.append(first_table(rows, source, number_of=number_of, ends=True))
        shown.append(first_table(rows, source, number_of=number_of))
    return shown


def _plane_note(tables: Tables) -> str:
    plane = map_tasks(*task_distances(tables["conditional_entropy"], main_split(tables)))
    if plane is None:
        return "There are too few different tasks for a map."
    return f"The plane shows {percent(plane.explained, 0)} of the squared distances; take it as a sketch."


def render_report(
    tables: Tables, facts: StudyFacts, *, pictures: Sequence[Picture] = (), files: Sequence[str] = ()
) -> str:
    """The page of one study.

    Args:
        tables: the study's tables by name (`with_report_tables` says which must be there); the report's own
            tables are taken as given and computed only where they are missing.
        facts: what was measured on what.
        pictures: figures to show in the page.
        files: relative addresses of the files that lie beside the page.

    Returns:
        HTML that needs no other file and no network.
    """
    tables = with_report_tables(tables)
    measured = bool(tables["transfer"]["test_error"].is_not_null().any())
    modelled = bool(tables["source_models"]["test_error"].is_not_null().any())
    return _render(
        "report.html.jinja",
        {**chart_data(tables), "values": main_group(tables)},
        facts=facts,
        fact_rows=fact_rows(facts),
        links=safe_links(facts.links),
        line=_line(facts, tables),
        summary=summarise(tables),
        missing=missing_stages(tables),
        measured=measured,
        modelled=modelled,
        sources_table=sources_table(tables),
        correlation_table=correlation_table(tables),
        overall_table=overall_table(tables),
        ranking_table=ranking_table(tables),
        hardness_table=hardness_table(tables),
        residual_table=residual_table(tables),
        bound_sentences=bound_sentences(tables),
        bound_table=bound_table(tables),
        uncertainty_sentence=uncertainty_sentence(tables),
        uncertainty_table=uncertainty_table(tables),
        first_tables=first_page_tables(tables),
        plane_note=_plane_note(tables),
        images=[
            {
                "data": base64.b64encode(picture.png).decode("ascii"),
                "alt": picture.alt,
                "caption": picture.caption,
                "section": picture.section,
            }
            for picture in pictures
        ],
        files=files_by_stem(files),
    )


def render_benchmark(
    studies: Sequence[tuple[StudyFacts, Tables]],
    *,
    links: Mapping[str, str] | None = None,
    files: Sequence[str] = (),
) -> str:
    """The page across studies: how well labels predict transfer and hardness on every data set, side by side.

    Args:
        studies: facts and tables of each study, in the order of the page.
        links: study → address of its own page.
        files: relative addresses of the files that lie beside the page.

    Returns:
        HTML that needs no other file and no network.
    """
    complete = [(facts, with_report_tables(tables)) for facts, tables in studies]
    panels = [
        {**hardness_panel(tables, main_group(tables)), "title": facts.title} for facts, tables in complete
    ]
    return _render(
        "benchmark.html.jinja",
        {"benchmark": [panel for panel in panels if panel["names"]]},
        date=max((facts.date for facts, _ in complete), default=""),
        overall=benchmark_table([(facts.title, tables) for facts, tables in complete]),
        studies=[
            {
                "facts": facts,
                "summary": summarise(tables),
                "link": dict(safe_links(links or {})).get(facts.study),
                "rows": fact_rows(facts),
            }
            for facts, tables in complete
        ],
        files=files_by_stem(files),
    )
