"""Writes small data sets in the exact official formats of CelebA, AwA2 and CUB, from real digits images as
JPEG.

Labels depend on the digit that an image shows, so that models have something to learn. Nothing is checked
here.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from resources.datasets.awa2 import ATTRIBUTES as AWA2_ATTRIBUTES
from resources.datasets.celeba import ATTRIBUTES as CELEBA_ATTRIBUTES
from resources.datasets.cub import ATTRIBUTES as CUB_ATTRIBUTES

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FAULTY_IMAGES = (3, 7)
"""Numbers of CUB images whose lines carry a needless 0, as those of 2275 and 9364 do in the official file."""


def digits(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n // 10 images of each digit, interleaved: (n, 8, 8) uint8 and the digits (n,)."""
    bunch = load_digits()
    rows = np.stack([np.flatnonzero(bunch.target == digit)[: n // 10] for digit in range(10)], axis=1).ravel()
    return np.rint(bunch.images[rows] * (255 / 16)).astype(np.uint8), bunch.target[rows]


def digit_attributes(n_attributes: int, seed: int = 0) -> np.ndarray:
    """Which digits have which attribute: (10, n_attributes) of 0/1, each true of two to eight digits."""
    rng = np.random.default_rng(seed)
    matrix = np.zeros((10, n_attributes), dtype=int)
    for column in range(n_attributes):
        matrix[rng.permutation(10)[: rng.integers(2, 9)], column] = 1
    return matrix


def save_jpeg(image: np.ndarray, path: Path, size: tuple[int, int] = (64, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).resize(size, Image.Resampling.BICUBIC).convert("RGB").save(path, quality=95)


def write_celeba(folder: Path, n: int = 120, *, images: bool = True, crlf: bool = False) -> None:
    """``list_attr_celeba.txt`` (aligned, with a blank after the names), identity, partition, images."""
    pixels, digit = digits(n)
    names = [f"{i:06d}.jpg" for i in range(1, n + 1)]
    rng = np.random.default_rng(1)
    present = digit_attributes(40)[digit] ^ (rng.random((n, 40)) < 0.03)
    rows = [
        f"{name} " + " ".join(" 1" if bit else "-1" for bit in row)
        for name, row in zip(names, present, strict=True)
    ]
    end = "\r\n" if crlf else "\n"
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "list_attr_celeba.txt", [str(n), " ".join(CELEBA_ATTRIBUTES) + " ", *rows], end)
    # Identities as in the official file: with CRLF; three people a digit.
    people = 1 + digit + 10 * (np.arange(n) // 10 % 3)
    _write(folder / "identity_CelebA.txt", [f"{a} {b}" for a, b in zip(names, people, strict=True)], "\r\n")
    part = np.where(np.arange(n) < 0.7 * n, 0, np.where(np.arange(n) < 0.8 * n, 1, 2))
    _write(folder / "list_eval_partition.txt", [f"{a} {b}" for a, b in zip(names, part, strict=True)], end)
    if images:
        for image, name in zip(pixels, names, strict=True):
            save_jpeg(image, folder / "img_align_celeba" / name, (178, 218))


def write_awa2(folder: Path, n: int = 120, *, images: bool = True, lists: bool = True) -> None:
    """Ten classes with 85 predicates; ``images``: JPEGImages, ``lists``: the feature archive's two lists."""
    pixels, digit = digits(n)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "classes.txt", [f"{i:6d}\t{name}" for i, name in enumerate(CLASSES, 1)])
    _write(folder / "predicates.txt", [f"{i:6d}\t{name}" for i, name in enumerate(AWA2_ATTRIBUTES, 1)])
    matrix = digit_attributes(85)
    _write(folder / "predicate-matrix-binary.txt", [" ".join(map(str, row)) for row in matrix])
    order = np.argsort(digit, kind="stable")
    number = {row: 10001 + place for c in range(10) for place, row in enumerate(order[digit[order] == c])}
    names = {row: f"{CLASSES[digit[row]]}_{number[row]}.jpg" for row in order}
    if lists:
        _write(folder / "AwA2-filenames.txt", [names[row] for row in order])
        _write(folder / "AwA2-labels.txt", [str(digit[row] + 1) for row in order])
    if images:
        for row in order:
            save_jpeg(pixels[row], folder / "JPEGImages" / CLASSES[digit[row]] / names[row])


def write_cub(folder: Path, n: int = 120, *, images: bool = True) -> None:
    """All files of CUB_200_2011; ``attributes.txt`` one folder up as in the archive, known fault included."""
    pixels, digit = digits(n)
    order = np.argsort(digit, kind="stable")
    classes = [f"{i:03d}.{name.title()}" for i, name in enumerate(CLASSES, 1)]
    paths = [
        f"{classes[digit[row]]}/{classes[digit[row]][4:]}_{i:04d}_{row}.jpg" for i, row in enumerate(order, 1)
    ]
    (folder / "attributes").mkdir(parents=True, exist_ok=True)
    numbers = range(1, n + 1)
    _write(folder / "images.txt", [f"{i} {path}" for i, path in zip(numbers, paths, strict=True)])
    _write(folder / "classes.txt", [f"{i} {name}" for i, name in enumerate(classes, 1)])
    _write(
        folder / "image_class_labels.txt",
        [f"{i} {digit[row] + 1}" for i, row in zip(numbers, order, strict=True)],
    )
    _write(folder / "train_test_split.txt", [f"{i} {int(i % 3 > 0)}" for i in numbers])
    _write(folder.parent / "attributes.txt", [f"{i} {name}" for i, name in enumerate(CUB_ATTRIBUTES, 1)])
    certainties = ["1 not visible", "2 guessing", "3 probably", "4 definitely"]
    _write(folder / "attributes" / "certainties.txt", certainties)
    _write(folder / "attributes" / "image_attribute_labels.txt", _annotations(digit[order]))
    if images:
        for row, path in zip(order, paths, strict=True):
            save_jpeg(pixels[row], folder / "images" / path)


def _annotations(digit: np.ndarray) -> list[str]:
    rng = np.random.default_rng(2)
    present = digit_attributes(312)[digit] ^ (rng.random((len(digit), 312)) < 0.03)
    certainty = rng.choice([1, 2, 3, 4], p=[0.05, 0.1, 0.25, 0.6], size=present.shape)
    seconds = rng.uniform(1, 60, size=len(digit))
    lines = []
    for image in range(len(digit)):
        for attribute in range(312):
            extra = "0  " if image + 1 in FAULTY_IMAGES and attribute % 9 == 0 else ""
            fields = (
                f"{image + 1} {attribute + 1} {int(present[image, attribute])} {certainty[image, attribute]}"
            )
            lines.append(f"{fields} {extra}{seconds[image]:.3f}")
    return lines


def _write(path: Path, lines: list[str], end: str = "\n") -> None:
    path.write_bytes("".join(line + end for line in lines).encode())
