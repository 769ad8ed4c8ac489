"""Reading a photo so that a wrong file is an error, never a wrong picture."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from kvqa.errors import InputError

MAX_PIXELS = 100_000_000
"""Largest picture that is decoded; 100 megapixels are 300 MB as RGB."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Formats that are tried. Pillow knows more, some of which start an outside program (EPS)."""


def read_image(path: str | Path) -> Image.Image:
    """Return the picture at `path` as RGB, turned upright as its EXIF orientation says.

    Transparent parts become white, 16-bit grey is scaled to 8 bits, of an animation the first frame is taken.

    Raises:
        InputError: if the file is missing, a folder, empty, not a picture, damaged, or larger than `MAX_PIXELS`.
    """
    path = Path(path)
    _check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata and large sizes: what matters is an error below
            Image.init()  # registers all formats; without it FORMATS may name unknown ones
            with Image.open(path, formats=FORMATS) as image:
                _check_size(path, image.width, image.height)
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        allowed = ", ".join(FORMATS)
        raise InputError(f"{path} is not a picture that can be read; give a file in one of: {allowed}") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path} has more than {MAX_PIXELS:,} pixels; scale it down first") from None
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow's decoders raise any of these
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is damaged or cut short ({reason}); fetch or export the file again") from None


def middle(
    image: Image.Image, *, short: int, height: int, width: int, resample: int = Image.Resampling.BILINEAR
) -> NDArray[np.float32]:
    """Return pixels (3, height, width) in [0, 1]: the shorter side brought to `short`, then the middle cut out."""
    scale = short / min(image.size)
    size = tuple(max(short, round(side * scale)) for side in image.size)
    resized = image.convert("RGB").resize((size[0], size[1]), Image.Resampling(resample))
    left, top = (resized.width - width) // 2, (resized.height - height) // 2
    values = np.asarray(resized.crop((left, top, left + width, top + height)), dtype=np.float32) / 255
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _check_file(path: Path) -> None:
    """Raise InputError unless `path` is a regular file with content."""
    if "\x00" in str(path):
        raise InputError(f"{str(path)!r} holds a NUL character and cannot be a file name; give another path")
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the path of one picture")
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path of the picture")
        if not path.is_file():
            raise InputError(f"{path} is not a regular file; save the picture to a file first")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); fetch or export the file again")
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check its name and permissions") from None


def _check_size(path: Path, width: int, height: int) -> None:
    """Raise InputError if the picture has more than `MAX_PIXELS` pixels."""
    if width * height > MAX_PIXELS:
        raise InputError(f"{path} is {width} x {height}, more than {MAX_PIXELS:,} pixels; scale it down first")


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return `image` in mode RGB; transparency over white, 16-bit grey scaled instead of cut off at 255."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float64) / 257.0  # 65535 -> 255
        return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
