"""One image file to one square of RGB pixels; what should not be trusted is refused. Nothing is written."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from resources.errors import DataError

DECODER_VERSION = "1"
"""Part of every cache's identity: raise it when the same file would give other pixels."""

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded: a few kilobytes can unpack to gigabytes (pixels)."""

SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".ppm": "PPM",
    ".pgm": "PPM",
}
"""The formats that are read, by extension; an extension must tell the truth about the content."""

_FORMATS = tuple(sorted(set(SUFFIXES.values())))


def decode_image(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """Decode one image file to (size, size, 3) uint8 RGB.

    The whole picture is squeezed into the square (aspect ratio is not kept) by bilinear interpolation with
    antialiasing. EXIF orientation is applied, transparency is laid on white, grey and palette images become
    RGB, and of an animation the first frame is taken. JPEGs may be decoded at a half, quarter or eighth of
    their resolution as long as that leaves at least twice the target's.

    Raises:
        DataError: With the reason alone, for the caller to put the name before it.
    """
    expected = SUFFIXES.get(path.suffix.lower())
    if expected is None:
        raise DataError(f"extension '{path.suffix}' is not one of {', '.join(SUFFIXES)}")
    if path.exists() and not path.is_file():
        raise DataError("is no file")  # a folder, or a pipe on which reading would wait for ever
    try:
        with Image.open(path, formats=_FORMATS) as image:
            _check_header(image, expected)
            return _to_square(image, size)
    except (DataError, MemoryError):
        raise
    except FileNotFoundError:
        raise DataError("no such file") from None
    except Image.DecompressionBombError:
        raise DataError(f"more than {MAX_PIXELS:,} pixels, taken for a decompression bomb") from None
    except Exception as error:  # Pillow's plugins raise whatever broken bytes lead them to
        raise DataError(f"{type(error).__name__}: {_one_line(error).replace(str(path), path.name)}") from None


def resize_array(image: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Resize a grey (h, w) or RGB (h, w, 3) uint8 array to (size, size, 3), bilinear with antialiasing."""
    return np.asarray(Image.fromarray(image).convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def _check_header(image: Image.Image, expected: str) -> None:
    # Multi-picture JPEGs (many phones write them) come as MPO and decode to their first picture.
    found = "JPEG" if image.format == "MPO" else image.format
    if found != expected:
        raise DataError(f"content is {found}, not {expected} as the extension says")
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{image.width}×{image.height} is more than {MAX_PIXELS:,} pixels")


def _to_square(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    image.draft("RGB", (2 * size, 2 * size))
    upright = ImageOps.exif_transpose(image)
    rgb = _to_rgb(upright)
    return np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip at 255, the high byte is meant
        wide = np.asarray(image).astype(np.int64)
        return Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError("floating-point pixels have no fixed range; save the image with 8 bits a channel")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or "no further reason given"
