"""Readers of statements and of offered answers: NLVR2, NLVR, SNLI-VE, A-OKVQA, VCR; values stand in the fixtures."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from kvqa.data.datasets import Dataset
from kvqa.data.example import Example, Mention
from kvqa.data.vcr import NAMES, answering, read_vcr, reasoning
from kvqa.errors import InputError
from kvqa.vision.regions import Region, check_regions

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def read(name: str, split: str) -> list[Example]:
    return Dataset(name, FIXTURES / name).examples(split)


def broken(tmp_path: Path, name: str, file: str, old: str, new: str) -> Dataset:
    shutil.copytree(FIXTURES / name, tmp_path / name)
    path = tmp_path / name / file
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new, 1), encoding="utf-8")
    return Dataset(name, tmp_path / name)


def test_nlvr2_has_two_pictures_and_a_group_for_consistency() -> None:
    first, second, third = read("nlvr2", "dev")
    assert first.images == ("dev-5-0-img0.png", "dev-5-0-img1.png") and first.image == "dev-5-0-img0.png"
    assert [regions.image for regions in first.all_regions] == list(first.images)
    assert [(e.label, e.answers) for e in (first, second, third)] == [(1, ("true",)), (0, ("false",)), (0, ("false",))]
    assert first.meta["group"] == second.meta["group"] == "dev-5-1" != third.meta["group"]
    assert first.meta["left_url"] == "http://photos.example/x.jpg"


def test_nlvr2_parts_are_lists_of_ids_or_statements() -> None:
    assert [e.question_id for e in read("nlvr2", "balanced_dev")] == ["dev-5-0-1", "dev-6-0-0"]
    assert [e.question_id for e in read("nlvr2", "unbalanced_dev")] == ["dev-5-2-1"]


def test_nlvr2_contrast_set_groups_the_variants_of_a_statement() -> None:
    first, second = read("nlvr2", "contrast")
    assert (first.label, second.label) == (0, 1)  # truth values, not texts, in this file
    assert first.meta["group"] == second.meta["group"] == "test1-8-3-0"
    assert first.images == ("test1-8-3-img0.png", "test1-8-3-img1.png")


@pytest.mark.parametrize(
    ("file", "old", "new", "split", "message"),
    [
        ("dev.json", '"label": "True"', '"label": "yes"', "dev", "line 1: label is 'yes'; expected true or false"),
        ("dev.json", '"dev-6-0-0"', '"dev-6-0"', "dev", "line 3: identifier is 'dev-6-0'; expected the form split-set"),
        ("dev.json", '{"validation"', '"validation"', "dev", "line 1: not JSON"),
        ("balanced_dev.ids.json", "dev-6-0-0", "dev-6-0-9", "balanced_dev", "1 statements that are not in .*dev-6-0-9"),
        ("balanced_dev.ids.json", "]", "", "balanced_dev", "no list of identifiers"),
    ],
)
def test_nlvr2_names_what_is_broken(tmp_path: Path, file: str, old: str, new: str, split: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        broken(tmp_path, "nlvr2", file, old, new).examples(split)


def test_nlvr_shapes_stand_where_the_drawing_has_them() -> None:
    first, second = read("nlvr", "dev")
    assert first.regions.regions == (
        Region("left grey box", 1.0, (0, 0, 100, 100)),
        Region("middle grey box", 1.0, (150, 0, 250, 100)),
        Region("right grey box", 1.0, (300, 0, 400, 100)),
        Region("medium black square", 1.0, (0, 80, 20, 100)),
        Region("small yellow circle", 1.0, (45, 10, 55, 20)),
        Region("large blue triangle", 1.0, (370, 70, 400, 100)),
    )
    assert second.regions.regions[3] == Region("medium black square", 1.0, (190, 80, 210, 100))
    assert (first.image, first.label, second.label) == ("dev-12-3-0.png", 1, 0)
    assert first.meta == second.meta == {"group": "12", "directory": "4"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"size": 10', '"size": 15', "line 1: size is 15; expected one of: 10, 20, 30"),
        ('"Yellow"', '"green"', "line 1: color is 'green'; expected one of: yellow, black, #0099ff"),
        ('"x_loc": 0', '"x_loc": -9', "line 1: region 3"),
        ("[], [{", "[{", "line 1: structured_rep has 2 boxes; expected 3"),
    ],
)
def test_nlvr_names_what_is_broken(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        broken(tmp_path, "nlvr", "dev.json", old, new).examples("dev")


def test_snli_ve_reads_all_spellings_of_the_photo() -> None:
    first, second = read("snli_ve", "dev")
    (third,) = read("snli_ve", "test")
    assert [e.image for e in (first, second, third)] == ["1007.jpg", "1008.jpg", "1009.jpg"]
    assert [e.label for e in (first, second, third)] == [1, 2, 0]
    assert (first.question, first.question_id) == ("Someone is outdoors.", "1007.jpg#0r1n")
    assert first.meta == {"premise": "A woman waters a plant."} and first.captions == ()


def test_snli_ve_names_what_is_broken(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: gold_label is 'maybe'; expected entailment, neutral, contradiction"):
        broken(
            tmp_path / "a", "snli_ve", "snli_ve_dev.jsonl", '"gold_label": "neutral"', '"gold_label": "maybe"'
        ).examples("dev")
    with pytest.raises(InputError, match=r"line 2: none of the keys Flickr30K_ID, Flickr30kID, Flikr30kID is there"):
        broken(tmp_path / "b", "snli_ve", "snli_ve_dev.jsonl", "Flikr30kID", "photo").examples("dev")
    undecided = broken(tmp_path / "c", "snli_ve", "snli_ve_dev.jsonl", '"gold_label": "neutral"', '"gold_label": "-"')
    assert (undecided.examples("dev")[0].label, undecided.examples("dev")[0].answers) == (None, ())


def test_aokvqa_has_choices_answers_and_rationales() -> None:
    (only,) = read("aokvqa", "val")
    assert only.image == "000000000042.jpg"
    assert (only.choices, only.label) == (("books", "rain", "wind", "age"), 0)
    assert only.answers == ("books", "weight", "old")  # the right choice, then by count
    assert only.human_answers == ("weight",) * 6 + ("books",) * 3 + ("old",)
    assert len(only.rationales) == 3 and only.meta == {"difficult_direct_answer": "false"}


def test_aokvqa_test_has_choices_only() -> None:
    (only,) = read("aokvqa", "test")
    assert (only.label, only.answers, only.rationales, len(only.choices)) == (None, (), (), 4)
    assert only.meta == {"difficult_direct_answer": "true"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"correct_choice_idx": 0', '"correct_choice_idx": 4', "record 1: correct_choice_idx is 4; expected .* 0 to 3"),
        ('"rain",\n   ', "", "record 1: choices has 3 texts; expected 4"),
        ('"old"', '"old", "older"', "record 1: question aB3dE has 11 direct answers; expected 10"),
    ],
)
def test_aokvqa_names_what_is_broken(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        broken(tmp_path, "aokvqa", "aokvqa_v1p0_val.json", old, new).examples("val")


def _pointed(example: Example, sentence: str, mentions: Sequence[Mention]) -> list[tuple[str, list[str]]]:
    """Return the mentioned words with the labels of their regions."""
    labels = [region.label for region in example.regions.regions]
    return [(sentence[m.start : m.end], [labels[row] for row in m.regions]) for m in mentions]


def test_vcr_writes_names_and_points_to_regions() -> None:
    (item,) = read("vcr", "val")
    assert item.question == "Why is Riley holding cup?"
    assert item.choices == (
        "Riley is thirsty.",
        "Casey gave it to Riley.",
        "He doesn't know.",
        "Casey and Riley are at a party, I think.",
    )
    assert item.rationale_choices[0] == "Riley's mouth is dry."
    assert (item.label, item.rationale_label, item.answers) == (0, 3, ("Riley is thirsty.",))
    assert (item.question_id, item.meta["match_fold"]) == ("val-7", "val-2")
    assert _pointed(item, item.question, item.mentions.question) == [("Riley", ["person"]), ("cup", ["cup"])]
    assert _pointed(item, item.choices[3], item.mentions.choices[3]) == [("Casey and Riley", ["person", "person"])]
    assert item.mentions.choices[2] == ()
    everyone = item.mentions.rationales[3][0]
    assert item.rationale_choices[3][everyone.start : everyone.end] == "Everyone" and len(everyone.regions) == 3
    # all five objects are mentioned by some text; the dog's box is cut to the picture
    assert item.regions.regions[4] == Region("dog", 0.75, (0, 70, 30, 100))
    check_regions(item.regions)


def test_vcr_answering_hides_what_only_reasons_mention() -> None:
    item = answering(read("vcr", "val")[0])
    assert [region.label for region in item.regions.regions] == ["person", "person", "cup"]  # no dog, no third person
    assert (item.rationale_choices, item.rationale_label, item.mentions.rationales) == ((), None, ())
    assert _pointed(item, item.question, item.mentions.question) == [("Riley", ["person"]), ("cup", ["cup"])]


def test_vcr_reasoning_adds_the_given_answer_to_the_question() -> None:
    item = read("vcr", "val")[0]
    right = reasoning(item)
    assert right.question == "Why is Riley holding cup? Riley is thirsty."
    assert (right.choices, right.label, right.answers) == (
        item.rationale_choices,
        3,
        ("Everyone has a cup.",),
    )
    assert [words for words, _ in _pointed(right, right.question, right.mentions.question)] == ["Riley", "cup", "Riley"]
    assert reasoning(item, 2).question.endswith("He doesn't know.")
    assert _pointed(right, right.choices[1], right.mentions.choices[1]) == [("dog", ["dog"])]
    assert right.mentions.rationales == ()


def test_vcr_without_labels_boxes_or_mentions() -> None:
    (item,) = read("vcr", "test")
    assert (item.label, item.answers) == (None, ())
    assert {(region.label, region.box, region.kind) for region in item.regions.regions} == {("person", None, "tag")}
    assert len(answering(item).regions.regions) == 3
    with pytest.raises(InputError, match="test-0 has no label; say under which answer"):
        reasoning(item)
    assert reasoning(item, 1).question == "What is this? Night."


def test_vcr_names_go_round_after_fifteen() -> None:
    assert len(NAMES) == 15 and NAMES[0] == "Casey" and NAMES[14] == "Quinn" and NAMES[6] == NAMES[10] == "Peyton"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "val.jsonl",
            '"question": ["Why", "is", [1]',
            '"question": ["Why", "is", [5]',
            "line 1: an object number is 5",
        ),
        ("val.jsonl", '"answer_label": 0', '"answer_label": "0"', "line 1: answer_label is '0'; expected .* 0 to 3"),
        ("val.jsonl", '["He", "does", "n\'t", "know", "."], ', "", "line 1: answer_choices has 3 entries; expected 4"),
        ("vcr1images/film/scene@0.json", '"width": 200', '"width": "200"', r"scene@0\.json, the boxes: width is '200'"),
        ("vcr1images/film/scene@0.json", '"boxes": [', '"boxes": [[1, 1, 2, 2, 1],', "not as many boxes as objects"),
    ],
)
def test_vcr_names_what_is_broken(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        broken(tmp_path, "vcr", file, old, new).examples("val")


def test_vcr_can_keep_all_objects(tmp_path: Path) -> None:
    record = json.loads((FIXTURES / "vcr" / "test.jsonl").read_text(encoding="utf-8"))
    (tmp_path / "val.jsonl").write_text(json.dumps(record), encoding="utf-8")
    (item,) = read_vcr(tmp_path, "val", only_mentioned=False)
    assert [region.label for region in item.regions.regions] == ["person", "person", "cup", "person", "dog"]
