import importlib.util
from pathlib import Path

import pytest
from PIL import Image

from kvqa.data import demo
from kvqa.data.demo import DEMO, PHOTOS, demo_photo_path, demo_regions_path
from kvqa.errors import InputError
from kvqa.vision.regions import read_regions

EXPECTED = {"astronaut": "person", "camera": "person", "cat": "cat", "coffee": "cup", "motorcycle": "motorcycle"}


def test_every_question_has_a_photo_and_every_photo_a_question() -> None:
    assert {item.name for item in DEMO} == set(PHOTOS) == set(EXPECTED)
    assert DEMO[0].photo == "chelsea.png"


@pytest.mark.parametrize("name", PHOTOS)
def test_the_region_files_show_what_the_questions_are_about(name: str) -> None:
    regions = read_regions(demo_regions_path(name))
    assert regions.image == PHOTOS[name] and regions.regions[0].label == EXPECTED[name]


@pytest.mark.parametrize("name", PHOTOS)
def test_the_region_files_fit_the_photos(name: str) -> None:
    pytest.importorskip("skimage", reason="scikit-image, which holds the demo photos, is not installed")
    with Image.open(demo_photo_path(name)) as photo:
        read_regions(demo_regions_path(name), photo.size)


def test_unknown_names_are_refused() -> None:
    for find in (demo_photo_path, demo_regions_path):
        with pytest.raises(InputError, match="no demo photo 'dog'; use one of: astronaut"):
            find("dog")


def test_without_scikit_image_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'kvqa\[demo\]'"):
        demo_photo_path("cat")
    empty = importlib.util.spec_from_file_location("skimage", tmp_path / "__init__.py")
    monkeypatch.setattr(demo, "find_spec", lambda name: empty)
    with pytest.raises(InputError, match=r"scikit-image has no .*chelsea\.png"):
        demo_photo_path("cat")
