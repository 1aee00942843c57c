"""The page in a real browser: it loads alone, reacts, reads by keyboard, and shows what the tables hold."""

import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import duckdb
import polars as pl
import pytest

from assets.reports.derive import with_report_tables
from assets.reports.facts import StudyFacts
from assets.reports.formatting import number
from assets.reports.publish import write_benchmark, write_report

pytestmark = pytest.mark.slow
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def tables(digits):
    renamed = {
        name: frame.with_columns(
            pl.col([c for c in ("task", "source", "target") if c in frame.columns]).replace({"is_3": EVIL})
        )
        for name, frame in digits.items()
    }
    return with_report_tables(renamed, resamples=100)


@pytest.fixture(scope="module")
def address(tables, tmp_path_factory):
    written = write_report(
        tmp_path_factory.mktemp("reports") / "digits", tables, StudyFacts("digits", "Digits")
    )
    return written.index.as_uri()


@pytest.fixture(scope="module")
def page(browser, address):
    """The loaded page; to the last test it must ask for nothing but itself and complain about nothing."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}") or dialog.dismiss())
    page.goto(address)
    page.wait_for_selector("html[data-charts=ready]", timeout=60_000)
    yield page
    outside = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    page.close()
    assert (outside, said) == ([], [])


def points(page):
    return page.evaluate(
        "(() => { const t = document.getElementById('scatter').data.at(-1); return [t.x, t.y]; })()"
    )


def caption(page):
    return page.inner_text("#scatter-caption")


def test_selector_changes_the_plot_and_prints_the_tables_r(page, tables):
    rows = tables["transfer_correlation"].filter(split="train")
    before = points(page)
    for source in ("even", "segment_a", EVIL):
        page.select_option("#source", label=source)
        r = rows.filter(source=source)["pearson_r"][0]
        assert caption(page).startswith(f"{source}: r = {number(r, 3)},")
        assert len(points(page)[0]) == 27
        assert points(page) != before
        before = points(page)


def test_the_printed_r_is_what_duckdb_finds_in_the_tables_beside_the_page(page, address):
    page.select_option("#source", label="prime")
    folder = Path(unquote(urlparse(address).path)).parent / "tables"
    ((r,),) = duckdb.execute(
        """SELECT corr(conditional_entropy, test_error) FROM read_csv($1) AS estimate JOIN read_csv($2) AS measured USING (source, target)
        WHERE split = 'train' AND source = 'prime'""",
        [str(folder / "conditional_entropy.csv"), str(folder / "transfer.csv")],
    ).fetchall()
    assert caption(page).startswith(f"prime: r = {number(r, 3)},")


def test_undefined_correlation_is_said_in_words(page):
    page.select_option("#source", label="digit")
    assert "No correlation: the source determines every target" in caption(page)


def test_buttons_step_through_the_sources(page):
    first = caption(page)
    page.click("#next")
    assert caption(page) != first
    page.click("#previous")
    assert caption(page) == first


def test_hovering_shows_the_targets_name(page):
    page.select_option("#source", label="even")
    page.locator("#scatter").scroll_into_view_if_needed()
    mark = page.locator("#scatter .scatterlayer .trace").last.locator("path.point").first.bounding_box()
    page.mouse.move(mark["x"] - 30, mark["y"] - 30)
    page.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2, steps=4)
    page.wait_for_selector("#scatter .hoverlayer .hovertext")
    name = page.locator("#scatter .hovertext").text_content()
    assert page.inner_text("#scatter-readout").split(":")[0] in name


def test_arrow_keys_read_the_points_out(page, tables):
    page.select_option("#source", label="even")
    page.focus("#scatter")
    seen = set()
    for _ in range(27):
        page.keyboard.press("ArrowRight")
        seen.add(page.inner_text("#scatter-readout").split(": H(Y|Z)")[0])
    assert seen == set(tables["transfer"].filter(source="even")["target"])


def test_heat_map_names_the_pair_and_its_numbers(page, tables):
    page.locator("#heat").scroll_into_view_if_needed()
    box = page.locator("#heat .heatmaplayer image").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.4)
    page.mouse.move(box["x"] + box["width"] * 0.42, box["y"] + box["height"] * 0.71, steps=5)
    page.wait_for_selector("#heat-tip:visible")
    source, target, value = re.match(
        r"(.+) → (.+): H\(Y\|Z\) = ([\d.]+) nats", page.inner_text("#heat-readout")
    ).groups()
    row = tables["conditional_entropy"].filter(split="train", source=source, target=target)
    assert value == f"{row['conditional_entropy'][0]:.3f}"
    assert page.inner_text("#heat-tip").startswith(f"{source} → {target}")


def test_heat_map_layers(page):
    for layer, text in (("entropy", "nats"), ("error", "%"), ("share", "tells nothing")):
        page.select_option("#layer", layer)
        assert text in page.inner_text("#ramp-high")


def column(page, table, index):
    rows = page.locator(f"#table-{table} tbody tr:visible")
    return [rows.nth(i).locator("th, td").nth(index).inner_text() for i in range(rows.count())]


def test_sorting_by_number_both_ways_with_undefined_last(page, tables):
    box = page.locator('[data-table="correlations"]')
    box.locator("[data-more]").click()
    head = box.locator("thead th").nth(3)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    rs = tables["transfer_correlation"].filter(split="train")["pearson_r"].drop_nulls().sort()
    assert column(page, "correlations", 3)[:-1] == [number(r, 3) for r in rs]
    head.locator("button").press("Enter")
    assert column(page, "correlations", 3)[:-1] == [number(r, 3) for r in rs.reverse()]
    assert "not defined" in column(page, "correlations", 3)[-1]


def test_filtering(page):
    page.fill('[data-table="hardness"] input', "segment")
    assert all("segment" in name for name in column(page, "hardness", 0))
    assert len(column(page, "hardness", 0)) == 7
    assert "7 of 29 rows" in page.inner_text('[data-table="hardness"] [data-count]')


def test_csv_download_holds_all_rows_and_full_numbers(page, tables):
    with page.expect_download() as download:
        page.click('[data-table="correlations"] [data-csv]')
    frame = pl.read_csv(download.value.path())
    expected = tables["transfer_correlation"].filter(split="train")
    assert sorted(frame["Source"]) == sorted(expected["source"])
    r = expected.filter(source="even")["pearson_r"][0]
    assert float(frame.filter(Source="even")["Pearson r"][0]) == pytest.approx(r, rel=1e-12)
    with page.expect_download() as download:
        page.click('[data-table="sources"] [data-csv]')
    names = {name.split("; ")[0].lstrip("'") for name in pl.read_csv(download.value.path())["Target"]}
    assert names == set(tables["transfer"]["target"])


def test_the_points_download_as_the_tables_have_them(page, tables):
    page.select_option("#source", label="even")
    page.click("#points summary")
    with page.expect_download() as download:
        page.click('[data-table="points"] [data-csv]')
    frame = pl.read_csv(download.value.path()).with_columns(pl.col("Target").str.strip_prefix("'"))
    expected = tables["conditional_entropy"].filter(split="train", source="even")
    expected = expected.join(tables["transfer"], on=["source", "target"])
    assert len(frame) == 27
    both = frame.join(expected, left_on="Target", right_on="target")
    assert len(both) == 27
    assert both["H(Y|Z), nats"].to_list() == both["conditional_entropy"].to_list(), "to the bit"
    assert both["Test error"].to_list() == both["test_error"].to_list(), "to the bit"


def test_a_script_as_name_is_shown_as_text(page):
    page.click('[data-table="sources"] [data-more]')
    assert EVIL in page.inner_text("#table-sources")
    page.select_option("#source", label=EVIL)
    page.focus("#scatter")
    page.select_option("#source", label="even")
    assert page.evaluate("[...document.scripts].filter((s) => s.textContent === 'alert(1)').length") == 0
    # Labels of the axes are cut to 22 characters.
    assert EVIL[:21] in "".join(page.locator("#heat .ytick text").all_text_contents())


def test_theme_switch_redraws(page):
    def ground():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    def ink():
        return page.evaluate("document.getElementById('scatter').layout.font.color")

    before = ground(), ink()
    page.click("#theme")
    assert ground() != before[0]
    assert ink() != before[1]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_sideways_scrolling_and_enough_contrast(browser, address, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.goto(address)
    page.wait_for_selector("html[data-charts=ready]", timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in ("body", ".lede", ".cards .detail", "nav a", "td.note"):
        ratio = page.evaluate(CONTRAST, selector)
        assert ratio >= 4.5, (selector, ratio)
    page.close()


CONTRAST = """(selector) => {
  const element = document.querySelector(selector);
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  let ground = element;
  while (parse(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const light = (c) => parse(c).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const [a, b] = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(light).sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""


def test_the_page_across_studies(browser, tables, tmp_path):
    facts = [StudyFacts("digits", "Digits"), StudyFacts("again", "Digits again")]
    written = write_benchmark(tmp_path / "all", [(fact, tables) for fact in facts])
    page = browser.new_page()
    page.goto(written.index.as_uri())
    page.wait_for_selector("html[data-charts=ready]", timeout=60_000)
    assert page.locator("#panels h3").all_inner_texts() == ["Digits", "Digits again"]
    r = tables["hardness_correlation"].filter(split="train", task_values=2)["pearson_r"][0]
    assert page.inner_text("#panel-1-caption").startswith(f"r = {number(r, 3)}")
    page.close()
