"""A mistake in a study file is said with file, line, field and the way out; nothing in one can do harm."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.labels.reading import read_labels
from assets.study import load_study, open_study
from pipelines.studies import SHIPPED, find_studies
from resources.errors import StudyError

GOOD = """\
title: Some digits
dataset:
  reader: digits
  options: {per_class: 6, tasks: [digit, is_0, even]}
recipe:
  epochs: 2
network: {backbone: resnet18}
networks:
  is_0: {backbone: resnet34}
probe: {c: 0.5}
"""


OPTIONS = """\
dataset:
  reader: digits
  options:
    per_class: 6
    tasks:
      - digit
      - is_0
      - even
"""
TABLE = """\
dataset:
  reader: table
  options:
    table: t.csv
    image_column: image
    tasks: [a, b]
"""


def load(tmp_path: Path, text: str | bytes, name: str = "mine"):
    path = tmp_path / f"{name}.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_study(path, tmp_path)


def test_a_study_is_what_its_file_says(tmp_path: Path) -> None:
    study = load(tmp_path, GOOD)
    assert (study.name, study.title) == ("mine", "Some digits")
    assert study.tasks == study.sources == ("digit", "is_0", "even")
    assert study.targets == ("is_0", "even"), "`digit` is a source only"
    assert study.pairs() == [("digit", "is_0"), ("digit", "even"), ("is_0", "even"), ("even", "is_0")]
    assert study.network("is_0").backbone == "resnet34"
    assert study.network("even").backbone == "resnet18"
    assert study.settings.probe.c == 0.5


def test_sources_and_targets_keep_the_data_sets_order(tmp_path: Path) -> None:
    study = load(tmp_path, GOOD + "sources: [even, digit]\ntargets: [even, is_0]\n")
    assert study.sources == ("digit", "even")
    assert study.targets == ("is_0", "even")


BROUGHT = GOOD + "representations:\n  clip: {file: clip.npy}\n"


def test_a_representation_is_a_further_source(tmp_path: Path) -> None:
    study = load(tmp_path, BROUGHT + "  net: {file: nets/net.onnx, task: digit}\nsources: [even]\n")
    assert study.trained_sources == ("even",)
    assert study.sources == ("even", "clip", "net")
    assert [study.source_task(source) for source in study.sources] == ["even", None, "digit"]
    assert study.representation_file("net") == tmp_path / "nets" / "net.onnx"
    assert study.representation_file("even") is None
    assert study.pairs()[1:] == [("clip", "is_0"), ("clip", "even"), ("net", "is_0"), ("net", "even")]
    alone = load(tmp_path, BROUGHT + "sources: []\nsample_efficiency: {sources: [clip]}\n", "alone")
    assert alone.sources == ("clip",)


MISTAKES = {
    "a representation named as a task": (
        BROUGHT.replace("clip: {", "even: {"),
        "line 12: representations.even: is the name of a task, whose source is trained here; name the representation "
        "otherwise and say `task: even`",
    ),
    "a representation named as a column": (
        BROUGHT.replace("clip: {", "split: {"),
        "line 12: representations.split: is no name for a source",
    ),
    "a representation of no task of the study": (
        BROUGHT.replace(".npy", ".npy, task: odd"),
        "line 12: representations.clip.task: no task 'odd'; name one of the study, or leave it out",
    ),
    "a pickled representation": (
        BROUGHT.replace(".npy", ".pt"),
        "line 12: representations.clip.file: 'clip.pt' is none of .onnx, .npy, .safetensors, .parquet; pickled or",
    ),
    "unknown key of a representation": (
        BROUGHT.replace("file:", "path:"),
        "line 12: representations.clip.",
    ),
    "a representation without a file": (
        GOOD + "representations:\n  clip: {task: even}\n",
        "line 12: representations.clip.file: is required",
    ),
    "unknown key": (
        GOOD + "epoch: 3\n",
        "line 11: epoch: unknown key; allowed here: title, description, dataset,",
    ),
    "unknown key, nested": (
        GOOD.replace("epochs: 2", "epochs: 2\n  lr: 0.1"),
        "line 7: recipe.lr: unknown key; allowed here: image_size, epochs, batch_size",
    ),
    "unknown key of one source": (
        GOOD.replace("{backbone: resnet34}", "{backbon: resnet34}"),
        "line 9: networks.is_0.backbon: unknown key; allowed here: backbone, head, margin",
    ),
    "unknown key of the data set": (
        GOOD.replace("  reader:", "  red: 1\n  reader:"),
        "line 3: dataset.red: unknown key; allowed here: reader, options",
    ),
    "wrong type": (
        GOOD.replace("epochs: 2", "epochs: two"),
        "line 6: recipe.epochs: Input should be a valid integer",
    ),
    "out of range": (
        GOOD.replace("epochs: 2", "epochs: 0"),
        "line 6: recipe.epochs: Input should be greater than",
    ),
    "no data set": ("title: x\n", "line 1: dataset: is required"),
    "no reader": ("dataset: {options: {}}\n", "line 1: dataset.reader: is required"),
    "unknown reader": (
        GOOD.replace("reader: digits", "reader: imagenet"),
        "line 3: dataset.reader: no reader 'imagenet'; the readers are digits, celeba, awa2, cub, table",
    ),
    "unknown option": (
        OPTIONS.replace("per_class", "perclass"),
        "line 4: dataset.options.perclass: unknown key; allowed here: tasks, seed, test_fraction, per_class",
    ),
    "option of the wrong type": (
        OPTIONS.replace("per_class: 6", "per_class: many"),
        "line 4: dataset.options.per_class: Input should be a valid integer",
    ),
    "option out of range": (
        OPTIONS.replace("per_class: 6", "per_class: 1"),
        "line 4: dataset.options.per_class: Input should be greater than or equal to 2",
    ),
    "unknown task of the data set": (
        OPTIONS.replace("- is_0", "- is_77"),
        "line 7: dataset.options.tasks: digits: no task 'is_77'; the tasks are digit, is_0, is_1",
    ),
    "a task of the data set twice": (
        OPTIONS.replace("- is_0", "- digit"),
        "line 5: dataset.options.tasks: 'digit' is listed twice",
    ),
    "options of no table": (
        TABLE.replace("    table: t.csv\n", ""),
        "line 3: dataset.options.table: is required (A",
    ),
    "two ways to split": (
        TABLE + "    stratify_by: a\n    group_by: b\n",
        "line 8: dataset.options.group_by: stratify_by and group_by exclude each other",
    ),
    "bins of no task": (
        TABLE + "    bins: {c: 3}\n",
        "line 7: dataset.options.bins: names 'c', which is not among the tasks; add it to them",
    ),
    "too few bins": (
        TABLE + "    bins:\n      a: 1\n",
        "line 8: dataset.options.bins.a: Input should be greater",
    ),
    "unknown key of an expansion": (
        TABLE + "    one_vs_rest:\n      a: {min_cnt: 3}\n",
        "line 8: dataset.options.one_vs_rest.a.min_cnt: unknown key; allowed here: min_count, values",
    ),
    "a split that is none": (
        TABLE + "    split_column: s\n    split_values:\n      dev: validation\n",
        "line 9: dataset.options.split_values.dev: Input should be 'train' or 'test'",
    ),
    "a word for a mapping": (
        GOOD.replace("{backbone: resnet18}", "resnet18"),
        "line 7: network: must be a mapping with keys among backbone, head",
    ),
    "unknown source in a long list": (
        GOOD + "sources:\n  - even\n  - odd\n",
        "line 13: sources: no task 'odd'; the tasks are",
    ),
    "unknown source": (
        GOOD + "sources: [is_77]\n",
        "line 11: sources: no task 'is_77'; the tasks are digit, is_0, even",
    ),
    "unknown target": (GOOD + "targets: [even, odd]\n", "line 11: targets: no task 'odd'"),
    "unknown source's network": (
        GOOD.replace("is_0: {", "is_77: {"),
        "line 9: networks.is_77: no task 'is_77'",
    ),
    "unknown task of the curve": (
        GOOD + "sample_efficiency: {sources: [odd]}\n",
        "line 11: sample_efficiency.sources: no task 'odd'",
    ),
    "a task twice": (GOOD + "sources: [even, even]\n", "line 11: sources: 'even' is listed twice"),
    "no pair": (GOOD + "sources: [even]\ntargets: [even]\n", "line 11: sources: no pair"),
    "an owner Dagster refuses": (
        GOOD + "owner: me\n",
        "line 11: owner: 'me' is neither team:NAME nor an e-mail",
    ),
    "a time that is none": (GOOD + "nightly: at night\n", "line 11: nightly: 'at night' is no cron schedule"),
    "a time that never comes": (
        GOOD + "nightly: 99 99 * * *\n",
        "line 11: nightly: '99 99 * * *' is no cron schedule",
    ),
    "a key twice": (GOOD + "recipe: {epochs: 3}\n", "line 11: key 'recipe' is there twice; keep one"),
    "a nested key twice": (
        GOOD.replace("epochs: 2", "epochs: 2\n  epochs: 3"),
        "line 7: key 'epochs' is there twice",
    ),
    "a list": ("- a\n- b\n", "must be a mapping with at least the key `dataset`"),
    "nothing": ("", "must be a mapping"),
    "a word": ("digits", "must be a mapping"),
    "no YAML": ("title: [1, 2\ndataset: {}\n", "line 2: is not YAML"),
    "a tab": ("dataset:\n\treader: digits\n", "line 2: is not YAML"),
    "not UTF-8": (b"title: \xff\xfe", "is not UTF-8 text (byte 7)"),
    "a NUL": (b"title: \0", "is not YAML"),
    "keys that are no words": ("1: 2\ndataset: {reader: digits}\n", "1: "),
}
HOSTILE = {
    "a Python object": ("dataset: !!python/object/apply:os.system ['touch PWNED']\n", "line 1: is not YAML"),
    "a Python name": ("dataset: !!python/name:os.system\n", "line 1: is not YAML"),
    "a date that is none": ("title: 2020-99-99\ndataset: {reader: digits}\n", "is not YAML"),
    "a number without end": (f"title: {'9' * 5000}\ndataset: {{reader: digits}}\n", "mine.yaml"),
    "brackets without end": ("[" * 20_000, "is not YAML"),
    "a bomb": (
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        )
        + "dataset: {reader: digits, options: {tasks: *i}}\n",
        "unknown key",
    ),
    "a circle": ("dataset: &d {reader: digits, options: {tasks: *d}}\n", "mine.yaml"),
}


@pytest.mark.parametrize(("text", "said"), [*MISTAKES.values(), *HOSTILE.values()], ids=[*MISTAKES, *HOSTILE])
def test_a_mistake_is_one_line_that_names_file_and_place(
    text: str | bytes, said: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyError) as found:
        load(tmp_path, text)
    message = str(found.value)
    assert message.startswith("mine.yaml"), message
    assert said in message, message
    assert "\n" not in message
    assert "Value error" not in message
    assert len(message) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tasks:\n      - a\n      - hue", "line 8: dataset.options.tasks: "),
        ("tasks: [a, b]\n    stratify_by: hue", "line 7: dataset.options.stratify_by: "),
        ("tasks: [a, b]\n    image_column: hue", "line 7: dataset.options.image_column: "),
        (
            "tasks: [a, b]\n    one_vs_rest:\n      hue: {values: [x]}",
            "line 8: dataset.options.one_vs_rest.hue: ",
        ),
        (
            "tasks: [a, b]\n    one_vs_rest:\n      hue: {min_count: 2}",
            "line 8: dataset.options.one_vs_rest.hue: ",
        ),
    ],
    ids=["tasks", "stratify_by", "image_column", "one_vs_rest", "one_vs_rest, when it is opened"],
)
def test_a_column_that_the_table_does_not_have_is_named_where_it_stands(
    line: str, said: str, tmp_path: Path
) -> None:
    """Such a mistake shows when the table is read, and is one of the study's file all the same."""
    (tmp_path / "t.csv").write_text("a,b\n" + "0,1\n1,1\n0,0\n" * 20)
    text = f"title: hue\ndataset:\n  reader: table\n  options:\n    table: t.csv\n    {line}\n"
    with pytest.raises(StudyError) as found:
        read_labels(load(tmp_path, text))
    assert str(found.value).startswith(
        f"mine.yaml, {said}{tmp_path / 't.csv'}: no column 'hue'; the columns are a, b"
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_mutated_file_is_read_or_refused_and_never_crashes(tmp_path: Path, data: st.DataObject) -> None:
    text = bytearray(GOOD.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 5))] = data.draw(
            st.sampled_from(
                [b"\0", b"\n", b":", b"- ", b"[", b"}", b"&a ", b"*a", b"!!", b"\t", b"\xff", b"'", b"9"]
            )
        )
    try:
        study = load(tmp_path, bytes(text))
    except StudyError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it may also be read
    else:
        assert study.pairs()


@pytest.mark.parametrize(
    "name",
    ["Digits", "9lives", "a-b", "a b", "", "a/b", "..", "é", "a'; DROP TABLE x; --", "x" * 300, "a\n"],
    ids=ascii,
)
def test_a_studys_name_is_plain(name: str, tmp_path: Path) -> None:
    content = {"dataset": {"reader": "digits"}}
    with pytest.raises(StudyError, match="study name"):
        open_study(name, content, tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(StudyError, match=r"folder\.yaml: cannot be read"):
        load_study(tmp_path / "folder.yaml", tmp_path)


# --- finding studies -----------------------------------------------------------------------------------------


def test_a_broken_study_does_not_take_the_others_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, more = tmp_path / "home" / "studies", tmp_path / "more"
    (mine / "folder.yaml").mkdir(parents=True)
    more.mkdir()
    (mine / "good.yaml").write_text(GOOD)
    (mine / "broken.yaml").write_text("title: [")
    (mine / "digits.yaml").write_text(GOOD)
    (mine / "Capital.yaml").write_text(GOOD)
    (mine / "nested.yaml").write_text("[" * 20_000)
    (mine / "notes.txt").write_text("no study")
    (more / "other.yml").write_text(GOOD)
    (more / "good.yaml").write_text(GOOD)
    monkeypatch.setenv("TRANSFERABILITY_STUDIES", f"{more}:{tmp_path / 'absent'}")
    studies = find_studies(tmp_path / "home", tmp_path / "data")
    shipped = {path.stem for path in SHIPPED.glob("*.yaml")}
    assert set(studies.opened) == shipped | {"good", "other"}
    assert set(studies.broken) == {
        "broken", "digits (studies)", "Capital", "nested", "folder", "good (more)",
    }  # fmt: skip
    assert "a study 'digits' exists already" in studies.broken["digits (studies)"]
    assert studies.get("digits").settings.title == "Handwritten digits", (
        "the user's does not replace the shipped one"
    )
    with pytest.raises(StudyError, match=r"broken\.yaml, line 1"):
        studies.get("broken")
    with pytest.raises(StudyError, match=r"no study 'absent'; the studies are .*digits"):
        studies.get("absent")
