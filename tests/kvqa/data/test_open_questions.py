"""Readers of open questions: VQA v2, OK-VQA, GQA, DAQUAR, KVQA; every expected value stands in the fixture."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kvqa.data.datasets import Dataset
from kvqa.data.example import Example, unseen
from kvqa.data.gqa import scene_graph_regions
from kvqa.errors import InputError
from kvqa.vision.regions import Region

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def read(name: str, split: str) -> list[Example]:
    return Dataset(name, FIXTURES / name).examples(split)


def broken(tmp_path: Path, name: str, file: str, old: str, new: str) -> Dataset:
    """Return the fixture with `old` replaced by `new` in one file."""
    shutil.copytree(FIXTURES / name, tmp_path / name)
    path = tmp_path / name / file
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new, 1), encoding="utf-8")
    return Dataset(name, tmp_path / name)


def test_vqa2_joins_questions_and_answers_by_id() -> None:
    first, second, third = read("vqa2", "train")
    assert (first.question_id, first.question) == ("9000", "What colour is the kettle?")
    assert first.image == "COCO_train2014_000000000009.jpg"
    assert first.answers == ("red", "dark red", "pink")
    assert first.human_answers == ("dark red",) * 3 + ("red",) * 5 + ("pink",) * 2
    assert first.meta == {"question_type": "what color is the", "answer_type": "other"}
    assert second.answers == ("yes", "no")  # a tie: the data set's own choice comes first
    assert (third.answers, third.regions) == (("2", "3"), unseen("COCO_train2014_000000581929.jpg"))


def test_vqa2_test_questions_have_no_answers() -> None:
    (only,) = read("vqa2", "test")
    assert (only.image, only.answers, only.human_answers) == ("COCO_test2015_000000000001.jpg", (), ())


def test_vqa2_reads_the_names_of_the_sample_as_gzip(tmp_path: Path) -> None:
    for part, name in (("questions", "vqa_questions"), ("annotations", "vqa_annotatons")):
        source = next((FIXTURES / "vqa2").glob(f"*val2014_{part}.json"))
        (tmp_path / f"{name}_valid.gzip").write_bytes(gzip.compress(source.read_bytes()))
    (only,) = Dataset("vqa2", tmp_path).examples("val")
    assert (only.answers, only.image) == (("books",), "COCO_train2014_000000000042.jpg")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "questions",
            '"question_id": 9001',
            '"question_id": "9001"',
            "questions 2: question_id is '9001'; expected a w",
        ),
        ("questions", '"question_id": 9001', '"question_id": 7', "question 7 has no annotation in v2_mscoco"),
        (
            "questions",
            '"question": "What colour is the kettle?", ',
            "",
            "json, question 9000: the key 'question' is missing",
        ),
        ("questions", '"questions": [', '"other": [', "the key 'questions' is missing"),
        (
            "annotations",
            '"answer": "pink"',
            '"answer": 4',
            "tations.json, question 9000: one of its answers is",
        ),
        (
            "annotations",
            '"image_id": 581929',
            '"image_id": 5',
            "question 581929000: image_id is 5; expected 58",
        ),
        ("annotations", '"question_id": 9001', '"question_id": 8', "question 9001 has no annotation"),
        ("annotations", '"answer_type": "number"', '"answer_type" "number"', "after annotations 0: not whole JSON"),
    ],
)
def test_vqa2_names_what_is_broken(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        dataset = broken(tmp_path, "vqa2", next((FIXTURES / "vqa2").glob(f"*train2014_{file}.json")).name, old, new)
        dataset.examples("train")
    assert "\n" not in str(caught.value)


def test_vqa2_reports_an_annotation_without_question(tmp_path: Path) -> None:
    cut = ',\n {"image_id": 581929, "question": "How many boats are there?", "question_id": 581929000}'
    dataset = broken(tmp_path, "vqa2", "v2_OpenEnded_mscoco_train2014_questions.json", cut, "")
    with pytest.raises(InputError, match="annotation for 581929000"):
        dataset.examples("train")


def test_okvqa_takes_ten_answers_from_annotations() -> None:
    (only,) = read("okvqa", "train")
    assert only.answers == ("boil water", "make tea", "tea")
    assert only.human_answers == ("boil water",) * 6 + ("make tea",) * 2 + ("tea",) * 2
    assert only.answer_scores == ()
    assert only.meta["category"] == "cooking and food"
    assert only.regions.regions == (Region("kettle", 0.5, None, "tag"), Region("stove", 0.5, None, "tag"))


def test_okvqa_takes_official_scores_from_soft_labels() -> None:
    first, second = read("okvqa", "val")
    assert (first.answers, first.answer_scores, first.human_answers) == (("paper", "wood"), (1.0, 0.6), ())
    assert first.meta == {"question_type": "three", "category": "objects, material and clothing"}
    assert [region.label for region in first.regions.regions] == ["book", "shelf"]  # by picture id
    assert (second.answers, second.regions.regions) == (("bell",), ())


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("val_soft_labels.json", '"question_id": 775', '"question_id": 776', "question 775 is not in val_soft_labels"),
        ("val_soft_labels.json", "0.667", "66.7", "record 1: a soft label is 66.7; expected a number from 0 to 1"),
        ("val_soft_labels.json", '"class": 3', '"class": 30', "record 1: .*out of range"),
        ("val_detections.json", '[\n   "cat"\n  ]', '"cat"', "entry 1: detections is 'cat'; expected a list of texts"),
    ],
)
def test_okvqa_names_what_is_broken(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        broken(tmp_path, "okvqa", file, old, new).examples("val")


def test_gqa_questions_and_types() -> None:
    first, second = read("gqa", "val")
    assert (first.question_id, first.image, first.answers) == ("0201", "2370799.jpg", ("yes",))
    assert first.meta["structural"] == "verify" and first.meta["full_answer"] == "Yes, it is."
    assert second.meta["group"] == "cup"
    (only,) = read("gqa", "test")
    assert (only.question, only.answers, only.meta) == ("Is it day?", (), {})


def test_gqa_scene_graphs_become_regions() -> None:
    (regions,) = scene_graph_regions(FIXTURES / "gqa" / "val_sceneGraphs.json")
    # the crumb lies below the picture's edge; the cup reaches over its right one
    assert regions.regions == (Region("red small cup", 1.0, (90, 10, 100, 40)),)
    assert (regions.image, regions.width, regions.height) == ("2370799.jpg", 100, 50)


def test_gqa_names_what_is_broken(tmp_path: Path) -> None:
    old, new = '"question": "Is the cup red?",\n  "imageId": "2370799"', '"question": "Is the cup red?", "imageId": 7'
    with pytest.raises(InputError, match=r"question 0202: imageId is 7; expected a text"):
        broken(tmp_path, "gqa", "val_balanced_questions.json", old, new).examples("val")
    with pytest.raises(InputError, match=r"has no train_all_questions/train_all_questions_0\.json .*get it from https"):
        read("gqa", "train_all")


def test_daquar_divides_by_lists_and_cuts_the_name_of_the_picture() -> None:
    first, second = read("daquar", "train")
    assert (first.question, first.image) == ("what is on the left side of the bed ?", "image1.png")
    assert first.answers == ("lamp, night stand", "lamp, night_stand")
    assert (second.question, second.answers) == ("what is behind the sofa ?", ("window",))
    counted, twice = read("daquar", "test")
    assert (counted.image, counted.answers) == ("image10.png", ("2",))  # image1 is a prefix of image10
    assert (twice.question, twice.question_id) == ("what is near the sink ?", "5")


def test_daquar_keeps_a_name_that_is_part_of_the_question(tmp_path: Path) -> None:
    dataset = broken(tmp_path, "daquar", "qa.37.raw.test.txt", "what is red in the", "what is the color of the")
    assert dataset.examples("test37")[0].question == "what is the color of the image ?"


def test_daquar_reads_the_first_release() -> None:
    (only,) = read("daquar", "test37")
    assert (only.question, only.image, only.answers) == ("what is red ?", "image5.png", ("chair",))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("in the image1 ?", "?", "line 1: .*names no picture"),
        ("in the image1 ?", "in the image99 ?", "line 1: its picture image99 is in neither list"),
        ("lamp, night_stand", "lamp,", "line 1: the answer 'lamp,' has an empty part"),
        ("\nwindow", "", "line 7: a question without an answer"),
    ],
)
def test_daquar_names_what_is_broken(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        broken(tmp_path, "daquar", "all_qa_pairs.txt", old, new).examples("train")


def test_kvqa_by_division() -> None:
    first, second, third, fourth = read("kvqa", "all")
    assert [e.question_id for e in read("kvqa", "train0")] == ["311-0", "311-1"]
    assert [e.question_id for e in read("kvqa", "test0")] == ["312-0", "312-1"]
    assert [e.question_id for e in read("kvqa", "val2")] == ["311-0", "311-1"]
    assert (first.image, first.answers, first.captions) == (
        "311.jpg",
        ("Ada Example",),
        ("Ada Example (left) with Ben Sample.",),
    )
    assert first.meta["entities"] == "Ada Example|Ben Sample" and first.meta["hops"] == "1-hop"
    assert (second.question, second.answers) == ("How many people were born in spring?", ("2",))
    assert (second.meta["hops"], second.meta["paraphrase"]) == ("multi-hop", "How many folks were born in spring?")
    assert "types" not in third.meta and "types" not in fourth.meta  # one type for two questions: whose is it?


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1,\n   1,\n   2,", "1,\n   1,\n   4,", "picture 311: split is .*expected five numbers from 1"),
        ('"Yes"', "null", "picture 312: an answer is None; expected a text or a number"),
        (',\n   "Yes"', "", "picture 312: there are 2 questions and not as many answers"),
    ],
)
def test_kvqa_names_what_is_broken(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        broken(tmp_path, "kvqa", "dataset.json", old, new).examples("all")


def test_the_questions_of_a_record_with_more_questions_than_types(tmp_path: Path) -> None:
    record: dict[str, Any] = json.loads((FIXTURES / "kvqa" / "dataset.json").read_text(encoding="utf-8"))
    record["311"]["Type of Question"].pop()
    (tmp_path / "dataset.json").write_text(json.dumps(record), encoding="utf-8")
    assert all("types" not in e.meta for e in Dataset("kvqa", tmp_path).examples("all"))
