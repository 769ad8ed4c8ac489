"""Readers of captions; every expected value stands in the fixture."""

import shutil
from pathlib import Path

import pytest

from kvqa.data.captions import captioned_photos
from kvqa.data.datasets import Dataset
from kvqa.errors import InputError
from kvqa.vision.regions import Region

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def test_coco_captions_are_gathered_by_photo() -> None:
    first, second = Dataset("coco_captions", FIXTURES / "coco_captions").examples("val2014")
    assert (first.image, first.captions) == ("COCO_val2014_000000000009.jpg", ("A red kettle.",))
    assert second.captions == ("A shelf with books.", "Many books on a board")
    assert (second.question, second.question_id) == ("", second.image)


def test_flickr8k_tokens_and_lists() -> None:
    dataset = Dataset("flickr8k", FIXTURES / "flickr8k")
    assert [(e.image, e.captions) for e in dataset.examples("all")] == [
        ("1000_abc.jpg", ("A dog , running .", "A wet dog .")),
        ("2000_def.jpg", ("Two boats .",)),
    ]
    assert dataset.images("dev") == ["2000_def.jpg"]
    assert [e.captions for e in dataset.examples("more")] == [("A dog , running .",), ("A hill .",)]  # quotes, commas


def test_flickr30k_table_with_a_line_that_lacks_its_second_bar() -> None:
    (only,) = Dataset("flickr30k", FIXTURES / "flickr30k").examples("all")
    assert (only.image, only.captions) == ("1000.jpg", ("A dog , running .", "A dog runs ."))


def test_machine_captions_are_regions() -> None:
    first, second = Dataset("vinvl_captions", FIXTURES / "vinvl_captions").examples("val2014")
    assert first.image == "COCO_val2014_000000000042.jpg" and first.captions == ()
    assert first.regions.regions == (Region("a shelf full of books.", 0.75, None, "caption"),)
    assert second.image == "COCO_val2014_000000391895.jpg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,caption\na.jpg,A dog, running.\n", "line 2: there are 3 columns; expected 2"),
        ("image,caption\na.jpg,\n", "line 2: expected the name of a photo and a caption"),
        ("a.jpg#0\tA dog.\na.jpg#1 A cat.\n", "line 2: 'a.jpg#1 A cat.' has no tab"),
        ("image| n| comment\na.jpg 0 A cat.\n", "line 2: 'a.jpg 0 A cat.' has no bar"),
    ],
)
def test_a_broken_line_of_a_table_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "table").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        list(captioned_photos(tmp_path / "table"))


def test_other_broken_captions_are_named(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "coco_captions", tmp_path / "coco")
    path = tmp_path / "coco" / "annotations" / "captions_val2014.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"image_id": 9', '"image_id": 8'), encoding="utf-8")
    with pytest.raises(InputError, match="annotations 2: image_id 8 is not among the images"):
        Dataset("coco_captions", tmp_path / "coco").examples("val2014")
    table = tmp_path / "vinvl_captions_val2014.tsv"
    table.write_text('7\t[{"caption": "a dog", "conf": 7}]\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 1: conf is 7; expected a number from 0 to 1"):
        Dataset("vinvl_captions", tmp_path).examples("val2014")
