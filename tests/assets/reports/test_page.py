"""The page without a browser: numbers are the tables', names are escaped, and nothing undefined is printed raw."""

import base64
import json
import math
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from assets.reports.charts import chart_data, packed
from assets.reports.derive import main_group, with_report_tables
from assets.reports.facts import StudyFacts
from assets.reports.formatting import interval, number, p_value, percent, signed
from assets.reports.page import breakable, embedded_json, render_benchmark, render_report, safe_links
from assets.reports.published import CELEBA_ATTRIBUTES
from assets.reports.summary import points, summarise

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
        assert shown[10] == number(row["weighted_tau"])
        assert shown[11] == signed(row["difference"])
        for place, name in ((13, "partial"), (14, "information")):
            p = p_value(row[f"{name}_p"])
            expected = f"{number(row[f'{name}_r'])}, p {p if p.startswith('<') else f'= {p}'}"
            assert shown[place] == expected
    assert "not defined: the source determines every target" in rows["digit"][3]


def test_all_of_the_overall_table_is_on_the_page(html, page, digits_report):
    row = digits_report["overall_correlation"].filter(split="train").row(0, named=True)
    table = re.search(r'id="table-overall">.*?</table>', html, re.DOTALL)[0]
    labels = [unescape(label) for label in re.findall(r'<th scope="row" data-v="([^"]*)"', table)]
    shown = dict(zip(labels, (cells[1:3] for cells in page.tables["table-overall"][1:]), strict=True))
    for label, name in {
        "Median r": "median_r", "Median r of H(Y) alone": "median_entropy_r", "r over all pairs": "pooled_r",
        "r of H(Y) over all pairs": "pooled_entropy_r", "r within targets": "within_target_r",
    }.items():  # fmt: skip
        assert shown[label] == [number(row[name]), interval(row[f"{name}_low"], row[f"{name}_high"])]
    for label, name in {
        "Smallest r": "min_r", "Largest r": "max_r", "Median Spearman": "median_spearman_r",
        "Median Kendall τ": "median_kendall_tau", "Median weighted τ": "median_weighted_tau",
        "Median r given H(Y)": "median_partial_r", "Median r of information": "median_information_r",
    }.items():  # fmt: skip
        assert shown[label][0] == number(row[name])
    assert shown["Better than H(Y)"][0] == str(row["n_better_than_entropy"])
    assert shown["Worse than H(Y)"][0] == str(row["n_worse_than_entropy"])
    assert shown["Duplicate pairs"][0] == str(row["n_equivalent"])


def test_every_targets_ranking_is_on_the_page(page, digits_report):
    rows = {row[0]: row for row in page.tables["table-ranking"][1:]}
    table = digits_report["target_ranking"].filter(split="train")
    assert set(rows) == set(table["target"])
    for row in table.iter_rows(named=True):
        shown = rows[row["target"]]
        assert shown[2] == str(row["n_sources"])
        assert shown[3:7] == [number(row["spearman_r"]), p_value(row["spearman_p"]),
                              number(row["kendall_tau"]), number(row["weighted_tau"])]  # fmt: skip
        assert shown[7] == f"{row['chosen_source']}error {percent(row['chosen_error'])}"
        assert shown[9:] == [points(row["regret"]), points(row["random_regret"])]


def test_every_heading_with_a_help_is_explained_where_no_mouse_hovers(page):
    helped = [tag["title"] for name, tag in page.tags if name == "th" and tag.get("title")]
    text = "".join(page.words)
    assert len(helped) > 20
    assert [words for words in helped if words not in text] == []


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
    raw = np.frombuffer(base64.b64decode(data["entropy"]), "<f8").reshape(n, n)
    place = {name: i for i, name in enumerate(data["tasks"])}
    for row in (
        digits_report["conditional_entropy"].filter(split="train").sample(50, seed=1).iter_rows(named=True)
    ):
        assert raw[place[row["source"]], place[row["target"]]] == row["conditional_entropy"]
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


def test_constant_targets_are_marked_and_counted(digits):
    transfer = digits["transfer"].with_columns(constant_target=pl.col("target") == "is_3")
    hardness = digits["hardness"].with_columns(
        hardness=pl.when(task="is_3", split="train").then(0.0).otherwise("hardness")
    )
    tables = with_report_tables({**digits, "transfer": transfer, "hardness": hardness}, resamples=20)
    page = Reader(render_report(tables, replace(FACTS, warnings=["Constant in train: <is_3>."])))
    sources = {row[0]: row[1:] for row in page.tables["table-sources"][1:]}
    assert sources["is_3"][0].startswith("constant: one value in all labelled images")
    assert len(sources["is_3"]) == 1
    assert len(sources["is_4"]) == 7
    tasks = [row[0] for row in page.tables["table-hardness"][1:]]
    assert [name for name in tasks if "constant" in name] == ["is_3constant"]
    targets = {row[0]: row[2] for row in page.tables["table-correlations"][1:]}
    assert targets["even"] == "261 constant left out"
    assert targets["is_3"] == "27", "it is the source there"
    assert "Constant in train: <is_3>." in "".join(page.words)


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
    assert len(packed(np.zeros((2, 2)))) == 44


@pytest.mark.parametrize("names", [("tasks", "conditional_entropy", "hardness")])
def test_label_statistics_alone_make_a_page_that_says_what_is_missing(digits, names):
    html = render_report({name: digits[name] for name in names}, FACTS)
    text = " ".join(Reader(html).words)
    assert "no transfer has been measured yet" in text
    assert "No source models have been trained" in text
    assert "at_least_five is the hardest of 28 tasks" in text
    assert not re.search(r"\b(NaN|None|null)\b", text)
    assert not chart_data(with_report_tables({name: digits[name] for name in names}))["measured"]


def test_a_page_of_labels_has_no_columns_of_what_was_not_measured_and_answers_from_labels(digits):
    tables = {name: digits[name] for name in ("tasks", "conditional_entropy", "hardness")}
    page = Reader(render_report(with_report_tables(tables), FACTS))
    assert "not measured" not in "".join(page.words)
    heads = [cell.strip() for cell in page.tables["table-sources"][0]]
    assert heads == ["Target", "Recommended source", "Second", "Third", "Best wide source"]
    assert [cell.strip() for cell in page.tables["table-hardness"][0]][-1] == "Hardness H(Z), nats"
    sentences = summarise(with_report_tables(tables)).sentences
    ranked = with_report_tables(tables)["best_sources"].filter(
        pl.col("split") == "train", pl.col("rank") == 1
    )
    best = ranked.filter(~pl.col("wide") & ~pl.col("equivalent")).sort("corrected_normalised", "target")
    most = best.row(0, named=True)
    left = percent(most["corrected_normalised"], 0)
    assert (
        f"{most['source']} tells most about {most['target']}, of whose entropy it leaves {left}"
        in sentences[0]
    )
    assert sentences[1].startswith("digit, with 10 values, determines all 28 targets (H(Y|Z) = 0)")
    assert "table-table-1" not in page.tables, "a Table 1 of zeros alone says nothing"


def test_a_table_1_of_labels_alone_has_only_its_estimates(digits):
    entropy = digits["conditional_entropy"].with_columns(
        conditional_entropy=pl.when(pl.col("source") == "digit", pl.col("target") == "even")
        .then(0.25)
        .otherwise("conditional_entropy")
    )
    tables = {"tasks": digits["tasks"], "conditional_entropy": entropy, "hardness": digits["hardness"]}
    page = Reader(render_report(with_report_tables(tables), FACTS))
    table = page.tables["table-table-1"]
    assert [cell.strip() for cell in table[0]] == ["Target", "CE over all images, nats"]
    assert len(table) == 1 + 28, "no row of averages of accuracies"
    assert table[-1] == ["even", "0.250"]
    assert [row[0] for row in page.tables["table-table-1-ends"][1:]][-1] == "even"


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


def test_table_1_shows_its_ends_and_every_target(page, digits_report):
    order = (
        digits_report["conditional_entropy"]
        .filter(split="all", source="digit")
        .sort("conditional_entropy", "target")["target"]
        .to_list()
    )
    ends = [row[0] for row in page.tables["table-table-1-ends"][1:]]
    assert ends == [*order[:5], *order[-5:], "average of all"]
    assert [row[0] for row in page.tables["table-table-1"][1:]] == [*order, "average of all"]


def test_a_name_may_break_after_the_signs_that_join_it_and_is_escaped():
    assert breakable("tone=medium_dark") == "tone=<wbr>medium_<wbr>dark"
    assert breakable("has_bill::a=<b>") == "has_<wbr>bill::<wbr>a=<wbr>&lt;b&gt;"


def test_unreadable_images_are_said_with_both_numbers(digits_report):
    facts = replace(FACTS, n_readable={"train": 1250, "test": 538})
    table = digits_report["hardness"].with_columns(
        pl.lit(1257).alias("n_labels"), (pl.col("n") - 7).alias("n")
    )
    text = "".join(Reader(render_report({**digits_report, "hardness": table}, facts)).words)
    assert "9 images could not be read" in text
    assert "the other 1,250 for training and 538 for testing" in text
    assert "1,250of 1,257 labelled" in text


def test_probes_that_did_not_converge_are_told_of_once_there_are_any(digits_report):
    transfer = digits_report["transfer"]
    converged = pl.Series("converged", [False, False, None] + [True] * (len(transfer) - 3))
    first = f"{transfer['source'][0]} → {transfer['target'][0]}"
    for column, said in ((converged, True), (converged.fill_null(value=True) | True, False)):
        tables = {**digits_report, "transfer": transfer.with_columns(column)}
        text = "".join(Reader(render_report(tables, FACTS)).words)
        assert (f"2 of {len(transfer) - 1} probes stopped short of the tolerance" in text) is said
        assert (f"the first being {first}" in text) is said


def test_theorem_1_and_uncertainty_are_the_tables(digits_report):
    pairs = digits_report["transfer"].filter(pl.col("source").is_in(["even", "digit"]))["source", "target"]
    n = len(pairs)
    slack = [0.25 * (i % 3) for i in range(n)]
    bound = pairs.with_columns(
        pl.lit(1257).alias("n"), pl.lit(-0.25).alias("source_log_likelihood"), pl.lit(0.5).alias("conditional_entropy"),
        pl.Series("slack", slack), (pl.Series(slack) - 0.75).alias("kbar_log_likelihood"),
        pl.lit(-1.0).alias("probe_log_likelihood"), pl.lit(0).alias("n_violations"),
        pl.lit(None, pl.String).alias("undefined_because"),
    )  # fmt: skip
    missing = bound.head(1).with_columns(pl.lit(None, pl.Float64).alias("slack"), pl.lit("no network").alias("undefined_because"),
                                         pl.lit("prime").alias("source"))  # fmt: skip
    entropy = digits_report["conditional_entropy"].filter(split="train")
    uncertainty = entropy.select(
        "split", "source", "target", "corrected", (pl.col("corrected") - 0.01).alias("ci_low"),
        (pl.col("corrected") + 0.01).alias("ci_high"), pl.col("target_entropy").alias("null_mean"),
        (pl.col("target_entropy") - 0.004).alias("null_q05"), pl.col("target_entropy").alias("null_q95"),
        pl.lit(0.005).alias("p_value"),
    )  # fmt: skip
    tables = {**digits_report, "bound": pl.concat([bound, missing]), "label_uncertainty": uncertainty}
    page = Reader(render_report(tables, FACTS))
    text = "".join(page.words)
    assert f"Checked for {n} pairs, row by row: it holds on every row" in text
    assert "runs from 0.000 to 0.500 nats with a median of 0.250" in text
    assert f"above the bound for 0 of {n} pairs" in text
    rows = {row[0]: row for row in page.tables["table-bound"][1:]}
    assert rows["even"][1:6] == ["27", "0", "0.000", "0.250", "0.500"]
    assert rows["even"][7] == "−0.750"
    assert "not defined: no network" in rows["prime"][2]
    beyond = entropy.filter(pl.col("conditional_entropy") < pl.col("target_entropy") - 0.004)
    assert f"For {len(beyond)} of {len(entropy)} pairs H(Y|Z) lies below" in text
    shown = page.tables["table-uncertainty"][1:]
    first = digits_report["best_sources"].filter(
        pl.col("split") == "train", pl.col("rank") == 1, ~pl.col("equivalent")
    )
    assert len(shown) == len(first)
    assert {row[-1] for row in shown} <= {"more than chance", "may be chance"}


def test_the_page_opens_with_the_source_of_the_median_correlation(html, digits_report):
    data = data_of(html)
    r = digits_report["transfer_correlation"].filter(split="train").drop_nulls("pearson_r").sort("pearson_r")
    assert data["tasks"][data["panels"][data["first"]]["source"]] == r["source"][(len(r) - 1) // 2]


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
