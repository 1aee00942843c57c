"""Seconds and peak memory of reading CelebA and CUB at full size, and of the pixel cache; run it as a script.

``python tests/benchmarks/readers.py [celeba] [cub] [pixels]`` writes synthetic files of the official sizes
into a temporary folder and prints a line of JSON for each: best of three runs, each in a process of its own
on two cores.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from assets.labels.pixels import build_pixel_cache  # noqa: E402
from assets.labels.versions import label_versions  # noqa: E402
from resources.datasets import open_dataset  # noqa: E402
from resources.datasets.celeba import ATTRIBUTES as CELEBA_ATTRIBUTES  # noqa: E402

CELEBA_IMAGES, CUB_IMAGES, CUB_ATTRIBUTES, JPEGS = 202_599, 11_788, 312, 2_000


def write_celeba(root: Path) -> None:
    """The three label files of CelebA, 202,599 rows, random labels."""
    rng = np.random.default_rng(0)
    folder = root / "celeba"
    folder.mkdir()
    bits = rng.integers(0, 2, (CELEBA_IMAGES, 40))
    words = np.array(["-1", " 1"])
    rows = (f"{i:06d}.jpg {' '.join(words[row])}\n" for i, row in enumerate(bits, 1))
    heading = f"{CELEBA_IMAGES}\n{' '.join(CELEBA_ATTRIBUTES)} \n"
    (folder / "list_attr_celeba.txt").write_text(heading + "".join(rows))
    people = rng.integers(1, 10_178, CELEBA_IMAGES)
    (folder / "identity_CelebA.txt").write_text(
        "".join(f"{i:06d}.jpg {p}\r\n" for i, p in enumerate(people, 1))
    )
    parts = np.repeat([0, 1, 2], [162_770, 19_867, 19_962])
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{i:06d}.jpg {p}\n" for i, p in enumerate(parts, 1))
    )


def write_cub(root: Path) -> None:
    """The label files of CUB, 3,677,856 annotations, the known fault in the lines of two images."""
    rng = np.random.default_rng(0)
    folder = root / "cub"
    (folder / "attributes").mkdir(parents=True)
    numbers = range(1, CUB_IMAGES + 1)
    classes = np.sort(rng.integers(1, 201, CUB_IMAGES))
    pairs = list(zip(numbers, classes.tolist(), strict=True))
    (folder / "images.txt").write_text("".join(f"{i} {c:03d}.Bird/Bird_{i}.jpg\n" for i, c in pairs))
    (folder / "image_class_labels.txt").write_text("".join(f"{i} {c}\n" for i, c in pairs))
    (folder / "train_test_split.txt").write_text("".join(f"{i} {i % 2}\n" for i in numbers))
    with (folder / "attributes" / "image_attribute_labels.txt").open("w") as file:
        for image in numbers:
            present, certainty = rng.integers(0, 2, CUB_ATTRIBUTES), rng.integers(1, 5, CUB_ATTRIBUTES)
            extra = "0  " if image in {2275, 9364} else ""
            seconds = f"{rng.uniform(1, 60):.3f}"
            file.writelines(
                f"{image} {a + 1} {present[a]} {certainty[a]} {extra}{seconds}\n"
                for a in range(CUB_ATTRIBUTES)
            )


def write_pixels(root: Path) -> None:
    """2,000 JPEGs of CelebA's size, 178×218."""
    rng = np.random.default_rng(0)
    (root / "pixels").mkdir()
    for i in range(JPEGS):
        small = Image.fromarray(rng.integers(0, 256, (16, 13, 3), dtype=np.uint8))
        small.resize((178, 218), Image.Resampling.BICUBIC).save(root / "pixels" / f"{i:04d}.jpg", quality=90)


def measure(what: str, root: Path) -> dict[str, float]:
    """One run in this process: wall and processor seconds, peak memory."""
    start, start_cpu = time.perf_counter(), time.process_time()
    result: dict[str, float] = {}
    if what == "pixels":
        images = sorted((root / "pixels").iterdir())
        build_pixel_cache(images, 64, root / f"{os.getpid()}.npy")
        result["rows"] = len(images)
    else:
        table = open_dataset(what, root, {}).read()
        result["rows"] = len(table.frame)
    result |= {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - start_cpu}
    if what != "pixels":
        start_cpu = time.process_time()
        label_versions(table)
        result["versions_cpu_seconds"] = time.process_time() - start_cpu
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return result | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}


def best_of_three(what: str, root: Path) -> dict[str, float]:
    """The best of three processes, each with two Polars threads."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "2"}
    command = [sys.executable, __file__, "--measure", what, str(root)]
    runs = [subprocess.run(command, capture_output=True, check=True, env=environment) for _ in range(3)]
    return min((json.loads(run.stdout) for run in runs), key=lambda result: result["cpu_seconds"])


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    if arguments[:1] == ["--measure"]:
        print(json.dumps(measure(arguments[1], Path(arguments[2]))))
        return
    writers = {"celeba": write_celeba, "cub": write_cub, "pixels": write_pixels}
    with tempfile.TemporaryDirectory() as folder:
        for what in arguments or list(writers):
            writers[what](Path(folder))
            print(json.dumps({"what": what, **best_of_three(what, Path(folder))}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
