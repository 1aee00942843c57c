"""Every known way in which label files are broken gets one line that names file and line or column."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from resources.datasets import open_dataset
from resources.errors import DataError

Edit = Callable[..., None]

CELEBA = "celeba/list_attr_celeba.txt"
PARTITION = "celeba/list_eval_partition.txt"
IDENTITY = "celeba/identity_CelebA.txt"
MATRIX = "awa2/predicate-matrix-binary.txt"
NAMES = "awa2/AwA2-filenames.txt"
CUB = "cub/CUB_200_2011/"
ANNOTATIONS = CUB + "attributes/image_attribute_labels.txt"
CERTAINTIES = CUB + "attributes/certainties.txt"
ALL_FILES = [
    (CELEBA, "celeba"),
    (PARTITION, "celeba"),
    (IDENTITY, "celeba"),
    ("awa2/classes.txt", "awa2"),
    ("awa2/predicates.txt", "awa2"),
    (MATRIX, "awa2"),
    (NAMES, "awa2"),
    ("awa2/AwA2-labels.txt", "awa2"),
    (CUB + "images.txt", "cub"),
    (CUB + "image_class_labels.txt", "cub"),
    (CUB + "train_test_split.txt", "cub"),
    (ANNOTATIONS, "cub"),
]
ONES = " 1" * 40


def refuse(data: Path, reader: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        open_dataset(reader, data, {}).read()
    text = str(caught.value)
    assert "\n" not in text
    assert re.search(message, text), text


@pytest.mark.parametrize(("file", "reader"), ALL_FILES)
def test_missing_empty_web_page_and_non_utf8_files_are_named(data: Path, file: str, reader: str) -> None:
    path, name = data / file, re.escape(Path(file).name)
    whole = path.read_bytes()
    path.write_bytes(b" \n")
    refuse(data, reader, name + ": empty file")
    path.write_bytes(b"\n<!DOCTYPE html>\n<html><body>Quota exceeded</body></html>\n")
    refuse(data, reader, name + ": a web page")
    third = whole.index(b"\n", whole.index(b"\n") + 1) + 2
    path.write_bytes(whole[:third] + b"\xe9" + whole[third:])
    refuse(data, reader, name + ", line 3: not UTF-8")
    path.unlink()
    refuse(
        data,
        reader,
        name if name != "AwA2\\-filenames\\.txt" else "neither the folder JPEGImages nor " + name,
    )


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        (CELEBA, 1, "121", r"celeba.txt, line 1: announces 121 images, but 120 lines follow"),
        (CELEBA, 1, "9" * 5000, r"line 1: '9{40}' is not the number of images"),
        (CELEBA, 1, "many", r"line 1: 'many' is not the number of images"),
        (CELEBA, 2, "Male Young", r"line 2: 2 attribute names; CelebA has 40"),
        (CELEBA, 5, "000003.jpg" + ONES[:-2], r"line 5: 40 fields where 41 belong"),
        (CELEBA, 5, "000003.jpg" + ONES + " 1", r"line 5: 42 fields where 41 belong"),
        (CELEBA, 5, "000003.jpg" + ONES[:-2] + " 0", r"line 5: Young is 0; it must be -1 or 1"),
        (CELEBA, 5, "000003.jpg" + ONES[:-2] + " ?", r"line 5: Young is '\?', not a whole number"),
        (CELEBA, 5, "000002.jpg" + ONES, r"line 5: image '000002.jpg' comes a second time"),
        (CELEBA, 5, "../000003.jpg" + ONES, r"line 5: image path '\.\./000003.jpg' is empty or leads out"),
        (CELEBA, 5, "/000003.jpg" + ONES, r"line 5: image path '/000003.jpg'"),
        (CELEBA, 122, "000120.jpg 1 -1 1 -", r"line 122: 5 fields where 41 belong"),
        (
            PARTITION,
            4,
            "000004.jpg 3",
            r"partition.txt, line 4: the partition is 3; it must be one of 0, 1, 2",
        ),
        (
            PARTITION,
            4,
            None,
            r"partition.txt: image '000004.jpg' of list_attr_celeba.txt is not in it \(1 in all",
        ),
        (PARTITION, 4, "000777.jpg 0", r"partition.txt: image '000004.jpg'|'000777.jpg'"),
        (PARTITION, 4, "000003.jpg 0", r"partition.txt, line 4: image '000003.jpg' comes a second time"),
        (IDENTITY, 120, "000120.jpg", r"identity_CelebA.txt, line 120: 1 fields where 2 belong"),
        (
            IDENTITY,
            7,
            "000007.jpg " + "9" * 5000,
            r"identity_CelebA.txt, line 7: number is 9{40}, out of range",
        ),
        (IDENTITY, 7, "000007.jpg x\r", r"identity_CelebA.txt, line 7: number is 'x'"),
    ],
)
def test_celeba(data: Path, edit: Edit, file: str, line: int, text: str | None, message: str) -> None:
    edit(data / file, line, text)
    refuse(data, "celeba", message)


def test_celeba_files_in_another_order_are_refused(data: Path) -> None:
    lines = (data / PARTITION).read_text().splitlines()
    (data / PARTITION).write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n")
    refuse(
        data,
        "celeba",
        r"partition.txt: image '000002.jpg' stands where list_attr_celeba.txt has '000001.jpg'",
    )


def test_a_file_cut_in_its_last_line_is_refused(data: Path) -> None:
    for file, reader, cut in ((CELEBA, "celeba", 40), (ANNOTATIONS, "cub", 12), (MATRIX, "awa2", 9)):
        whole = (data / file).read_bytes()
        (data / file).write_bytes(whole[:-cut])
        refuse(data, reader, Path(file).name + r", line \d+: .*(fields where|columns, but)")
        (data / file).write_bytes(whole)


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        (MATRIX, 10, None, r"predicate-matrix-binary.txt: 9 rows, but classes.txt has 10 classes"),
        (MATRIX, 4, "0 1 1", r"predicate-matrix-binary.txt, line 4: 3 columns, but predicates.txt has 85"),
        (MATRIX, 4, "2 " * 85, r"predicate-matrix-binary.txt, line 4: '2' is neither 0 nor 1"),
        ("awa2/predicates.txt", 3, "3\tpurple", r"predicates.txt, line 3: not the 85 predicates"),
        ("awa2/classes.txt", 2, "one", r"classes.txt, line 2: 'one' is not a number and a name"),
        ("awa2/classes.txt", 2, "1 one", r"classes.txt, line 2: number 1 comes a second time"),
        ("awa2/AwA2-labels.txt", 8, "77", r"AwA2-labels.txt, line 8: '77' is no class number"),
        ("awa2/AwA2-labels.txt", 8, None, r"AwA2-labels.txt: 119 lines, but AwA2-filenames.txt has 120"),
        ("awa2/AwA2-labels.txt", 1, "2", r"AwA2-filenames.txt, line 1: 'zero_10001.jpg' is labelled one"),
        (
            NAMES,
            2,
            "zero_10001.jpg",
            r"AwA2-filenames.txt, line 2: image 'zero_10001.jpg' comes a second time",
        ),
        (NAMES, 2, "zero_/../../x.jpg", r"AwA2-filenames.txt, line 2: image path"),
    ],
)
def test_awa2(data: Path, edit: Edit, file: str, line: int, text: str | None, message: str) -> None:
    edit(data / file, line, text)
    refuse(data, "awa2", message)


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        (
            ANNOTATIONS,
            5,
            "1 313 0 3 1.0",
            r"labels.txt, line 5: the attribute is 313; it must be one of 1 to 312",
        ),
        (ANNOTATIONS, 5, "1 5 2 3 1.0", r"labels.txt, line 5: is_present is 2; it must be one of 0, 1"),
        (ANNOTATIONS, 5, "1 5 1 5 1.0", r"labels.txt, line 5: the certainty is 5"),
        (ANNOTATIONS, 5, "999 5 1 3 1.0", r"labels.txt, line 5: image 999 is not in images.txt"),
        (ANNOTATIONS, 5, "1 5 1", r"labels.txt, line 5: 3 fields where 4 belong"),
        (ANNOTATIONS, 5, None, r"labels.txt: nothing for row 1 of images.txt, attribute 5 \(1 such gaps\)"),
        (CUB + "train_test_split.txt", 3, "3 2", r"split.txt, line 3: is_training_image is 2"),
        (CUB + "train_test_split.txt", 3, None, r"split.txt: image '3' of images.txt is not in it"),
        (CUB + "image_class_labels.txt", 3, "3 201", r"image_class_labels.txt, line 3: the class is 201"),
        (CUB + "images.txt", 3, "2147483647 a.jpg", r"images.txt, line 3: the image number is 2147483647"),
        (CUB + "images.txt", 3, "-3 a.jpg", r"images.txt, line 3: the image number is -3"),
        ("cub/attributes.txt", 3, "9" * 5000 + " has_wheels", r"attributes.txt, line 3: .* is not a number"),
        (CUB + "images.txt", 3, "3 ../../secret.jpg", r"images.txt, line 3: image path '../../secret.jpg'"),
        ("cub/attributes.txt", 3, "3 has_wheels", r"attributes.txt, line 3: not the 312 names"),
        ("cub/attributes.txt", 312, None, r"attributes.txt, line 312: not the 312 names"),
        (CERTAINTIES, 2, "2 guesing", r"certainties.txt, line 2: not the 4 names"),
        (CERTAINTIES, 4, "4 definitely\n5 surely", r"certainties.txt, line 5: not the 4 names"),
    ],
)
def test_cub(data: Path, edit: Edit, file: str, line: int, text: str | None, message: str) -> None:
    edit(data / file, line, text)
    refuse(data, "cub", message)
