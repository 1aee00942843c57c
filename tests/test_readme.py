"""What the README shows in Python does what it says."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

import assets.statistics
from assets.statistics import best_sources, joint_conditional_entropy, label_statistics, label_uncertainty

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def emoji(name: str, signs: str, category: str, subcategory: str, **tones: str) -> dict[str, Any]:
    """An entry of `emoji.json` as the package has it, as far as the table needs it."""
    variations = {tone.removeprefix("_").replace("_", "-"): {"image": image} for tone, image in tones.items()}
    entry = {"short_name": name, "unified": signs, "category": category, "subcategory": subcategory}
    image = {"image": f"{signs.lower()}.png"}
    return entry | image | ({"skin_variations": variations} if variations else {})


ENTRIES = [
    emoji("hash", "0023-FE0F-20E3", "Symbols", "keycap"),
    emoji("female_sign", "2640-FE0F", "Symbols", "gender"),
    emoji("man-woman-boy", "1F468-200D-1F469-200D-1F466", "People & Body", "family"),
    emoji(
        "man-running", "1F3C3-200D-2642-FE0F", "People & Body", "person-activity",
        _1F3FB="1f3c3-1f3fb-200d-2642-fe0f.png", _1F3FD="1f3c3-1f3fd-200d-2642-fe0f.png",
    ),
    emoji(
        "people_holding_hands", "1F9D1-200D-1F91D-200D-1F9D1", "People & Body", "family",
        _1F3FB_1F3FB="1f9d1-1f3fb-200d-1f91d-200d-1f9d1-1f3fb.png",
        _1F3FB_1F3FC="1f9d1-1f3fb-200d-1f91d-200d-1f9d1-1f3fc.png",
    ),
]  # fmt: skip
ROWS = [
    ("0023-fe0f-20e3.png", "Symbols", "keycap", "none", "", "hash"),
    ("2640-fe0f.png", "Symbols", "gender", "none", "woman", "female_sign"),
    ("1f468-200d-1f469-200d-1f466.png", "People & Body", "family", "none", "", "man-woman-boy"),
    ("1f3c3-200d-2642-fe0f.png", "People & Body", "person-activity", "none", "man", "man-running"),
    ("1f3c3-1f3fb-200d-2642-fe0f.png", "People & Body", "person-activity", "light", "man", "man-running"),
    ("1f3c3-1f3fd-200d-2642-fe0f.png", "People & Body", "person-activity", "medium", "man", "man-running"),
    ("1f9d1-200d-1f91d-200d-1f9d1.png", "People & Body", "family", "none", "", "people_holding_hands"),
    (
        "1f9d1-1f3fb-200d-1f91d-200d-1f9d1-1f3fb.png",
        "People & Body",
        "family",
        "light",
        "",
        "people_holding_hands",
    ),
    (
        "1f9d1-1f3fb-200d-1f91d-200d-1f9d1-1f3fc.png",
        "People & Body",
        "family",
        "mixed",
        "",
        "people_holding_hands",
    ),
]


def made_table(folder: Path) -> list[dict[str, str]]:
    """The rows that the README's program writes for `ENTRIES`."""
    (program,) = (
        block for block in re.findall(r"```python\n(.+?)```", README, re.DOTALL) if "emoji.json" in block
    )
    (folder / "emoji.json").write_text(json.dumps(ENTRIES))
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, timeout=60)
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_walk_throughs_table_is_made_as_shown(tmp_path: Path) -> None:
    rows = made_table(tmp_path)
    names = ("image", "category", "subcategory", "skin_tone", "gender", "emoji")
    assert rows == [dict(zip(names, (f"images/{row[0]}", *row[1:]), strict=True)) for row in ROWS]


def test_it_is_the_emoji_table(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    with (shared_data("twemoji") / "labels.csv").open(newline="") as file:
        real = {row["image"]: row for row in csv.DictReader(file)}
    assert [real[row["image"]] for row in made_table(tmp_path)] == made_table(tmp_path)


def test_the_functions_it_names_are_in_assets_statistics() -> None:
    named = set(re.findall(r"`(\w+)\(", README.split("## Words")[0]))
    assert named == {"best_sources", "label_uncertainty", "joint_conditional_entropy"}
    assert named | {"label_statistics"} <= set(assets.statistics.__all__)
    labels = pl.DataFrame({
        "category": [0, 0, 1, 1] * 10, "skin_tone": [0, 1, 0, 1] * 10, "gender": [0, 1, 1, 0] * 10,
    })  # fmt: skip
    frame = label_statistics(labels).conditional_entropy
    assert best_sources(frame, "gender", split="all")["source"].to_list() == ["category", "skin_tone"]
    assert joint_conditional_entropy(labels, "gender", ["category", "skin_tone"]).conditional_entropy == 0
    assert len(label_uncertainty(labels, permutations=20)) == 6
