"""One image to one square: every mode to RGB, upright, transparency on white; untrustworthy files refused."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from assets.labels.decoding import decode_image, resize_array
from resources.errors import DataError

RNG = np.random.default_rng(0)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def gradient(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 0 * x], axis=2).astype(np.uint8)


def test_resize_is_bilinear_with_antialiasing(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(tensor, (16, 16), mode="bilinear", antialias=True)[0]
    assert np.abs(decode_image(path, 16) - expected.permute(1, 2, 0).numpy()).max() <= 1.5


def test_large_jpegs_decoded_at_a_fraction_look_the_same(tmp_path: Path) -> None:
    picture = gradient(1600, 1200)
    path = save(tmp_path / "a.jpg", Image.fromarray(picture), quality=95)
    expected = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(decode_image(path, 32).astype(int) - expected).max() <= 4


def test_grey_palette_sixteen_bits_and_cmyk_become_rgb(tmp_path: Path) -> None:
    grey = np.full((8, 8), 100, dtype=np.uint8)
    palette = Image.fromarray(gradient(8, 8)).quantize(4)
    files = {
        save(tmp_path / "l.png", Image.fromarray(grey)): 100,
        save(tmp_path / "i16.png", Image.fromarray(grey.astype(np.uint16) << 8)): 100,
        save(tmp_path / "bit.png", Image.fromarray(grey > 50)): 255,
        save(tmp_path / "cmyk.jpg", Image.new("CMYK", (8, 8), (0, 0, 0, 0)), quality=100): 255,
    }
    for path, value in files.items():
        square = decode_image(path, 8)
        assert square.shape == (8, 8, 3)
        assert square.dtype == np.uint8
        assert np.abs(square.astype(int) - value).max() <= 1, path.name
    expected = np.asarray(palette.convert("RGB"))
    assert np.array_equal(decode_image(save(tmp_path / "p.png", palette), 8), expected)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    half = np.zeros((8, 8, 4), dtype=np.uint8)
    half[..., 0], half[..., 3] = 200, 51  # a fifth of (200, 0, 0) on white
    square = decode_image(save(tmp_path / "a.png", Image.fromarray(half)), 8)
    assert np.abs(square[0, 0].astype(int) - [244, 204, 204]).max() <= 1
    grey = Image.fromarray(np.stack([np.zeros((8, 8)), np.zeros((8, 8))], axis=2).astype(np.uint8), "LA")
    assert (decode_image(save(tmp_path / "la.png", grey), 8) == 255).all()
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30] * 256)
    assert (decode_image(save(tmp_path / "pt.png", palette, transparency=0), 8) == 255).all()


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    upright = np.zeros((16, 16, 3), dtype=np.uint8)
    upright[:8] = 255  # white above
    for orientation, turned in ((6, np.rot90(upright)), (3, np.rot90(upright, 2)), (8, np.rot90(upright, 3))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = save(tmp_path / f"{orientation}.jpg", Image.fromarray(turned), exif=exif, quality=100)
        assert np.abs(decode_image(path, 16).astype(int) - upright).max() <= 10


def test_arrays_are_resized_in_the_same_way(tmp_path: Path) -> None:
    grey = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
    assert np.array_equal(
        resize_array(grey, 32), decode_image(save(tmp_path / "g.png", Image.fromarray(grey)), 32)
    )


def bomb() -> bytes:
    """A PNG of 30,000 × 30,000 black pixels in a few kilobytes of header and stream."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def test_untrustworthy_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    picture = Image.fromarray(gradient(200, 200))
    jpeg = save(tmp_path / "whole.jpg", picture).read_bytes()
    files = {
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "text.jpg": (b"<html>no</html>", "UnidentifiedImageError"),
        "empty.png": (b"", "UnidentifiedImageError"),
        "renamed.png": (jpeg, "content is JPEG, not PNG"),
        "bomb.png": (bomb(), "decompression bomb|more than 64,000,000 pixels"),
        "drawing.svg": (b"<svg/>", r"extension '.svg' is not one of"),
    }
    for name, (content, reason) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=reason):
            decode_image(tmp_path / name, 16)
    with pytest.raises(DataError, match="no such file"):
        decode_image(tmp_path / "absent.jpg", 16)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="is no file"):
        decode_image(tmp_path / "pipe.png", 16)


def test_an_image_just_over_the_limit_is_refused_by_its_header(tmp_path: Path) -> None:
    path = save(tmp_path / "wide.png", Image.new("1", (64_001, 1000)))
    with pytest.raises(DataError, match="64001×1000 is more than"):
        decode_image(path, 16)
