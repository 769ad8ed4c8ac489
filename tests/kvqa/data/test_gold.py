"""FVQA's own facts, with their ids: 0 cup, 1 cat, 2 dog, 3 rose; `more` states 2 again and adds 4."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from kvqa.data.example import Example, Fact
from kvqa.data.gold import allowed_facts, fact_file, facts_of_source, gold_fact_ids
from kvqa.errors import InputError
from kvqa.vision.regions import Regions
from retrieval.builder import build_kb
from retrieval.knowledge_base import KnowledgeBase

FVQA = """\
head\trelation\ttail\tkb_source\tsurface
Cup\tUsedFor\tdrink_tea\tconceptnet\t
cat\tCapableOf\tcatch_mice\tconceptnet\t
dog\tIsA\tanimal\tconceptnet\t
Rose\ttransnbhd\tCategory:Garden_plants\tdbpedia\t
"""
MORE = "head\trelation\ttail\nDog\tis-a\tAnimal\nanimal\tIsA\tdog\n"

CUP = ("cup", "UsedFor", "drink tea")
CAT = ("cat", "CapableOf", "catch mice")
DOG = ("dog", "IsA", "animal")
ROSE = ("rose", "Category", "garden plants")


def example(*facts: Fact) -> Example:
    return Example("1", "What?", "a.jpg", Regions("a.jpg", 1, 1, ()), ("x",), facts)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gold")
    (folder / "facts.tsv").write_text(FVQA, encoding="utf-8")
    (folder / "more.tsv").write_text(MORE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def base(root: Path) -> KnowledgeBase:
    build_kb([root / "facts.tsv", root / "more.tsv"], root / "kb")
    return KnowledgeBase.open(root / "kb")


def test_gold_facts_are_found_by_their_key(base: KnowledgeBase) -> None:
    examples = [example(fact) for fact in (ROSE, CUP, DOG, ("animal", "IsA", "dog"), CUP)]
    ids = gold_fact_ids(examples, base)
    assert ids.tolist() == [3, 0, 2, 4, 0]
    assert ids.dtype == np.int64
    fact = base.store.fact(3)
    assert (fact.head, fact.relation, fact.tail) == ("Rose", "Category", "Garden plants")


@pytest.mark.parametrize(
    "fact",
    [
        ("zebra", "IsA", "animal"),  # no such head
        ("dog", "IsA", "zebra"),  # no such tail
        ("dog", "FooBar", "animal"),  # no such relation
        ("dog", "UsedFor", "drink tea"),  # all are there, the fact is not
        ("drink tea", "UsedFor", "cup"),  # the other way round
    ],
)
def test_what_the_knowledge_base_lacks_is_minus_one(base: KnowledgeBase, fact: Fact) -> None:
    assert gold_fact_ids([example(fact), example(CUP)], base).tolist() == [-1, 0]


def test_the_first_gold_fact_counts_and_there_may_be_none(base: KnowledgeBase) -> None:
    assert gold_fact_ids([example(CAT, CUP), example()], base).tolist() == [1, -1]
    assert gold_fact_ids([], base).shape == (0,)


def test_facts_of_a_source_are_those_that_no_other_states(base: KnowledgeBase, root: Path) -> None:
    # dog IsA animal is in both files.
    assert np.flatnonzero(facts_of_source(base, root / "facts.tsv")).tolist() == [0, 1, 3]
    assert np.flatnonzero(facts_of_source(base, root / "more.tsv")).tolist() == [4]


def test_a_source_is_known_by_its_checksum(base: KnowledgeBase, root: Path, tmp_path: Path) -> None:
    (tmp_path / "renamed.txt").write_text(FVQA, encoding="utf-8")
    assert facts_of_source(base, tmp_path / "renamed.txt").sum() == 3
    (tmp_path / "facts.tsv").write_text(FVQA + "one\tIsA\tmore\tconceptnet\t\n", encoding="utf-8")
    assert not facts_of_source(base, tmp_path / "facts.tsv").any()


def test_a_file_read_twice_is_one_source(root: Path, tmp_path: Path) -> None:
    (tmp_path / "again.tsv").write_text(FVQA, encoding="utf-8")
    build_kb([root / "facts.tsv", tmp_path / "again.tsv", root / "more.tsv"], tmp_path / "kb")
    twice = KnowledgeBase.open(tmp_path / "kb")
    assert np.flatnonzero(facts_of_source(twice, root / "facts.tsv")).tolist() == [0, 1, 3]


def test_hideable_facts_are_hidden_unless_training_uses_them(base: KnowledgeBase, root: Path) -> None:
    hideable = facts_of_source(base, root / "facts.tsv")
    before = hideable.copy()
    allowed = allowed_facts([example(CAT), example(DOG), example(("zebra", "IsA", "animal"))], base, hideable)
    assert np.flatnonzero(~allowed).tolist() == [0, 3]
    np.testing.assert_array_equal(hideable, before)
    assert np.flatnonzero(~allowed_facts([], base, hideable)).tolist() == [0, 1, 3]


def test_nothing_is_hidden_where_nothing_is_hideable(base: KnowledgeBase) -> None:
    for hideable in (None, np.zeros(5, dtype=bool)):
        allowed = allowed_facts([example(CUP)], base, hideable)
        assert allowed.shape == (5,) and allowed.all()


def test_the_fact_file_may_be_packed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no facts\.tsv\.gz; see docs/data-path\.md"):
        fact_file(tmp_path)
    (tmp_path / "facts.tsv").write_text(FVQA, encoding="utf-8")
    assert fact_file(tmp_path).name == "facts.tsv"
    (tmp_path / "facts.tsv.gz").write_bytes(gzip.compress(FVQA.encode()))
    assert fact_file(tmp_path).name == "facts.tsv.gz"
