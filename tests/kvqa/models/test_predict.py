from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kvqa.data.example import Example
from kvqa.data.graph_batch import NO_ANSWER, GraphItem
from kvqa.models.checkpoint import load_model
from kvqa.models.model import KvqaModel
from kvqa.models.predict import evidence_texts, graph_items, link_example, predict
from kvqa.vision.regions import Region, Regions
from retrieval.knowledge_base import KnowledgeBase
from retrieval.linking import Linker
from retrieval.retriever import Retriever

EMPTY = Regions("a.jpg", 100, 100, ())
CAT = Region("cat", 0.9, (0, 0, 50, 50))
CUP, INDOOR = Region("cup", 0.7, (1, 1, 9, 9)), Region("indoor", 0.5, None, "tag")
CAPTION = Region("a bicycle leans on a wall", 0.5, None, "caption")
EXAMPLES = [
    Example("0", "What can the animal in this image do?", "a.jpg", replace(EMPTY, regions=(CAT,))),
    Example("1", "What is this?", "b.jpg", EMPTY),
    Example("2", "Which thing is used for drinking coffee?", "c.jpg", replace(EMPTY, regions=(CAT, CUP, INDOOR))),
    Example("3", "Two wheels?", "d.jpg", replace(EMPTY, regions=(CAPTION,))),
]


@pytest.fixture(scope="module")
def kb(small_kb: Path) -> Iterator[KnowledgeBase]:
    opened = KnowledgeBase.open(small_kb)
    yield opened
    opened.store.close()


@pytest.fixture(scope="module")
def model(small_model: Path) -> KvqaModel:
    return load_model(small_model)


@pytest.fixture(scope="module")
def items(model: KvqaModel, kb: KnowledgeBase) -> list[GraphItem]:
    """Evidence of different sizes, none at all for the second example."""
    views = model.views(EXAMPLES)
    full = Retriever(kb, dense=4, linked=3, likely=2)
    none = replace(full, allowed=np.zeros(kb.manifest.facts, dtype=bool))
    return [
        graph_items(model, [example], [view], none if row == 1 else full)[0]
        for row, (example, view) in enumerate(zip(EXAMPLES, views, strict=True))
    ]


def test_predictions_do_not_depend_on_the_batch(model: KvqaModel, kb: KnowledgeBase, items: list[GraphItem]) -> None:
    assert len({len(item.evidence) for item in items}) > 1 and len(items[1].evidence) == 0
    together = predict(model, items, kb, batch=4)
    for row, alone in enumerate(predict(model, items, kb, batch=1)):
        first, second = dict(alone.answers), dict(together[row].answers)
        assert first.keys() == second.keys()
        np.testing.assert_allclose([first[a] for a in first], [second[a] for a in first], atol=1e-5)
        np.testing.assert_allclose(alone.facts, together[row].facts, atol=1e-5)
        np.testing.assert_allclose(alone.alternatives, together[row].alternatives, atol=1e-5)


def test_a_prediction_adds_up(model: KvqaModel, kb: KnowledgeBase, items: list[GraphItem]) -> None:
    for prediction in predict(model, items, kb):
        item = prediction.item
        shares = [share for _, share in prediction.answers]
        assert shares == sorted(shares, reverse=True) and 0 < sum(shares) < 1
        assert {answer for answer, _ in prediction.answers} == set(item.answers) - {NO_ANSWER}
        assert len(prediction.alternatives) == len(item.groups) - 1
        sums = np.bincount(item.groups[:-1], weights=prediction.alternatives, minlength=len(item.answers))
        expected = [sums[item.answers.index(answer)] for answer, _ in prediction.answers]
        np.testing.assert_allclose(shares, expected, atol=1e-5)
        assert len(prediction.facts) == len(item.evidence)
        assert sorted(prediction.ranked_facts()) == sorted(item.evidence.fact_ids)
        if len(item.evidence):
            np.testing.assert_allclose(prediction.facts.sum(), 1, atol=1e-5)
            assert prediction.ranked_facts()[0] == item.evidence.fact_ids[prediction.facts.argmax()]


def test_without_evidence_names_and_vocabulary_are_left(
    model: KvqaModel, kb: KnowledgeBase, items: list[GraphItem]
) -> None:
    (prediction,) = predict(model, [items[1]], kb)
    assert {answer for answer, _ in prediction.answers} == {"cat", "dog"}
    assert prediction.facts.shape == (0,)


def test_temperature_flattens_and_keeps_the_order(
    model: KvqaModel, kb: KnowledgeBase, items: list[GraphItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    (sharp,) = predict(model, items[:1], kb)
    monkeypatch.setattr(model, "config", replace(model.config, temperature=3.0))
    (flat,) = predict(model, items[:1], kb)
    assert [a for a, _ in sharp.answers] == [a for a, _ in flat.answers]
    assert flat.answers[0][1] < sharp.answers[0][1]


def test_nothing_to_predict_is_nothing_predicted(model: KvqaModel, kb: KnowledgeBase) -> None:
    assert predict(model, [], kb) == []


def test_texts_from_the_store_are_the_texts_of_all(model: KvqaModel, kb: KnowledgeBase) -> None:
    retriever, views = Retriever(kb, dense=4), model.views(EXAMPLES[:1])
    texts = dict(enumerate(kb.store.entity_texts()))
    (some,) = graph_items(model, EXAMPLES[:1], views, retriever)
    (known,) = graph_items(model, EXAMPLES[:1], views, retriever, texts)
    assert some.answers == known.answers
    np.testing.assert_array_equal(some.entity_features, known.entity_features)
    assert evidence_texts(kb, np.array([0])) == {i: t for i, t in texts.items() if t in ("cat", "hunting mice")}


def test_links_come_from_question_and_picture(kb: KnowledgeBase) -> None:
    links = link_example(EXAMPLES[2], Linker(kb.store))
    ids = kb.store.find_entities(["cat", "cup", "drinking coffee"])
    assert links.visual == {ids["cat"]: 0, ids["cup"]: 1}
    assert links.question == {ids["drinking coffee"]: "drinking coffee"}


def test_an_ablated_model_sees_neither_picture_nor_links_to_it(
    model: KvqaModel, kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = replace(model.config.inputs, use_image=False)
    monkeypatch.setattr(model, "config", replace(model.config, inputs=inputs))
    retriever, example = Retriever(kb, dense=2, linked=3, likely=0), EXAMPLES[2]
    first, second = (
        graph_items(model, [one], model.views([one]), retriever)[0]
        for one in (example, replace(example, regions=EMPTY))
    )
    assert first.labels == () and first.answers == second.answers
    np.testing.assert_array_equal(first.evidence.fact_ids, second.evidence.fact_ids)
    np.testing.assert_array_equal(first.entity_features, second.entity_features)


def test_reasoning_leaves_no_gradient(model: KvqaModel, kb: KnowledgeBase, items: list[GraphItem]) -> None:
    predict(model, items, kb)
    assert not model.reasoner.training
    assert all(p.grad is None for p in model.parameters()) and torch.is_grad_enabled()
