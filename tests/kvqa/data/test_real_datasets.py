"""The readers on the real data sets, where the environment variable KVQA_DATA names their folder."""

import gzip
import json
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kvqa.data.audit import audit
from kvqa.data.datasets import Dataset

pytestmark = pytest.mark.skipif(
    "KVQA_DATA" not in os.environ, reason="KVQA_DATA, the folder of the real data sets, is not set"
)
ROOT = Path(os.environ.get("KVQA_DATA", "/nonexistent"), "data")
COLOURS = {"yellow": (255, 255, 0), "black": (0, 0, 0), "blue": (0, 153, 255)}


@pytest.mark.parametrize(
    ("name", "folder", "counts"),
    [
        ("vqa2", "vqa2_60k", {"train": (48_061, 33_745), "val": (8_977, 8_260)}),
        ("okvqa", "okvqa", {"train": (9_009, 8_998), "val": (4_054, 4_045)}),
        ("daquar", "daquar", {"train": (6_795, 794), "test": (5_189, 597)}),
        ("nlvr", "nlvr1", {"dev": (989, 989), "test": (990, 990)}),
        ("snli_ve", "snli/snli_ve_sample", {"sample": (5, 5)}),
        ("flickr8k", "flickr8k_1000", {"all": (796, 796), "more": (7_887, 7_887)}),
        ("vinvl_captions", "coco_text", {"val2014": (40_504, 40_504)}),
    ],
)
def test_questions_and_photos(name: str, folder: str, counts: dict[str, tuple[int, int]]) -> None:
    report = audit(name, ROOT / folder, splits=list(counts))
    assert {r["split"]: (r["questions"], r["images"]) for r in report["splits"]} == counts
    assert not any(r["duplicate_ids"] for r in report["splits"])
    shared = [record["images"] for record in report["overlaps"]]
    assert shared == ([3_930] if name == "vqa2" else [])


def test_nlvr2_with_its_parts_and_contrast_set() -> None:
    report = audit("nlvr2", ROOT / "nlvr2")
    counts = {r["split"]: r["questions"] for r in report["splits"] if r["state"] != "missing"}
    assert counts == {
        **{"dev": 6_982, "test1": 6_967, "contrast": 476},
        **{"balanced_dev": 2_300, "unbalanced_dev": 3_562, "balanced_test1": 2_316, "unbalanced_test1": 3_536},
    }
    groups = {example.meta["group"] for example in Dataset("nlvr2", ROOT / "nlvr2").iterate("contrast")}
    assert len(groups) == 229
    assert [(r["split"], r["other"], r["images"]) for r in report["overlaps"]] == [("dev", "test1", 45)]


def test_nlvr_shapes_have_the_colour_of_the_picture() -> None:
    """At the centre of every shape, and nowhere in a margin of 2 pixels outside a square that stands alone."""
    examples = Dataset("nlvr", ROOT / "nlvr1").examples("dev")
    assert Counter(example.label for example in examples) == {1: 547, 0: 442}
    for example in examples[::9]:
        with Image.open(ROOT / "nlvr1" / "images" / "dev" / example.image) as file:
            pixels = np.asarray(file.convert("RGB")).astype(int)
        for region in example.regions.regions[3:]:
            x1, y1, x2, y2 = map(int, region.box or (0, 0, 0, 0))
            colour = np.array(COLOURS[region.label.split()[1]])
            assert np.abs(pixels[(y1 + y2) // 2, (x1 + x2) // 2] - colour).max() < 40, (example.image, region)
            if region.label.endswith("square"):
                assert np.abs(pixels[y1 + 2, x1 + 2] - colour).max() < 40
                assert np.abs(pixels[y2 - 3, x2 - 3] - colour).max() < 40


def test_okvqa_detections_are_found_by_question_and_by_picture() -> None:
    dataset = Dataset("okvqa", ROOT / "okvqa")
    first = dataset.examples("train")[0]
    assert [region.label for region in first.regions.regions][:3] == ["stage", "clothing", "arena"]
    val = dataset.examples("val")
    assert val[0].question_id == "2971475" and val[0].answers[0] == "racing" and val[0].answer_scores == (1, 0.6, 0.6)
    assert val[0].regions.regions[0].label == "hangar"
    assert all(example.regions.regions for example in val)


def test_daquar_questions_that_name_their_picture_twice() -> None:
    dataset = Dataset("daquar", ROOT / "daquar")
    examples = [*dataset.iterate("train"), *dataset.iterate("test")]
    assert sum("," in example.answers[0] for example in examples) == 1_194
    assert all((ROOT / "daquar" / "images" / example.image).is_file() for example in examples)
    assert not any(re.search(r"image\d", example.question) for example in examples)


@pytest.mark.parametrize(
    ("name", "file", "target", "split"),
    [("aokvqa", "aokvqa_val_1.json", "aokvqa_v1p0_val.json", "val"), ("kvqa", "kvqa_1.json", "dataset.json", "all")],
)
def test_published_samples_can_be_read(tmp_path: Path, name: str, file: str, target: str, split: str) -> None:
    (tmp_path / target).write_bytes((ROOT / "format_samples" / file).read_bytes())
    examples = Dataset(name, tmp_path).examples(split)
    if name == "aokvqa":
        assert (examples[0].choices[3], examples[0].label, examples[0].answers) == ("cigarette", 3, ("cigarette",))
    else:
        # eleven questions, ten types: nothing says which type belongs to which question
        assert len(examples) == 11 and not any("types" in example.meta for example in examples)
        assert examples[6].answers == ("1",)


def test_premises_of_the_snli_ve_sample_are_captions_of_flickr30k() -> None:
    examples = Dataset("snli_ve", ROOT / "snli" / "snli_ve_sample").examples("sample")
    assert examples[0].meta["premise"].startswith("A man taking his son's bicycle")
    assert all((ROOT / "snli" / "snli_ve_sample" / example.image).is_file() for example in examples)


def test_nlvr2_parts_agree_with_the_lists() -> None:
    with gzip.open(ROOT / "nlvr2" / "balanced_dev.ids.json.gz", "rt", encoding="utf-8") as stream:
        wanted = json.load(stream)
    assert {example.question_id for example in Dataset("nlvr2", ROOT / "nlvr2").iterate("balanced_dev")} == set(wanted)
