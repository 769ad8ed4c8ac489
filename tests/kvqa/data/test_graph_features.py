import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kvqa.data.example import Example
from kvqa.data.graph_features import (
    ENTITY_FEATURES,
    FACT_FEATURES,
    Seen,
    View,
    content_lemmas,
    entity_features,
    fact_features,
)
from kvqa.vision.regions import Region, Regions
from retrieval.evidence import evidence_of
from retrieval.knowledge_base import KnowledgeBase

QUESTION = "Which animal in the picture can hunt mice?"


def _unit(key: str, size: int = 384) -> NDArray[np.float32]:
    vector = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(size).astype(np.float32)
    return vector / np.linalg.norm(vector)


def _label_vectors(labels: Sequence[str]) -> Tensor:
    return torch.from_numpy(np.stack([_unit(label) for label in labels]))


def _view(**vectors: NDArray[np.float32]) -> View:
    names = ("fact", "answer", "anchor", "relation", "question", "described")
    filled = {name: vectors.get(name, np.zeros(384, dtype=np.float32)) for name in names}
    half = np.log(np.array([0.5, 0.5], dtype=np.float32))
    return View(**filled, side=half, visible=half, vocabulary=half)


@pytest.fixture(scope="module")
def kb(small_kb: Path) -> Iterator[KnowledgeBase]:
    opened = KnowledgeBase.open(small_kb)
    yield opened
    opened.store.close()


def test_content_lemmas_leave_out_what_names_nothing() -> None:
    assert content_lemmas("What can the cats hunt in this image?") == {"cat", "hunt"}
    assert "what" in content_lemmas("What is this?")  # unless nothing else is left
    assert content_lemmas("") == frozenset()


def test_fact_features_by_hand(kb: KnowledgeBase) -> None:
    ids = np.array([0, 2, 4])  # cats hunt mice, cats have whiskers, dogs are animals
    scores = np.array([0.6, 0.9, 0.3], dtype=np.float32)
    evidence = evidence_of(ids, scores, np.array([False, False, True]), kb.triples)
    vectors = kb.index.vectors(ids)
    view = _view(described=vectors[0], question=vectors[1], relation=kb.relation_vectors[evidence.relations[2]])
    texts = list(kb.store.entity_texts())
    names = [texts[i] for i in evidence.entity_ids]
    features = fact_features(evidence, names, content_lemmas("hunt mice cat robot"), view, kb)
    assert features.shape == (3, FACT_FEATURES) and features.dtype == np.float32
    np.testing.assert_allclose(features[:, 0], scores)
    np.testing.assert_allclose(features[:, 1], [-1.5, 0, -3], atol=1e-6)
    np.testing.assert_allclose(features[:, 2], np.log1p([1, 0, 2]) / 5, atol=1e-6)
    sharp = np.exp((scores - 0.9) / 0.03)
    np.testing.assert_allclose(features[:, 3], sharp / sharp.sum(), atol=1e-6)
    np.testing.assert_allclose(features[:, 4], vectors @ vectors[0], atol=1e-6)
    np.testing.assert_allclose(features[:, 5], vectors @ vectors[1], atol=1e-6)
    assert features[:, 6].argmax() == 2 and features[2, 6] == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(features[:, 7], [3 / 4, 1 / 4, 0])  # share of the question's words in the fact
    np.testing.assert_allclose(features[:, 8], [1, 1 / 2, 0])  # share of the fact's words in the question
    assert features[:, 9].tolist() == [0, 0, 1]


def test_no_facts_have_no_features(kb: KnowledgeBase) -> None:
    nothing = evidence_of(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, bool), kb.triples)
    assert fact_features(nothing, [], frozenset(), _view(), kb).shape == (0, FACT_FEATURES)


def _seen(*regions: Region) -> Seen:
    return Seen.of(Example("0", QUESTION, "a.jpg", Regions("a.jpg", 100, 100, regions)), _label_vectors)


def test_what_was_seen_comes_by_kind() -> None:
    seen = _seen(
        Region("Cats", 0.9, (0, 0, 9, 9)),
        Region("indoor", 0.4, None, "tag"),
        Region("a cat sleeps", 1.0, None, "caption"),
        Region("ghost", 0.1, (0, 0, 9, 9)),
    )
    assert seen.concepts == ["Cats", "indoor"] and seen.scores == [0.9, 0.4] and seen.objects.tolist() == [True, False]
    assert seen.concept_vectors.shape == (2, 384) and seen.caption_vectors.shape == (1, 384)
    assert "cat" in seen.caption_words and "a" not in seen.caption_words
    nothing = _seen()
    assert nothing.concept_vectors.shape == nothing.caption_vectors.shape == (0, 384)


def test_entity_features_by_hand() -> None:
    seen = _seen(
        Region("Cats", 0.9, (0, 0, 9, 9)),
        Region("dog", 0.5, (0, 0, 9, 9)),
        Region("house", 0.4, None, "tag"),
        Region("one mouse runs", 1.0, None, "caption"),
    )
    names = ["cat", "hunting mice", "house", "mice"]
    vectors = np.stack([_unit(name) for name in ("Cats", "x", "house", "one mouse runs")])
    view = _view(answer=vectors[0], anchor=vectors[1], fact=vectors[2], question=vectors[3])
    features = entity_features(names, vectors, QUESTION, seen, view, {"cat": 0.3, "mouse": 0.2})
    assert features.shape == (4, ENTITY_FEATURES) and features.dtype == np.float32
    for column in range(4):
        np.testing.assert_allclose(features[:, column], vectors @ vectors[column], atol=1e-6)
    np.testing.assert_allclose(features[:, 4], [0.9, 0, 0, 0])  # seen as an object under any form of its name
    assert features[:, 5].tolist() == [0, 0, 1, 0]  # as a tag
    np.testing.assert_allclose(features[:, 6], [0, 1 / 2, 0, 1])  # its words in captions
    assert features[:, 7].tolist() == [0, 1, 0, 1]  # the question says it
    np.testing.assert_allclose(features[:, 8], [0, 1, 0, 1])  # share of its words that the question says
    np.testing.assert_allclose(features[:, 9], [0, 2 / 3, 0, 1 / 3])  # animal, hunt, mouse
    assert features[0, 10] == pytest.approx(1) and features[1, 10] < 0.5
    assert features[2, 11] == pytest.approx(1) and features[0, 11] < 0.5
    assert features[3, 12] == pytest.approx(1) and features[0, 12] < 0.5
    np.testing.assert_allclose(features[:, 13], [0.3, 0, 0, 0.2])
    np.testing.assert_allclose(features[:, 14], [1 / 4, 2 / 4, 1 / 4, 1 / 4])
    assert features[:, 15].sum() == pytest.approx(1) and features[:, 15].argmax() == 0


def test_with_nothing_seen_the_picture_says_zero() -> None:
    vectors = np.stack([_unit("a"), _unit("b")])
    features = entity_features(["cat", "dog"], vectors, "What is this?", _seen(), _view(), {})
    assert not features[:, [4, 5, 6, 10, 11, 12]].any() and np.isfinite(features).all()


def test_no_entities_have_no_features() -> None:
    none = np.zeros((0, 384), dtype=np.float32)
    assert entity_features([], none, QUESTION, _seen(), _view(), {}).shape == (0, ENTITY_FEATURES)


def test_an_empty_question_names_no_entity() -> None:
    features = entity_features(["cat"], _unit("cat")[None], "", _seen(), _view(), {})
    assert not features[:, [7, 8, 9]].any()
