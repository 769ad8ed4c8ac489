import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kvqa.data.example import Example
from kvqa.data.graph_batch import (
    LABEL_FEATURES,
    NO_ANSWER,
    VOCABULARY_ALTERNATIVES,
    GraphItem,
    collate_graphs,
    graph_item,
)
from kvqa.data.graph_features import ENTITY_FEATURES, FACT_FEATURES, View
from kvqa.vision.regions import Region, Regions
from retrieval.evidence import evidence_of
from retrieval.knowledge_base import KnowledgeBase

NOTHING = Regions("a.jpg", 100, 100, ())
CAT, DOG = Region("cats", 0.9, (0, 0, 9, 9)), Region("dog", 0.5, (0, 0, 9, 9))


def _unit(key: str) -> NDArray[np.float32]:
    vector = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(384).astype(np.float32)
    return vector / np.linalg.norm(vector)


def _label_vectors(labels: Sequence[str]) -> Tensor:
    return torch.from_numpy(np.stack([_unit(label) for label in labels]))


@pytest.fixture(scope="module")
def kb(small_kb: Path) -> Iterator[KnowledgeBase]:
    opened = KnowledgeBase.open(small_kb)
    yield opened
    opened.store.close()


def _item(
    kb: KnowledgeBase,
    facts: list[int],
    *regions: Region,
    question: str = "What hunts?",
    vocabulary: dict[str, float] | None = None,
    label_vectors: Any = _label_vectors,
) -> GraphItem:
    """Describe `facts`; `vocabulary` gives answers with their probabilities."""
    spoken = vocabulary or {}
    scores = np.linspace(0.9, 0.5, len(facts), dtype=np.float32)
    evidence = evidence_of(np.array(facts, dtype=np.int64), scores, np.zeros(len(facts), dtype=bool), kb.triples)
    half = np.log(np.array([0.5, 0.5], dtype=np.float32))
    words = np.log(np.array(list(spoken.values()), dtype=np.float32))
    view = View(*(_unit(name) for name in "abcd"), half, half, words, _unit("e"), _unit("f"))
    example = Example("0", question, "a.jpg", replace(NOTHING, regions=regions))
    texts = dict(enumerate(kb.store.entity_texts()))
    return graph_item(example, evidence, view, kb, texts, label_vectors, list(spoken))


def _strings(item: GraphItem) -> list[str]:
    return [item.answers[group] for group in item.groups]


def test_every_alternative_has_the_group_of_its_string(kb: KnowledgeBase) -> None:
    item = _item(kb, [0, 4, 9], CAT, Region("cups", 0.8, (0, 0, 9, 9)), vocabulary={"Animals": 0.2, "zebra": 0.8})
    assert _strings(item) == [
        *("cat", "dog", "mouse"),  # heads
        *("hunt mouse", "animal", "cheese"),  # tails
        "cup",  # seen; the cat that is seen is already there as an entity
        *("zebra", "animal"),  # vocabulary, likeliest first
        NO_ANSWER,
    ]
    assert len(set(item.answers)) == len(item.answers) == 9
    assert item.vocabulary_answers == ("zebra", "Animals")
    np.testing.assert_allclose(np.exp(item.vocabulary), [0.8, 0.2], rtol=1e-5)


def test_a_name_that_an_entity_spells_is_no_node_of_its_own(kb: KnowledgeBase) -> None:
    item = _item(kb, [0], CAT, DOG, Region("mat", 0.3, None, "tag"))
    assert item.labels == ("dog", "mat")
    assert item.label_features.shape == (2, ENTITY_FEATURES + LABEL_FEATURES)
    cat = list(kb.store.entity_texts()).index("cat")
    row = item.evidence.entity_ids.tolist().index(cat)
    assert item.entity_features[row, 4] == pytest.approx(0.9)


def test_a_name_is_linked_to_the_entity_most_like_it(kb: KnowledgeBase) -> None:
    texts = list(kb.store.entity_texts())

    def near_mice(labels: Sequence[str]) -> Tensor:
        return torch.from_numpy(np.stack([np.array(kb.entity_vectors[texts.index("hunting mice")])] * len(labels)))

    item = _item(kb, [0, 4], DOG, Region("rat", 0.7, (0, 0, 9, 9)), label_vectors=near_mice)
    assert item.labels == ("rat",)
    linked = item.evidence.entity_ids[item.label_links[0]]
    assert texts[linked] == "hunting mice"
    extra = item.label_features[0, ENTITY_FEATURES:]
    expected = [1, 0.7, *item.entity_features[item.label_links[0], :2]]
    np.testing.assert_allclose(extra, expected, atol=1e-2)


def test_the_vocabulary_knows_an_entity_under_any_form_of_its_name(kb: KnowledgeBase) -> None:
    item = _item(kb, [0, 6], vocabulary={"Cats": 0.7, "the cup": 0.2, "two wheels": 0.1})
    texts = list(kb.store.entity_texts())
    known = {texts[i]: float(p) for i, p in zip(item.evidence.entity_ids, item.entity_features[:, 13], strict=True)}
    assert known == pytest.approx({"cat": 0.7, "hunting mice": 0, "cup": 0.2, "drinking coffee": 0}, rel=1e-5)


def test_only_the_likeliest_words_are_alternatives(kb: KnowledgeBase) -> None:
    shares = np.random.default_rng(0).permutation(np.arange(1.0, 21.0)) / 210
    item = _item(kb, [0], vocabulary={f"word{i}": float(share) for i, share in enumerate(shares)})
    best = np.argsort(-shares)[:VOCABULARY_ALTERNATIVES]
    assert item.vocabulary_answers == tuple(f"word{i}" for i in best)


def test_features_of_question_and_picture_reach_the_graph(kb: KnowledgeBase) -> None:
    item = _item(kb, [0, 6], CAT, question="What hunts mice?")
    assert item.fact_features[0, 7] == 1 and item.fact_features[1, 7] == 0  # lexical overlap
    assert item.context.shape == (4 * 384 + 4,) and item.side.shape == (2,)
    np.testing.assert_allclose(item.fact_features[:, 0], [0.9, 0.5])


@pytest.mark.parametrize("question", ["", "What is this?", "?!"])
@pytest.mark.parametrize("facts", [[], [0, 1]])
@pytest.mark.parametrize("regions", [(), (CAT, Region("a cat", 1.0, None, "caption"))])
def test_poor_evidence_still_makes_a_graph(
    kb: KnowledgeBase, question: str, facts: list[int], regions: tuple[Region, ...]
) -> None:
    item = _item(kb, facts, *regions, question=question)
    assert len(item.groups) == 2 * len(facts) + len(item.labels) + 1 and _strings(item)[-1] == NO_ANSWER
    for part in (item.fact_features, item.entity_features, item.label_features, item.context):
        assert np.isfinite(part).all()
    batch = collate_graphs([item], kb, _label_vectors)
    assert batch.fact_mask.sum() == len(facts) and batch.num_groups == len(item.answers)


def test_a_batch_is_padded_and_its_groups_stay_with_their_strings(kb: KnowledgeBase) -> None:
    items = [
        _item(kb, [0, 4, 9], vocabulary={"zebra": 0.9}),
        _item(kb, []),
        _item(kb, [6], CAT, DOG, vocabulary={"zebra": 0.6, "cup": 0.4}),
    ]
    batch = collate_graphs(items, kb, _label_vectors)
    assert batch.fact_mask.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert batch.label_mask.tolist() == [[False, False], [False, False], [True, True]]
    assert batch.vocabulary_mask.tolist() == [[True, False], [False, False], [True, True]]
    assert batch.fact_features.shape == (3, 3, FACT_FEATURES) and batch.entity_vectors.shape == (3, 6, 384)
    assert batch.groups.shape == (3, 2 * 3 + 2 + 2 + 1) and batch.num_groups == 8
    there = torch.cat([batch.fact_mask, batch.fact_mask, batch.label_mask, batch.vocabulary_mask], dim=1)
    for item, groups, real in zip(items, batch.groups.tolist(), there.tolist(), strict=True):
        laid = [item.answers[group] for group, is_real in zip(groups[:-1], real, strict=True) if is_real]
        assert laid == _strings(item)[:-1] and item.answers[groups[-1]] == NO_ANSWER


def test_a_batch_reads_its_vectors_from_the_knowledge_base(kb: KnowledgeBase) -> None:
    item = _item(kb, [6, 0], DOG)
    batch = collate_graphs([item, _item(kb, [])], kb, _label_vectors)
    np.testing.assert_allclose(batch.fact_vectors[0], kb.index.vectors(np.array([6, 0])))
    rows = batch.heads[0]
    np.testing.assert_array_equal(item.evidence.entity_ids[rows], kb.triples[[6, 0], 0])
    np.testing.assert_allclose(batch.entity_vectors[0, rows], kb.entity_vectors[kb.triples[[6, 0], 0]])
    np.testing.assert_allclose(batch.relation_vectors[0], kb.relation_vectors[kb.triples[[6, 0], 1]])
    np.testing.assert_allclose(batch.label_vectors[0, 0], _unit("dog"))
    assert not batch.entity_vectors[1].any() and not batch.fact_vectors[1].any()


def test_a_batch_moves_as_a_whole(kb: KnowledgeBase) -> None:
    moved = collate_graphs([_item(kb, [0])], kb, _label_vectors).to("meta")
    assert {value.device.type for value in vars(moved).values() if isinstance(value, Tensor)} == {"meta"}
    assert moved.num_groups == 3
