import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kvqa.data.datasets import Dataset
from kvqa.data.example import Example
from kvqa.data.fvqa_r import Matching, assign, divide, rationale, tokens, write_fvqa_r
from kvqa.data.vcr import answering
from kvqa.errors import InputError
from kvqa.vision.regions import Region, Regions

THINGS = ("cat", "dog", "cup", "kite", "boat", "tree", "lamp", "bench")


def _vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    """Stand for sentence vectors: equal texts are alike, others more or less."""
    rows = [np.random.default_rng(sum(map(ord, text))).normal(size=16) for text in texts]
    found = np.stack(rows).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def _example(number: int) -> Example:
    thing = THINGS[number % len(THINGS)]
    regions = Regions(
        f"{number}.jpg",
        90,
        90,
        (Region(thing, 0.9, (0, 0, 50, 50)), Region("garden", 0.5, None, "tag")),
        image_feature=np.ones(3, dtype=np.float32),
    )
    fact = (thing, "UsedFor", f"purpose {number}")
    return Example(str(number), f"Which thing serves purpose {number}?", f"{number}.jpg", regions, (thing,), (fact,))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fvqa_r")
    examples = [_example(number) for number in range(32)]
    parts = {"train": examples[:16], "val": examples[16:24], "test": examples[24:]}
    assert write_fvqa_r(parts, out, _vectors, Matching(), seed=0) == {"train": 16, "val": 8, "test": 8}
    return out


def test_it_is_read_as_vcr_with_everything_seen(made: Path) -> None:
    examples = Dataset("fvqa_r", made).examples("train")
    first = examples[0]
    assert first.question == "Which thing serves purpose 0?"
    assert first.choices[first.label or 0] == "cat"
    assert first.rationale_choices[first.rationale_label or 0] == rationale(_example(0)) == "cat is used for purpose 0"
    assert [(region.label, region.kind) for region in first.regions.regions] == [("cat", "object"), ("garden", "tag")]
    assert first.facts == (("cat", "UsedFor", "purpose 0"),)
    assert [m.regions for m in first.mentions.choices[first.label or 0]] == [(0,)]
    assert all(len(set(e.choices)) == len(set(e.rationale_choices)) == 4 for e in examples)
    vcr = Dataset("vcr", made).examples("train")[0]
    assert answering(vcr).choices == first.choices


def test_every_answer_serves_three_times_as_a_distractor(made: Path) -> None:
    for split in ("train", "val", "test"):
        examples = Dataset("fvqa_r", made).examples(split)
        right = Counter(e.choices[e.label or 0] for e in examples)
        assert Counter(choice for e in examples for choice in e.choices) == {k: 4 * n for k, n in right.items()}


def test_the_same_seed_gives_the_same_files(made: Path, tmp_path: Path) -> None:
    examples = [_example(number) for number in range(16)]
    write_fvqa_r({"train": examples}, tmp_path, _vectors, Matching(), seed=0)
    assert (tmp_path / "train.jsonl").read_bytes() == (made / "train.jsonl").read_bytes()
    write_fvqa_r({"train": examples}, tmp_path, _vectors, Matching(), seed=1)
    assert (tmp_path / "train.jsonl").read_bytes() != (made / "train.jsonl").read_bytes()


def test_a_picture_in_two_splits_is_refused(tmp_path: Path) -> None:
    example = _example(0)
    with pytest.raises(InputError, match="divide by picture"):
        write_fvqa_r({"train": [example], "val": [example]}, tmp_path, _vectors, Matching(), seed=0)


def test_too_few_texts_are_named() -> None:
    with pytest.raises(InputError, match="too few answers"):
        assign(np.zeros((3, 3)), ["cat", "dog", "cat"])


def test_an_answer_that_is_right_as_well_is_no_distractor(tmp_path: Path) -> None:
    examples = [_example(number) for number in range(8)]
    twin = ("dog", "UsedFor", "purpose 0")
    examples[1] = Example("1", "Which?", "1.jpg", examples[1].regions, ("dog",), (twin,))
    write_fvqa_r({"train": examples}, tmp_path, _vectors, Matching(), seed=0)
    first = Dataset("fvqa_r", tmp_path).examples("train")[0]
    assert "cat" in first.choices
    assert "dog" not in first.choices


def test_division_is_by_picture() -> None:
    examples = [_example(number) for number in range(10)] * 2
    training, validation = divide(examples, share=0.3, seed=0)
    assert len(validation) == 6
    assert not {e.image for e in training} & {e.image for e in validation}


def test_objects_become_pointers_and_persons_stay_words() -> None:
    place = {"traffic light": 2, "cup": 0, "person": 1}
    assert tokens("a traffic light and a person", place) == ["a", [2], "and", "a", "person"]
    assert tokens("cup", place) == [[0]]


def test_a_record_without_its_fact_is_named(made: Path, tmp_path: Path) -> None:
    record = json.loads((made / "val.jsonl").read_text(encoding="utf-8").splitlines()[0])
    del record["fact"]
    (tmp_path / "val.jsonl").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError, match="line 1: the key 'fact' is missing"):
        Dataset("fvqa_r", tmp_path).examples("val")
