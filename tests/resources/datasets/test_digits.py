"""The digits data set: 1,797 images, 29 fixed tasks, a stratified seeded split."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_digits

from resources.datasets import open_dataset
from resources.datasets.digits import Digits
from resources.errors import StudyError

# Written out once more, by hand, from the definition of the tasks: row = digit 0..9.
SEGMENTS = {
    "a": "1011011111",
    "b": "1111100111",
    "c": "1101111111",
    "d": "1011011011",
    "e": "1010001010",
    "f": "1000111011",
    "g": "0011111011",
}
FACTS = {
    "even": "1010101010",
    "prime": "0011010100",
    "closed_loop": "1000001011",
    "square": "1100100001",
    "at_least_five": "0000011111",
    "triangular": "1101001000",
    "fibonacci": "1111010010",
    "multiple_of_three": "1001001001",
    "power_of_two": "0110100010",
    "three_letter_name": "0110001000",
    "curved": "1011011011",
}


def test_all_29_tasks_are_functions_of_the_digit_as_defined() -> None:
    frame = Digits().read().frame
    digit = frame["digit"].to_numpy()
    assert np.array_equal(digit, load_digits().target)
    truth = {f"segment_{name}": bits for name, bits in SEGMENTS.items()} | FACTS
    truth |= {f"is_{k}": "".join(str(int(d == k)) for d in range(10)) for k in range(10)}
    assert set(truth) | {"digit"} == set(Digits().task_names()) == set(frame.columns[3:])
    for task, bits in truth.items():
        assert np.array_equal(frame[task].to_numpy(), np.array(list(bits), dtype=int)[digit]), task


def test_only_digit_is_a_source_only() -> None:
    table = Digits().read()
    assert Digits().source_only_tasks() == ("digit",)
    assert [task.name for task in table.tasks if task.source_only] == ["digit"]
    assert {task.kind for task in table.tasks if task.name != "digit"} == {"binary"}
    assert table.tasks[0].kind == "multiclass"


def test_the_split_is_70_30_in_every_digit_and_seeded() -> None:
    first, again, other = Digits().read(), Digits().read(), Digits(seed=1).read()
    shares = first.frame.group_by("digit").agg((pl.col("split") == "test").mean())["split"]
    assert shares.is_between(0.297, 0.303).all()
    assert first.frame.equals(again.frame)
    assert not first.frame["split"].equals(other.frame["split"])


def test_pixels_are_the_images_spread_over_eight_bits() -> None:
    pixels = Digits().pixels()
    assert pixels.shape == (1797, 8, 8)
    assert pixels.dtype == np.uint8
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert np.abs(pixels / 255 * 16 - load_digits().images).max() < 0.04


def test_per_class_takes_the_first_images_of_each_digit_in_order() -> None:
    small = Digits(per_class=7)
    frame = small.read().frame
    assert frame["digit"].value_counts()["count"].to_list() == [7] * 10
    assert small.pixels().shape == (70, 8, 8)
    target = load_digits().target
    kept = [i for i in range(1797) if (target[: i + 1] == target[i]).sum() <= 7]
    assert np.array_equal(frame["digit"].to_numpy(), target[kept])


def test_tasks_may_be_chosen_and_unknown_ones_are_refused() -> None:
    assert Digits(tasks=["even", "digit"]).read().frame.columns[3:] == ["digit", "even"]
    with pytest.raises(StudyError, match="no task 'odd'"):
        open_dataset("digits", Path(), {"tasks": ["odd"]})
