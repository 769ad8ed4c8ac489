import gzip
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvqa.data.fvqa import FvqaDataset
from kvqa.errors import InputError
from kvqa.vision.regions import Region

KITCHEN: dict[str, Any] = {
    "image": "kitchen.jpg",
    "det": [
        ["cup", 0.9, 10.5, 20.0, 60.0, 90.2],
        ["cup", 0.2, 5.0, 20.0, 30.0, 40.0],
        ["fork", 0.05, 0.0, 0.0, 99.4, 40.0],
        ["clock", 0.15, 1.0, 1.0, 9.0, 9.0],
    ],
    "coco": ["cup", "fork"],
    "imagenet": ["kettle", "fork"],
    "places": [["volcano", 0.9]],
    "hoi": ["cup sip", "cup sip", "cup no_interaction", "clock set", "cell_phone talk_on"],
    "densecap": [["a cup on a shelf", 4.0], ["a wall", -0.4]],
    "feat64": [0.0, 1.0],
    "feat300": [0.5, -1.0, 2.0],
}
GARDEN: dict[str, Any] = {
    **{"image": "garden.jpg", "det": [], "coco": [], "imagenet": [], "places": []},
    **{"hoi": [], "densecap": [], "feat64": [0.0], "feat300": [1.0, 1.0, 1.0]},
}


def _combined() -> dict[str, Any]:
    return {
        "7": _question("7", "kitchen.jpg", "drink tea", fact=["Cup", "UsedFor", "drink_tea"], kb_source="conceptnet"),
        "9": _question("9", "garden.jpg", "rose", fact=["Rose", "transnbhd", "Category:Garden_plants"]),
    }


def _question(number: str, image: str, answer: str, *, fact: list[str], kb_source: str = "dbpedia") -> dict[str, Any]:
    return {
        "question": " What is it for? ",
        "img_file": image,
        "answer": answer,
        "fact": fact,
        "fact_surface": "[[a]] is [[b]]",
        "kb_source": kb_source,
        "question_id": number,
    }


def _write(root: Path, *, packed: bool = False, **replaced: Any) -> Path:
    """Write a folder of the real layout with invented content; `replaced` swaps the content of a part."""
    combined = replaced.get("combined", _combined())
    release = {
        number: {
            **record,
            "answer": f"{record['answer']}s",
            "fact": ["id"],
            "ans_source": "kb",
            "visual_concept": "obj",
        }
        for number, record in _combined().items()
    }
    concepts = replaced.get("concepts", [KITCHEN, GARDEN])
    files = {
        "all_qs_dict_release.json": json.dumps(release),
        "all_qs_dict_release_combine.json": combined if isinstance(combined, str) else json.dumps(combined),
        "visual_concepts.jsonl": "".join(json.dumps(line) + "\n" for line in concepts),
    }
    for name, text in files.items():
        if packed:
            (root / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (root / name).write_text(text, encoding="utf-8")
    zero_shot = replaced.get("zero_shot", {"train_seen_data/0": ["9"], "test_unseen_data/0": ["7"]})
    (root / "zs_split_ids.json").write_text(json.dumps(zero_shot), encoding="utf-8")
    lists = root / "Name_Lists"
    lists.mkdir()
    (lists / "train_list_0.txt").write_text("kitchen.jpg\n", encoding="utf-8")
    (lists / "test_list_0.txt").write_text("garden.jpg\nother.jpg\n\n", encoding="utf-8")
    return root


@pytest.mark.parametrize("packed", [False, True])
def test_questions_carry_answer_fact_and_meta(tmp_path: Path, packed: bool) -> None:
    first, second = FvqaDataset(_write(tmp_path, packed=packed)).examples("all")
    assert (first.question_id, first.question, first.image) == ("7", "What is it for?", "kitchen.jpg")
    assert first.answers == ("drink tea", "drink teas")  # the combined file's spelling is the reference
    assert first.facts == (("cup", "UsedFor", "drink tea"),)
    assert second.facts == (("rose", "Category", "garden plants"),)
    assert first.meta == {
        "answer_source": "kb",
        "visual_concept": "obj",
        "kb_source": "conceptnet",
        "relation": "UsedFor",
    }


def test_regions_hold_objects_tags_and_captions(tmp_path: Path) -> None:
    regions = FvqaDataset(_write(tmp_path)).regions["kitchen.jpg"]
    assert regions.regions[:3] == (
        Region("cup", 0.9, (10.5, 20.0, 60.0, 90.2)),
        Region("cup", 0.2, (5.0, 20.0, 30.0, 40.0)),
        Region("clock", 0.15, (1.0, 1.0, 9.0, 9.0)),
    )
    tags = [(region.label, region.score) for region in regions.regions if region.kind == "tag"]
    # "fork" was detected too weakly to be an object; of the actions only the one with a well detected object stays.
    assert tags == [("fork", 0.5), ("kettle", 0.5), ("cup sip", 0.3)]
    captions = [region for region in regions.regions if region.kind == "caption"]
    assert [caption.label for caption in captions] == ["a cup on a shelf", "a wall"]
    assert captions[0].score == pytest.approx(1 / (1 + math.exp(-1)))


def test_extent_is_that_of_all_detections(tmp_path: Path) -> None:
    found = FvqaDataset(_write(tmp_path)).regions
    assert (found["kitchen.jpg"].width, found["kitchen.jpg"].height) == (100, 91)
    assert (found["garden.jpg"].width, found["garden.jpg"].height) == (1, 1)
    np.testing.assert_array_equal(found["kitchen.jpg"].image_feature, np.array([0.5, -1, 2], dtype=np.float32))


def test_splits_follow_the_lists(tmp_path: Path) -> None:
    dataset = FvqaDataset(_write(tmp_path))
    assert [example.question_id for example in dataset.examples("train0")] == ["7"]
    assert [example.question_id for example in dataset.examples("test0")] == ["9"]
    assert dataset.images("test0") == ["garden.jpg", "other.jpg"]
    assert dataset.images("all") == ["kitchen.jpg", "garden.jpg"]
    with pytest.raises(InputError, match="no split 'val'; use one of: train0, "):
        dataset.examples("val")
    with pytest.raises(InputError, match=r"no Name_Lists/train_list_3\.txt"):
        dataset.examples("train3")


def test_zero_shot_splits_are_lists_of_questions(tmp_path: Path) -> None:
    dataset = FvqaDataset(_write(tmp_path))
    assert [example.question_id for example in dataset.examples("zs_train0")] == ["9"]
    assert dataset.images("zs_test0") == ["kitchen.jpg"]
    with pytest.raises(InputError, match="has no list train_seen_data/4"):
        dataset.examples("zs_train4")


def test_a_zero_shot_split_with_unknown_questions_is_an_error(tmp_path: Path) -> None:
    dataset = FvqaDataset(_write(tmp_path, zero_shot={"train_seen_data/0": ["9", "10"]}))
    with pytest.raises(InputError, match=r"train_seen_data/0: 1 questions such as 10 are not in all_qs_dict_release_c"):
        dataset.examples("zs_train0")


def test_missing_files_are_named_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no all_qs_dict_release\.json; an FVQA folder holds .*visual_concepts"):
        FvqaDataset(tmp_path)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"combined": '{"7": '}, r"release_combine\.json is not whole JSON"),
        ({"combined": "[]"}, r"release_combine\.json holds list"),
        ({"combined": {"7": {**_combined()["7"], "fact": ["a", "b"]}}}, "question 7: not enough values"),
        ({"combined": {"7": {**_combined()["7"], "fact": ["", "IsA", "b"]}}}, "question 7: its fact .*is empty"),
        ({"combined": {"8": _combined()["7"]}}, "question 8: the key '8' is missing"),
        ({"concepts": [GARDEN]}, r"question 7: its picture kitchen\.jpg has no line"),
        ({"concepts": [GARDEN, {**KITCHEN, "det": [["cup", 1.5, 0, 0, 9, 9]]}]}, "line 2: region 0 .*score 1.5"),
        ({"concepts": [{"image": "kitchen.jpg"}]}, "line 1: the key 'det' is missing"),
    ],
)
def test_broken_records_are_named(tmp_path: Path, replaced: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        FvqaDataset(_write(tmp_path, **replaced)).examples("all")
    assert "\n" not in str(caught.value)


def test_a_cut_gzip_file_is_an_error(tmp_path: Path) -> None:
    _write(tmp_path, packed=True)
    path = tmp_path / "visual_concepts.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"visual_concepts\.jsonl\.gz cannot be read"):
        FvqaDataset(tmp_path).examples("all")


@pytest.mark.skipif("KVQA_DATA" not in os.environ, reason="KVQA_DATA, the folder of the real data sets, is not set")
def test_the_real_data_set() -> None:
    dataset = FvqaDataset(Path(os.environ["KVQA_DATA"], "data", "fvqa"))
    examples = dataset.examples("all")
    assert (len(examples), len(dataset.images("all")), len(dataset.regions)) == (5219, 1941, 2688)
    assert (len(dataset.examples("train0")), len(dataset.examples("test0"))) == (2724, 2495)
    assert (len(dataset.examples("zs_train0")), len(dataset.examples("zs_test0"))) == (2369, 2550)
    assert sum(len(example.answers) == 2 for example in examples) == 2551  # spellings that differ between the files
