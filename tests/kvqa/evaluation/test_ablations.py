from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kvqa.data.example import Example
from kvqa.errors import InputError
from kvqa.evaluation.ablations import ablate, without_picture
from kvqa.evaluation.system import System
from kvqa.vision.regions import Region, Regions

CAT = Regions("a.jpg", 100, 100, (Region("cat", 0.9, (0.0, 0.0, 50.0, 50.0)), Region("indoor", 0.5, None, "tag")))
EXAMPLES = [
    Example("1", "What can it do?", "a.jpg", CAT, answers=("hunting mice",)),
    Example("2", "Which animal guards a house?", "a.jpg", CAT, answers=("dog",)),
]


@pytest.fixture(scope="module")
def system(small_model: Path, small_kb: Path) -> System:
    opened = System.open(small_model, small_kb)
    return replace(opened, retriever=replace(opened.retriever, dense=3, linked=0, likely=0))


def facts(system: System, examples: list[Example], gold: list[int], seed: int = 0) -> dict[str, dict[str, list[int]]]:
    """Return ablation to question to the ids of the facts that were reasoned over."""
    said = ablate(system, system.answer(examples), np.array(gold), seed=seed)
    return {
        name: {e.question_id: p.item.evidence.fact_ids.tolist() for e, p in zip(examples, predictions, strict=True)}
        for name, predictions in said.items()
    }


def test_what_each_ablation_gives_as_evidence(system: System) -> None:
    retrieved = [p.item.evidence.fact_ids.tolist() for p in system.answer(EXAMPLES).predictions]
    absent = next(i for i in range(10) if i not in retrieved[0])
    found = facts(system, EXAMPLES, [absent, -1])
    assert found["gold_added"] == {"1": [*retrieved[0], absent], "2": retrieved[1]}
    assert found["gold_only"] == {"1": [absent], "2": []}
    assert found["no_fact"] == {"1": [], "2": []}
    assert [len(set(ids)) for ids in found["random_fact"].values()] == [3, 3]
    assert len(found["question_only"]["1"]) == 3


def test_random_facts_depend_on_question_and_seed_alone(system: System) -> None:
    one, other = (facts(system, list(order), [4, 4])["random_fact"] for order in (EXAMPLES, reversed(EXAMPLES)))
    assert one == other
    drawn = [ids for seed in range(4) for ids in facts(system, EXAMPLES, [4, 4], seed)["random_fact"].values()]
    assert len({tuple(sorted(ids)) for ids in drawn}) > 1 and not any(4 in ids for ids in drawn)


def test_random_facts_are_none_that_may_not_be_found(system: System) -> None:
    allowed = np.zeros(system.kb.manifest.facts, dtype=bool)
    allowed[[1, 4, 7]] = True
    hidden = replace(system, retriever=replace(system.retriever, allowed=allowed))
    assert {tuple(sorted(ids)) for ids in facts(hidden, EXAMPLES, [4, -1])["random_fact"].values()} == {
        (1, 7),
        (1, 4, 7),
    }


def test_without_its_picture_an_example_shows_nothing() -> None:
    blind = without_picture(EXAMPLES[0])
    assert blind.regions.regions == () and blind.regions.image_feature is None
    assert blind.question == EXAMPLES[0].question and EXAMPLES[0].regions.regions


def test_a_batch_of_none_is_refused(small_model: Path, small_kb: Path) -> None:
    with pytest.raises(InputError, match="batch 0 is below 1"):
        System.open(small_model, small_kb, batch=0)
