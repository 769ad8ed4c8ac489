from pathlib import Path

import pytest

from kvqa.data.pretrain_pairs import Source, common_answers, common_labels, gather_features, gather_pairs, picture_key
from kvqa.errors import InputError
from kvqa.vision.regions import Region, Regions, write_regions

FIXTURES = Path(__file__).parents[2] / "fixtures"
OKVQA = Source("okvqa", "okvqa", "train")
OKVQA_VAL = Source("okvqa", "okvqa", "val")
VQA2 = Source("vqa2", "vqa2", "train")
CAPTIONS = Source("vinvl_captions", "vinvl_captions", "val2014")


def test_texts_of_one_source_meet_what_another_saw() -> None:
    found = gather_pairs(FIXTURES, seen=[OKVQA], texts=[OKVQA, VQA2, OKVQA])
    assert [(pair.text, pair.picture, pair.source) for pair in found.pairs] == [
        ("What is this pot used for?", "coco:9", "okvqa train"),
        ("What colour is the kettle?", "coco:9", "vqa2 train"),
        ('Is it "boiling" [now]?', "coco:9", "vqa2 train"),
    ]
    assert [[r.label for r in pair.regions.regions] for pair in found.pairs] == [["kettle", "stove"]] * 3
    assert dict(found.pairs[0].answers)  # by people's votes
    assert sum(dict(found.pairs[1].answers).values()) == 10
    assert str(found.report["vqa2 train"]) == (
        "2 texts used, 0 left out with pictures of evaluation splits, "
        "1 of pictures that are not at hand or in which nothing was seen, 0 doubles"
    )
    assert found.report["okvqa train"].double == 1 and found.pictures == ["coco:9"]
    assert common_labels(found.pairs, limit=1) == ("kettle",)
    assert len(common_answers(found.pairs, limit=9, at_least=1)) == 3
    assert common_answers(found.pairs, limit=9, at_least=2) == ()


def test_pictures_of_evaluation_splits_are_dropped_whatever_they_come_from() -> None:
    captions = gather_pairs(FIXTURES, seen=[OKVQA_VAL], texts=[CAPTIONS])
    assert [(pair.text, pair.picture) for pair in captions.pairs] == [("a shelf full of books.", "coco:42")]
    assert captions.pairs[0].source == "vinvl_captions val2014 sentences"
    with pytest.raises(InputError, match=r"no image-text pair is left .*1 left out with pictures of evaluation splits"):
        gather_pairs(FIXTURES, seen=[OKVQA_VAL], texts=[CAPTIONS], leave_out=[OKVQA_VAL])
    kept = gather_pairs(FIXTURES, seen=[OKVQA, OKVQA_VAL], texts=[OKVQA, CAPTIONS], leave_out=[OKVQA_VAL])
    assert kept.pictures == ["coco:9"] and kept.dropped == {"coco:42"} and kept.left_out == 2
    with pytest.raises(InputError, match="no image-text pair is left"):
        gather_pairs(FIXTURES, seen=[OKVQA], texts=[OKVQA], also_leave_out=["coco:9"])


def test_region_files_of_photos_go_with_captions(tmp_path: Path) -> None:
    dog = Regions("1000_abc.jpg", 90, 60, (Region("dog", 0.9, (0, 0, 50, 50)), Region("wet", 0.4, None, "caption")))
    write_regions(dog, tmp_path / "1000_abc.jpg.regions.json")
    seen, texts = [Source("regions", str(tmp_path))], [Source("flickr8k", "flickr8k", "all")]
    pairs = gather_pairs(FIXTURES, seen=seen, texts=texts).pairs
    assert [(pair.text, pair.facts) for pair in pairs] == [
        ("A dog , running .", ("A wet dog .",)),
        ("A wet dog .", ("A dog , running .",)),
    ]
    assert [r.label for r in pairs[0].regions.regions] == ["dog"]  # captions are texts, not something seen
    with pytest.raises(InputError, match=r"holds no region files .*detect_regions"):
        gather_pairs(FIXTURES, seen=[Source("regions", "okvqa")], texts=texts)


def test_a_photo_has_one_identity() -> None:
    names = ["COCO_train2014_000000000009.jpg", "000000000009.jpg", "1000_abc.jpg", "ILSVRC2012_test_1.JPEG"]
    assert [picture_key(name) for name in names] == ["coco:9", "coco:9", "flickr:1000", "ILSVRC2012_test_1.JPEG"]


def test_sources_that_are_not_there_are_named() -> None:
    assert list(OKVQA.problems()) == list(Source("regions", "x").problems()) == []
    assert list(Source("okvqa", "x", "test").problems()) == ["okvqa has no split 'test'; use one of: train, val"]
    assert next(Source("okvqb", "x").problems()).startswith("there is no data set 'okvqb'; use one of: vqa2")


def test_texts_meet_the_images_that_have_features() -> None:
    for image in ("COCO_train2014_000000000009", "9", "COCO_train2014_000000000009.jpg"):  # as published, or numbered
        found = gather_features(FIXTURES, [image], texts=[VQA2])
        assert [(pair.picture, pair.regions.image) for pair in found.pairs] == [("coco:9", image)] * 2
    with pytest.raises(InputError, match="give more sources in features or texts"):
        gather_features(FIXTURES, ["10"], texts=[VQA2])
