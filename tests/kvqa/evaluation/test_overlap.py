from pathlib import Path
from typing import Any

import pytest

from kvqa.data.datasets import describe
from kvqa.data.example import Example, unseen
from kvqa.errors import InputError
from kvqa.evaluation.overlap import TrainedOn

TRAINING: dict[str, Any] = {"dataset": "fvqa", "experiment": {"split": "train0"}}


def asked(*images: str) -> list[Example]:
    return [Example(str(i), "?", image, unseen(image)) for i, image in enumerate(images)]


def test_the_same_photo_under_another_name_is_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = asked("COCO_val2014_000000000042.jpg")
    monkeypatch.setattr("kvqa.data.datasets._opened_fvqa", lambda *args: Opened(seen))
    examples = asked("000000000042.jpg", "COCO_val2014_000000000043.jpg", "000000000042.jpg")
    found = TrainedOn.of(TRAINING).overlap(describe("okvqa"), Path("nowhere"), examples, root)
    assert (found.checked, found.rows, found.images) == (True, (0, 2), ("000000000042.jpg",))
    assert found.as_json()["questions"] == 2


class Opened:
    def __init__(self, examples: list[Example]) -> None:
        self.known = examples

    def examples(self, split: str) -> list[Example]:
        assert split == "train0"
        return self.known


def test_no_shared_picture_needs_no_remark(root: Path) -> None:
    found = TrainedOn.of(TRAINING).overlap(describe("fvqa"), root, asked("c.jpg"))
    assert (found.checked, found.rows, found.remark) == (True, (), "")


def test_what_cannot_be_checked_is_said(tmp_path: Path) -> None:
    trained = TrainedOn.of(TRAINING)
    other = trained.overlap(describe("okvqa"), tmp_path, asked("c.jpg"))
    assert not other.checked and "trained on fvqa train0; whether pictures are shared" in other.remark
    assert "--trained-root FOLDER" in other.remark
    gone = trained.overlap(describe("fvqa"), tmp_path, asked("c.jpg"))
    assert not gone.checked and "which is not at hand" in gone.remark
    unknown = TrainedOn.of({"data": "random"}).overlap(describe("fvqa"), tmp_path, asked("c.jpg"))
    assert unknown.remark == "The model does not say which pictures it was trained on."
    with pytest.raises(InputError, match="has no all_qs_dict_release"):
        trained.overlap(describe("okvqa"), tmp_path, asked("c.jpg"), tmp_path)
