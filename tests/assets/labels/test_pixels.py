"""The pixel cache: complete, resumable, atomic, with unreadable images counted and listed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assets.labels import shards
from assets.labels.decoding import decode_image, resize_array
from assets.labels.pixels import build_pixel_cache, hash_images, load_pixel_cache, missing_images
from resources.errors import DataError, StoreError


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Thirty different JPEGs."""
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [folder / f"{i:02d}.jpg" for i in range(30)]
    for i, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(path)
    return paths


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_cache_holds_every_decoded_image_and_nothing_else_stays(
    images: list[Path], tmp_path: Path
) -> None:
    done: list[tuple[int, int]] = []
    destination = tmp_path / "out" / "pixels.npy"
    cache = build_pixel_cache(images, 16, destination, shard_rows=7, progress=lambda *at: done.append(at))
    assert cache.pixels.shape == (30, 16, 16, 3)
    assert cache.size == 16
    assert isinstance(cache.pixels, np.memmap)
    assert not cache.pixels.flags.writeable
    assert all(np.array_equal(cache.pixels[row], decode_image(path, 16)) for row, path in enumerate(images))
    assert cache.readable.all()
    assert cache.unreadable == ()
    assert done[0] == (0, 30)
    assert done[-1] == (30, 30)
    assert files(destination.parent) == {"pixels.npy", "pixels.json"}
    assert load_pixel_cache(destination).content_hash == cache.content_hash


def test_arrays_may_be_cached_too(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8)
    cache = build_pixel_cache(grey, 32, tmp_path / "pixels.npy")
    assert all(np.array_equal(cache.pixels[row], resize_array(grey[row], 32)) for row in range(50))


def test_the_content_hash_is_of_content_alone(images: list[Path], tmp_path: Path) -> None:
    first = build_pixel_cache(images, 16, tmp_path / "a.npy", shard_rows=7, workers=1).content_hash
    assert build_pixel_cache(images, 16, tmp_path / "b.npy", shard_rows=1000, workers=3).content_hash == first
    assert build_pixel_cache(images, 8, tmp_path / "c.npy").content_hash != first
    assert build_pixel_cache(images[::-1], 16, tmp_path / "d.npy").content_hash != first
    Image.new("RGB", (9, 9)).save(images[3])
    assert build_pixel_cache(images, 16, tmp_path / "e.npy").content_hash != first


def test_missing_images_are_found_before_anything_is_decoded(images: list[Path], tmp_path: Path) -> None:
    images[4].unlink()
    strange = [*images, tmp_path / "nowhere" / "x.jpg"]
    assert missing_images(strange) == [images[4], tmp_path / "nowhere" / "x.jpg"]
    with pytest.raises(DataError, match=r"2 of 31 images are missing: .*04\.jpg"):
        build_pixel_cache(strange, 16, tmp_path / "out" / "pixels.npy")
    with pytest.raises(DataError, match="nowhere: no such folder, but 2 images are looked for in it"):
        build_pixel_cache(
            [tmp_path / "nowhere" / name for name in ("a.jpg", "b.jpg")], 16, tmp_path / "p.npy"
        )
    assert not (tmp_path / "out").exists()


def test_unreadable_images_stop_the_build_unless_tolerated(images: list[Path], tmp_path: Path) -> None:
    images[2].write_bytes(b"no picture")
    images[9].write_bytes(images[9].read_bytes()[:200])
    destination = tmp_path / "out" / "pixels.npy"
    with pytest.raises(DataError, match=r"2 of 30 images cannot be read \(1 tolerated\): .*02\.jpg"):
        build_pixel_cache(images, 16, destination, shard_rows=5, tolerate_unreadable=1)
    listed = (destination.parent / "pixels.unreadable.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in listed] == [str(images[2]), str(images[9])]
    with pytest.raises(StoreError, match="no finished pixel cache"):
        load_pixel_cache(destination)
    cache = build_pixel_cache(images, 16, destination, shard_rows=5, tolerate_unreadable=2)
    assert [entry.row for entry in cache.unreadable] == [2, 9]
    assert "UnidentifiedImageError" in cache.unreadable[0].reason
    assert np.flatnonzero(~cache.readable).tolist() == [2, 9]
    assert not cache.pixels[~cache.readable].any()
    assert load_pixel_cache(destination).unreadable == cache.unreadable
    named = build_pixel_cache(images, 8, destination, tolerate_unreadable=2, root=images[2].parent)
    assert [entry.name for entry in named.unreadable] == [images[2].name, images[9].name]
    assert str(tmp_path) not in destination.with_suffix(".json").read_text()


def test_unfinished_pixels_of_another_shape_are_thrown_away(images: list[Path], tmp_path: Path) -> None:
    destination = tmp_path / "pixels.npy"
    np.save(tmp_path / "left.npy", np.zeros((3, 4, 4, 3), np.uint8))
    for left in (b"no array", (tmp_path / "left.npy").read_bytes()):
        (tmp_path / "pixels.npy.partial").write_bytes(left)
        assert build_pixel_cache(images, 16, destination).pixels.shape == (30, 16, 16, 3)


def test_a_black_image_is_not_the_same_as_an_unreadable_one(images: list[Path], tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(images[5])
    black = build_pixel_cache(images, 16, tmp_path / "a.npy")
    images[5].write_bytes(b"no picture")
    unreadable = build_pixel_cache(images, 16, tmp_path / "b.npy", tolerate_unreadable=1)
    assert np.array_equal(black.pixels, unreadable.pixels)
    assert black.content_hash != unreadable.content_hash


def test_what_was_decoded_is_not_decoded_again(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images[12].write_bytes(b"no picture")
    destination = tmp_path / "pixels.npy"
    with pytest.raises(DataError, match="cannot be read"):
        build_pixel_cache(images, 16, destination, shard_rows=5)
    Image.new("RGB", (24, 20), "red").save(images[12])  # mended: only its shard is out of date
    opened: list[Path] = []

    def counting(path: Path, size: int) -> np.ndarray:
        opened.append(path)
        return decode_image(path, size)

    monkeypatch.setattr(shards, "decode_image", counting)
    cache = build_pixel_cache(images, 16, destination, shard_rows=5)
    assert sorted(opened) == images[10:15]
    whole = build_pixel_cache(images, 16, tmp_path / "fresh.npy")
    assert cache.content_hash == whole.content_hash
    assert np.array_equal(cache.pixels, whole.pixels)


def test_a_record_whose_pixels_were_lost_is_not_believed(images: list[Path], tmp_path: Path) -> None:
    images[12].write_bytes(b"no picture")
    destination = tmp_path / "pixels.npy"
    with pytest.raises(DataError, match="cannot be read"):
        build_pixel_cache(images, 16, destination, shard_rows=5)
    partial = destination.with_name("pixels.npy.partial")
    content = bytearray(partial.read_bytes())
    content[-500:] = bytes(500)  # as after a power failure: the record is on disk, the last pages are not
    partial.write_bytes(content)
    cache = build_pixel_cache(images, 16, destination, shard_rows=5, tolerate_unreadable=1)
    assert np.array_equal(cache.pixels[29], decode_image(images[29], 16))


PROGRAM = """
import sys, time
from pathlib import Path
from assets.labels import shards
from assets.labels.pixels import build_pixel_cache
decode = shards.decode_image
shards.decode_image = lambda path, size: (time.sleep(0.05), decode(path, size))[1]
folder = Path(sys.argv[1])
build_pixel_cache(sorted((folder / "images").iterdir()), 16, folder / "pixels.npy", shard_rows=2, workers=2)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_build_leaves_no_cache_and_is_continued(
    images: list[Path], tmp_path: Path, how: signal.Signals
) -> None:
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=root, stderr=subprocess.DEVNULL
    )
    records = tmp_path / "pixels.npy.shards"
    deadline = time.monotonic() + 60
    while len(list(records.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(how)
    assert process.wait(timeout=20) != 0
    finished = len(list(records.glob("*.json")))
    assert 3 <= finished < 15
    with pytest.raises(StoreError, match="no finished pixel cache"):
        load_pixel_cache(tmp_path / "pixels.npy")
    progress: list[int] = []
    cache = build_pixel_cache(
        images, 16, tmp_path / "pixels.npy", shard_rows=2, progress=lambda done, _: progress.append(done)
    )
    assert progress[0] == 2 * finished
    assert all(np.array_equal(cache.pixels[row], decode_image(path, 16)) for row, path in enumerate(images))


def test_a_cache_without_or_with_another_json_is_no_cache(images: list[Path], tmp_path: Path) -> None:
    destination = tmp_path / "pixels.npy"
    build_pixel_cache(images, 16, destination)
    about = destination.with_suffix(".json")
    content = json.loads(about.read_text())
    about.write_text(json.dumps(content | {"shape": [31, 16, 16, 3]}))
    with pytest.raises(StoreError, match=r"not the array that its \.json describes"):
        load_pixel_cache(destination)
    about.write_text(json.dumps(content))
    destination.write_bytes(destination.read_bytes()[:1000])
    with pytest.raises(StoreError, match="damaged pixel cache"):
        load_pixel_cache(destination)
    about.unlink()
    with pytest.raises(StoreError, match="no finished pixel cache"):
        load_pixel_cache(destination)


def test_the_identity_of_an_image_set(images: list[Path], tmp_path: Path) -> None:
    first = hash_images(images)
    assert hash_images(images) == first
    assert hash_images(images[1:]) != first
    assert hash_images(images[::-1]) != first
    moved = tmp_path / "moved"
    relative = hash_images(images, root=tmp_path / "images")
    (tmp_path / "images").rename(moved)
    paths = [moved / path.name for path in images]
    assert hash_images(paths, root=moved) == relative
    paths[0].write_bytes(paths[0].read_bytes() + b" ")
    assert hash_images(paths, root=moved) != relative
    array = np.zeros((4, 8, 8), dtype=np.uint8)
    assert hash_images(array) == hash_images(array.copy())
    assert hash_images(array) != hash_images(array.reshape(8, 4, 8))


def test_every_core_decodes(images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(min(os.cpu_count() or 1, 16))

    def decode(path: Path, size: int) -> np.ndarray:
        if int(path.stem) < together.parties:  # the first image of each thread waits for all others
            together.wait(timeout=20)
        return decode_image(path, size)

    monkeypatch.setattr(shards, "decode_image", decode)
    cache = build_pixel_cache(images, 16, tmp_path / "pixels.npy", shard_rows=1)
    assert not together.broken
    assert cache.readable.all()
