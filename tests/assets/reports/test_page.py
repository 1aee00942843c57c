"""The page without a browser: numbers are the tables', names are escaped, and nothing undefined is printed raw."""

import base64
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from assets.reports.charts import chart_data, packed
from assets.reports.derive import main_group, with_report_tables
from assets.reports.facts import StudyFacts
from assets.reports.formatting import number, percent, signed
from assets.reports.page import embedded_json, render_benchmark, render_report, safe_links
from assets.reports.published import CELEBA_ATTRIBUTES
from assets.reports.summary import summarise

FACTS = StudyFacts(
    study="digits", title="Handwritten digits", n_images=1797, n_train=1257, n_test=540,
    split_rule="70/30, stratified by digit", seeds={"split": 0}, recipe={"epochs": 6}, versions={"torch": "2.9"},
    date="2026-01-02", device="CPU", seconds={"models": 12.3}, notes=["A note."],
    links={"MLflow run": "http://127.0.0.1:5000/#/x", "trap": "javascript:alert(1)"},
)  # fmt: skip
EVIL = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """The text a reader sees, the cells of every table, and all tags with their attributes."""

    def __init__(self, html):
        super().__init__()
        self.words, self.tables, self.tags, self.silent = [], {}, [], 0
        self.rows, self.in_cell = None, False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.silent += tag in ("script", "style")
        if tag == "table":
            self.rows = self.tables[dict(attrs)["id"]] = []
        if tag == "tr" and self.rows is not None:
            self.rows.append([])
        if tag in ("td", "th") and self.rows is not None:
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.silent -= tag in ("script", "style")
        if tag in ("td", "th"):
            self.in_cell = False
        if tag == "table":
            self.rows = None

    def handle_data(self, data):
        if self.silent:
            return
        self.words.append(data)
        if self.in_cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def html(digits_report):
    return render_report(digits_report, FACTS)


@pytest.fixture(scope="module")
def page(html):
    return Reader(html)


def data_of(html):
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])


def test_every_correlation_on_the_page_is_the_tables(page, digits_report):
    rows = {row[0]: row for row in page.tables["table-correlations"][1:]}
    table = digits_report["transfer_correlation"].filter(split="train")
    assert set(rows) == set(table["source"])
    for row in table.drop_nulls("pearson_r").iter_rows(named=True):
        shown = rows[row["source"]]
        assert shown[3] == number(row["pearson_r"], 3)
        assert shown[8] == number(row["spearman_r"])
        assert shown[10] == signed(row["difference"])
    assert "not defined: the source determines every target" in rows["digit"][3]


def test_headline_numbers_are_the_tables(page, digits_report):
    text = "".join(page.words)
    row = digits_report["overall_correlation"].filter(split="train").row(0, named=True)
    for name in ("median_r", "min_r", "max_r", "median_entropy_r", "within_target_r"):
        assert number(row[name]) in text
    assert f"{row['n_significant']} of {row['n_defined']}" in text
    hardness = digits_report["hardness_correlation"].filter(split="train", task_values=2)["pearson_r"][0]
    assert f"r = {number(hardness)}" in text


def test_hardness_rows_are_the_tables(page, digits_report):
    errors = dict(digits_report["source_models"].select("task", "test_error").iter_rows())
    rows = page.tables["table-hardness"][1:]
    assert len(rows) == 29
    for task, _, _, _, error in rows:
        assert error == percent(errors[task])


def test_matrices_are_the_tables(html, digits_report):
    data = data_of(html)
    n = len(data["tasks"])
    raw = np.frombuffer(base64.b64decode(data["entropy"]), "<f4").reshape(n, n)
    place = {name: i for i, name in enumerate(data["tasks"])}
    for row in (
        digits_report["conditional_entropy"].filter(split="train").sample(50, seed=1).iter_rows(named=True)
    ):
        assert raw[place[row["source"]], place[row["target"]]] == pytest.approx(
            row["conditional_entropy"], abs=1e-6
        )
    assert np.isnan(raw[0, 0])


def test_nothing_undefined_is_printed_raw(page):
    text = " ".join(page.words)
    assert not re.search(r"\b(NaN|nan|None|null|undefined|inf)\b", text)


def test_self_contained_and_small(html, page):
    assert len(html.encode()) < 5_000_000
    for tag, attributes in page.tags:
        assert not (
            tag in ("script", "img", "iframe", "link") and attributes.get("src", "data:")[:5] != "data:"
        )
        assert tag != "link" or attributes["href"] == "data:,"
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_facts_are_stated_and_unsafe_links_are_not(page):
    text = " ".join(page.words)
    for fact in (
        "1,797",
        "1,257",
        "540",
        "70/30, stratified by digit",
        "split 0",
        "epochs 6",
        "torch 2.9",
        "CPU",
    ):
        assert fact in text
    hrefs = [attributes.get("href", "") for tag, attributes in page.tags if tag == "a"]
    assert "http://127.0.0.1:5000/#/x" in hrefs
    assert not any(href.startswith("javascript") for href in hrefs)
    assert safe_links({"a": "../x/index.html", "b": "data:text/html,x", "c": "JavaScript:x"}) == [
        ("a", "../x/index.html")
    ]


def renamed(tables, old, new):
    def rename(frame):
        names = [c for c in ("task", "source", "target") if c in frame.columns]
        return frame.with_columns(pl.col(names).replace({old: new}))

    return {name: rename(frame) for name, frame in tables.items()}


def test_task_names_are_escaped_everywhere(digits):
    html = render_report(with_report_tables(renamed(digits, "is_3", EVIL), resamples=20), FACTS)
    assert EVIL not in html
    page = Reader(html)
    assert EVIL in "".join(page.words)
    assert EVIL in data_of(html)["tasks"]


def test_embedded_json_refuses_what_is_not_a_number_and_cannot_end_the_script():
    assert json.loads(embedded_json({"a": "</script><!--&\u2028"})) == {"a": "</script><!--&\u2028"}
    assert "<" not in embedded_json({"a": "</script>"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded_json({"a": math.nan})
    assert len(packed(np.zeros((2, 2)))) == 24


@pytest.mark.parametrize("names", [("tasks", "conditional_entropy", "hardness")])
def test_label_statistics_alone_make_a_page_that_says_what_is_missing(digits, names):
    html = render_report({name: digits[name] for name in names}, FACTS)
    text = " ".join(Reader(html).words)
    assert "no transfer has been measured yet" in text
    assert "No source models have been trained" in text
    assert "at_least_five is the hardest of 28 tasks" in text
    assert not re.search(r"\b(NaN|None|null)\b", text)
    assert not chart_data(with_report_tables({name: digits[name] for name in names}))["measured"]


def test_the_baseline_is_said_as_strongly_as_its_interval_allows(digits_report):
    def said(low, value, high):
        overall = digits_report["overall_correlation"].with_columns(
            pl.lit(low).alias("median_difference_low"), pl.lit(value).alias("median_difference"),
            pl.lit(high).alias("median_difference_high"),
        )  # fmt: skip
        return " ".join(summarise({**digits_report, "overall_correlation": overall}).sentences)

    assert "cannot be told from nothing" in said(-0.01, 0.02, 0.05)
    assert "Knowing the source adds to it" in said(0.01, 0.02, 0.05)
    assert "better than H(Y|Z)" in said(-0.05, -0.02, -0.01)


def test_across_studies_all_hardness_panels_and_rows_are_there(digits_report, digits):
    bare = {name: digits[name] for name in ("tasks", "conditional_entropy", "hardness")}
    other = StudyFacts(study="labels", title="Labels only")
    html = render_benchmark([(FACTS, digits_report), (other, bare)], links={"digits": "../digits/index.html"})
    assert [panel["title"] for panel in data_of(html)["benchmark"]] == ["Handwritten digits"]
    page = Reader(html)
    assert [row[0] for row in page.tables["table-overall"][1:]] == ["Handwritten digits", "Labels only"]
    assert ("a", {"href": "../digits/index.html"}) in page.tags
    assert not re.search(r"\b(NaN|None|null)\b", " ".join(page.words))


def test_formatting_has_true_minus_signs_and_no_negative_zero():
    assert (number(-0.004), signed(-0.004), signed(0.02), percent(0.1234)) == (
        "0.00",
        "0.00",
        "+0.02",
        "12.3\u00a0%",
    )


def test_published_rows_show_where_the_tasks_are_celebas(digits_report):
    names = [name for name in digits_report["tasks"]["task"] if name != "digit"][: len(CELEBA_ATTRIBUTES)]
    tables = digits_report
    for old, new in zip(names, CELEBA_ATTRIBUTES, strict=True):
        tables = renamed(tables, old, new)
    page = Reader(render_report(tables, FACTS))
    rows = {row[0]: row for row in page.tables["table-published"][1:]}
    assert rows["DMTL 2018"][1] == "0.980"
    error = tables["transfer"].filter(source="digit", target="Male")["test_error"][0]
    assert rows["transferred (this study)"][1] == number(1 - error, 3)
    assert rows["CE, nats (paper)"][-1] == "not defined"


def test_the_headline_speaks_of_the_largest_group(digits):
    few = digits["tasks"].with_columns(
        pl.when(pl.col("task").is_in(["even", "prime", "square"]))
        .then(3)
        .otherwise(pl.col("n_values"))
        .alias("n_values")
    )
    bare = {
        "tasks": few,
        "conditional_entropy": digits["conditional_entropy"],
        "hardness": digits["hardness"],
    }
    assert main_group(with_report_tables(bare, resamples=20)) == 2
