import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kvqa.data import images
from kvqa.data.images import read_image
from kvqa.errors import InputError


def _photo(width: int = 40, height: int = 30) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _jpeg(**options: object) -> bytes:
    stream = io.BytesIO()
    _photo().save(stream, "JPEG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tiff", "gif", "webp", "jpg"])
def test_common_formats_come_as_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    _photo().save(path)
    image = read_image(path)
    assert (image.mode, image.size) == ("RGB", (40, 30))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to see it upright
    path = tmp_path / "turned.png"
    _photo().save(path, exif=exif)
    upright = read_image(path)
    assert upright.size == (30, 40)
    np.testing.assert_array_equal(np.asarray(upright), np.rot90(np.asarray(_photo()), -1))


def test_transparent_parts_become_white(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(path)
    assert read_image(path).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16)).save(path)
    assert [read_image(path).getpixel((x, 0)) for x in range(3)] == [(0,) * 3, (128,) * 3, (255,) * 3]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_jpeg_is_an_error(tmp_path: Path, share: float, progressive: bool) -> None:
    content = _jpeg(progressive=progressive)
    path = tmp_path / "cut.jpg"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"cut\.jpg is (damaged or cut short|not a picture)"):
        read_image(path)


def test_a_truncated_png_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    _photo().save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"cut\.png is damaged or cut short"):
        read_image(path)


def test_a_picture_over_the_pixel_limit_is_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    path = tmp_path / "huge.png"
    _photo().save(path)
    with pytest.raises(InputError, match=r"huge\.png is 40 x 30, more than 1,000 pixels; scale it down"):
        read_image(path)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = tmp_path / "bomb.png"
    _photo().save(path)
    with pytest.raises(InputError, match=r"bomb\.png has more than .* pixels"):
        read_image(path)


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture at all", encoding="utf-8")
    (tmp_path / "draw.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", encoding="utf-8")
    cases = {
        "none.jpg": r"none\.jpg does not exist; check",
        "": r"is a folder; give",
        "empty.jpg": r"empty\.jpg is empty \(0 bytes\)",
        "text.jpg": r"text\.jpg is not a picture",
        "draw.eps": r"draw\.eps is not a picture",
        "nul\x00.jpg": r"holds a NUL character",
        "n" * 5000: r"cannot be opened|does not exist",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)
