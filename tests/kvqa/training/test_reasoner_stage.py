import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kvqa.data.example import Example
from kvqa.data.graph_batch import GraphItem, collate_graphs, graph_item
from kvqa.data.graph_features import View
from kvqa.errors import InputError
from kvqa.models.graph import GraphReasoner, ReasonerConfig, Reasoning
from kvqa.training.reasoner_stage import (
    ReasonerStage,
    ReasonerTargets,
    reasoner_loss,
    reasoner_targets,
    train_reasoner,
    with_no_answer,
    without_gold,
)
from kvqa.vision.regions import Region, Regions
from retrieval.evidence import evidence_of
from retrieval.knowledge_base import KnowledgeBase

SIZE = 384
SEEN = Regions("a.jpg", 100, 100, (Region("sofa", 0.9, (0, 0, 50, 50)),))
# The first and the third are answered by their gold facts, the second by nothing that is there.
EXAMPLES = [
    Example("0", "What hunts mice?", "a.jpg", SEEN, ("the cat",)),
    Example("1", "What is it?", "b.jpg", replace(SEEN, regions=()), ("elephant",)),
    Example("2", "What has two wheels?", "c.jpg", SEEN, ("bicycle", "two wheels")),
]
FACTS = [[0, 1, 4], [2], [6, 7]]
GOLD = [0, 9, 7]


def _unit(key: str) -> NDArray[np.float32]:
    vector = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(SIZE).astype(np.float32)
    return vector / np.linalg.norm(vector)


def _label_vectors(labels: Sequence[str]) -> Tensor:
    return torch.from_numpy(np.stack([_unit(label) for label in labels]))


def _view(key: str) -> View:
    vectors = [_unit(f"{key} {name}") for name in ("fact", "answer", "anchor", "relation")]
    logs = [np.log(np.array([0.4, 0.6], dtype=np.float32))] * 3
    return View(*vectors, *logs, _unit(key), _unit(f"{key} described"))


@pytest.fixture(scope="module")
def kb(small_kb: Path) -> Iterator[KnowledgeBase]:
    opened = KnowledgeBase.open(small_kb)
    yield opened
    opened.store.close()


@pytest.fixture(scope="module")
def items(kb: KnowledgeBase) -> list[GraphItem]:
    texts = dict(enumerate(kb.store.entity_texts()))
    made = []
    for example, facts in zip(EXAMPLES, FACTS, strict=True):
        scores = np.linspace(0.5, 0.3, len(facts), dtype=np.float32)
        evidence = evidence_of(np.array(facts), scores, np.zeros(len(facts), dtype=bool), kb.triples)
        view = _view(example.question_id)
        made.append(graph_item(example, evidence, view, kb, texts, _label_vectors, ("dog", "house")))
    return made


def test_right_answers_and_gold_facts_by_hand(items: list[GraphItem]) -> None:
    groups = max(len(item.answers) for item in items)
    targets = reasoner_targets(items, EXAMPLES, GOLD, groups)
    assert targets.right.shape == (3, groups) and targets.gold.tolist() == [0, -1, 1]
    spelled = [
        {answer for answer, right in zip(item.answers, row, strict=False) if right}
        for item, row in zip(items, targets.right.tolist(), strict=True)
    ]
    assert spelled == [{"cat"}, set(), {"bicycle", "two wheel"}]
    assert reasoner_targets(items, EXAMPLES, [-1, -1, -1], groups).gold.tolist() == [-1, -1, -1]


def test_taking_the_gold_fact_out(kb: KnowledgeBase, items: list[GraphItem]) -> None:
    graph = collate_graphs(items, kb, _label_vectors)
    targets = reasoner_targets(items, EXAMPLES, GOLD, graph.num_groups)
    poorer, changed = without_gold(graph, targets, torch.tensor([True, True, False]))
    assert poorer.fact_mask.tolist() == [[False, True, True], [True, False, False], [True, True, False]]
    assert changed.gold.tolist() == [-1, -1, 1]
    assert graph.fact_mask.sum() == 6 and targets.gold.tolist() == [0, -1, 1]  # the originals stay as they are
    same, unchanged = without_gold(graph, targets, torch.tensor([False] * 3))
    assert torch.equal(same.fact_mask, graph.fact_mask) and torch.equal(unchanged.gold, targets.gold)


def test_no_answer_is_right_where_nothing_there_is(kb: KnowledgeBase, items: list[GraphItem]) -> None:
    graph = collate_graphs(items, kb, _label_vectors)
    targets = reasoner_targets(items, EXAMPLES, GOLD, graph.num_groups)

    def right(targets: ReasonerTargets) -> list[set[str]]:
        rows = zip(items, targets.right.tolist(), strict=True)
        return [{a for a, r in zip(item.answers, row, strict=False) if r} for item, row in rows]

    assert right(with_no_answer(graph, targets)) == [{"cat"}, {""}, {"bicycle", "two wheel"}]
    # "cat" is still said by another fact when the gold one is gone; "bicycle" and its wheels were in one fact.
    poorer, changed = without_gold(graph, targets, torch.tensor([True] * 3))
    assert right(with_no_answer(poorer, changed)) == [{"cat"}, {""}, {""}]


def test_the_loss_is_answer_term_and_weighted_fact_term() -> None:
    reasoning = Reasoning(
        fact=torch.tensor([[0.0, 0.0]]),
        alternatives=torch.zeros(1, 1),
        groups=torch.tensor([[0.25, 0.75]]).log(),
        attention=[],
    )
    targets = ReasonerTargets(right=torch.tensor([[True, False]]), gold=torch.tensor([1]))
    loss = reasoner_loss(reasoning, targets, ReasonerStage(fact=2.0))
    torch.testing.assert_close(loss, torch.tensor(4.0).log() + 2 * torch.tensor(2.0).log())


class StoppedError(Exception):
    """Raised from the log, as if the machine went down."""


def _train(
    kb: KnowledgeBase, items: list[GraphItem], state: Path, *, stop_after: int = 99, **settings: float
) -> tuple[GraphReasoner, list[str]]:
    torch.manual_seed(0)
    reasoner = GraphReasoner(ReasonerConfig(width=8, layers=1, answers=2))
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        if len(lines) == stop_after:
            raise StoppedError

    stage = replace(ReasonerStage(epochs=3, batch=2, lr=0.01), **settings)
    train_reasoner(
        reasoner, items, EXAMPLES, GOLD, kb, _label_vectors, stage, seed=5, name="reasoner", state=state, log=log
    )
    return reasoner, lines


def test_a_stopped_run_goes_on_with_the_same_result(kb: KnowledgeBase, items: list[GraphItem], tmp_path: Path) -> None:
    straight, lines = _train(kb, items, tmp_path / "straight.state")
    assert len(lines) == 3 and not straight.training
    with pytest.raises(StoppedError):
        _train(kb, items, tmp_path / "stopped.state", stop_after=1)
    torch.rand(7)  # another process has drawn other numbers
    again, rest = _train(kb, items, tmp_path / "stopped.state")
    assert [line.split(" loss")[0] for line in rest] == ["reasoner: epoch 2/3", "reasoner: epoch 3/3"]
    for name, value in straight.named_parameters():
        torch.testing.assert_close(again.get_parameter(name), value, atol=0, rtol=0)
    done, nothing = _train(kb, items, tmp_path / "stopped.state")
    assert nothing == [] and torch.equal(done.side_bias, straight.side_bias)
    with pytest.raises(InputError, match="was made with other settings or data"):
        _train(kb, items, tmp_path / "stopped.state", gold_dropout=0.0)


def test_training_lowers_the_loss(kb: KnowledgeBase, items: list[GraphItem], tmp_path: Path) -> None:
    _, lines = _train(kb, items, tmp_path / "a.state", epochs=25, gold_dropout=0.0)
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines]
    assert losses[-1] < 0.3 * losses[0]
