from pathlib import Path

import pytest
import torch

from kvqa.data.datasets import Dataset
from kvqa.data.example import Example, unseen
from kvqa.data.tasks import answer_scores, answer_targets, common_answers, labels, pair_batch
from kvqa.errors import InputError
from kvqa.models.task_model import EncoderSizes, TaskConfig, TaskModel

FIXTURES = Path(__file__).parents[2] / "fixtures"


def _asked(*answers: str) -> Example:
    return Example("1", "What?", "a.jpg", unseen("a.jpg"), human_answers=answers)


def test_soft_scores_are_those_of_the_official_metric() -> None:
    scores = answer_scores(_asked(*["tea"] * 2, *["a cup"] * 5, "Water", *["milk"] * 2))
    assert scores == pytest.approx({"tea": 0.6, "cup": 1.0, "water": 0.3, "milk": 0.6})


def test_scores_of_the_data_set_stand_where_there_are_no_ten_answers() -> None:
    example = Example("1", "What?", "a.jpg", unseen("a.jpg"), answers=("tea", "milk"), answer_scores=(1.0, 0.6))
    assert answer_scores(example) == {"tea": 1.0, "milk": 0.6}


def test_vocabulary_and_targets() -> None:
    examples = [_asked(*["tea"] * 10), _asked(*["tea"] * 8, *["milk"] * 2)]
    assert common_answers(examples, at_least=1) == ["tea", "milk"]
    assert common_answers(examples, at_least=2) == ["tea"]
    assert torch.allclose(answer_targets(examples, ["milk", "tea"]), torch.tensor([[0.0, 1.0], [0.6, 1.0]]))
    with pytest.raises(InputError, match="no answer occurs 3 times"):
        common_answers(examples, at_least=3)


def test_an_example_without_label_is_named() -> None:
    with pytest.raises(InputError, match="1 examples have no label, the first 1"):
        labels([_asked("tea")])


def test_one_picture_is_not_a_pair() -> None:
    with pytest.raises(InputError, match="has 1 pictures"):
        pair_batch([_asked("tea")], collator=None)  # type: ignore[arg-type]


def test_the_picture_of_a_choice_is_encoded_once() -> None:
    sizes = EncoderSizes(tuned_layers=0, width=16, heads=2, hidden=16, vision_layers=1, cross_layers=1)
    model = TaskModel(TaskConfig("offered", encoder=sizes)).eval()
    example = Dataset("aokvqa", FIXTURES / "aokvqa").examples("val")[0]
    batch = model.batch([example])
    assert batch.picture is not None
    assert batch.picture.tolist() == [0, 0, 0, 0]
    assert len(batch.labels) == 1
    assert model(batch).shape == (1, 4)
