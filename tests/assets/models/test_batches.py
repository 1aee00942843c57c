"""Batches: their sizes, their order, their random draws, and the data set on the device or on disk."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assets.models.batches import Pixels, augment, epoch_generator, step_count
from assets.models.optimisation import learning_rate_at, make_loss
from assets.settings import Recipe


@given(n=st.integers(2, 5000), batch_size=st.integers(2, 512))
def test_parts_are_near_equal_and_never_of_one_row(n, batch_size):
    parts = [len(part) for part in torch.tensor_split(torch.arange(n), step_count(n, batch_size))]
    assert sum(parts) == n
    assert max(parts) - min(parts) <= 1
    assert min(parts) >= 2
    assert max(parts) <= max(batch_size, 3)


@pytest.mark.parametrize("resident", [True, False])
def test_batches_hold_the_rows_asked_for_in_their_order(resident):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 4, 4, 3), dtype=np.uint8)
    rows = torch.tensor([7, 3, 19, 0, 3])
    parts = list(Pixels(pixels, device="cpu", resident=resident).batches(rows, 2))
    assert [len(part) for part in parts] == [3, 2]
    np.testing.assert_array_equal(torch.cat(parts), pixels[rows.numpy()])


def test_the_draws_of_an_epoch_follow_from_seed_and_epoch():
    draws = {(s, e): torch.rand(3, generator=epoch_generator(s, e)).tolist() for s in (0, 1) for e in (0, 1)}
    assert draws[0, 1] == torch.rand(3, generator=epoch_generator(0, 1)).tolist()
    assert len({tuple(draw) for draw in draws.values()}) == 4


def test_augmentation_mirrors_and_moves_whole_images():
    images = torch.arange(400 * 16 * 16 * 3).reshape(400, 16, 16, 3).remainder(251).to(torch.uint8)
    flipped = augment(images, "flip", epoch_generator(0, 0))
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(2)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < int(same.sum()) < 250
    moved = augment(images, "crop", epoch_generator(0, 0))
    inner = moved[:, 2:14, 2:14]
    places = torch.stack([
        (inner == images[:, 2 + row : 14 + row, 2 + column : 14 + column]).flatten(1).all(1)
        for row in range(-2, 3) for column in range(-2, 3)
    ])  # fmt: skip
    assert places.any(0).all(), "an image is not a moved copy of itself"
    assert places.any(1).all(), "a move by up to an eighth never happens"
    assert augment(images, "none", epoch_generator(0, 0)) is images


def test_learning_rates_of_the_schedules():
    def rates(schedule: str) -> list[float]:
        recipe = Recipe(learning_rate=0.4, schedule=schedule)
        return [learning_rate_at(step, 8, recipe) for step in range(8)]

    assert rates("constant") == [0.4] * 8
    assert rates("cosine") == pytest.approx([0.2 * (1 + np.cos(np.pi * step / 8)) for step in range(8)])
    cycle = rates("onecycle")
    assert cycle[:3] == pytest.approx([0.4 / 3, 0.8 / 3, 0.4])
    assert cycle[2:] == sorted(cycle[2:], reverse=True)


def test_balanced_class_weights_are_inverse_frequencies():
    targets = torch.tensor([0, 0, 0, 1])
    assert make_loss(Recipe(), targets, 2).weight is None
    weight = make_loss(Recipe(class_weights="balanced"), targets, 2).weight
    assert weight.tolist() == pytest.approx([4 / 6, 4 / 2])
