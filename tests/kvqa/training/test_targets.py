"""Gold answers and facts in terms of a knowledge base of four facts from two files, embedded with random vectors."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kvqa.data.example import Example
from kvqa.data.gold import allowed_facts, fact_file, facts_of_source, gold_fact_ids
from kvqa.errors import InputError
from kvqa.training.targets import build_targets, build_vocabulary
from kvqa.vision.regions import Regions
from retrieval.builder import build_kb
from retrieval.knowledge_base import KnowledgeBase

NOTHING = Regions("a.jpg", 10, 10, ())
CAT_IS_ANIMAL = ("cat", "IsA", "animal")


class RandomEncoder:
    """Stands in for `SentenceEncoder`: four random numbers a text."""

    name, sha256, dimension = "random", "0" * 64, 4

    def encode(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> NDArray[np.float16]:
        vectors = np.random.default_rng(0).standard_normal((len(texts), 4))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two-sources")
    head = "head\trelation\ttail\n"
    (root / "first.tsv").write_text(head + "Cat\tIsA\tanimal\ncat\tHasA\twhiskers\n", encoding="utf-8")
    (root / "second.tsv").write_text(
        head + "cat\tIsA\tanimal\ncup\tUsedFor\tdrinking coffee\ndog\tIsA\tanimal\n", encoding="utf-8"
    )
    encoder: Any = RandomEncoder()
    build_kb([root / "first.tsv", root / "second.tsv"], root / "kb", encoder=encoder)
    return root


@pytest.fixture(scope="module")
def kb(folder: Path) -> Iterator[KnowledgeBase]:
    opened = KnowledgeBase.open(folder / "kb")
    yield opened
    opened.store.close()


def _example(
    *answers: str, fact: tuple[str, str, str] | None = None, source: str = "kb", image: str = "a.jpg"
) -> Example:
    return Example("q", "?", image, NOTHING, answers, () if fact is None else (fact,), {"answer_source": source})


def test_gold_facts_are_found_and_missed(kb: KnowledgeBase) -> None:
    wanted: list[tuple[tuple[str, str, str] | None, int]] = [
        (CAT_IS_ANIMAL, 0),
        (("dog", "IsA", "animal"), 3),
        (("cup", "UsedFor", "drinking coffee"), 2),
        (("animal", "IsA", "cat"), -1),  # the wrong way round
        (("cat", "UsedFor", "animal"), -1),  # another relation
        (("cat", "Eats", "animal"), -1),  # a relation that is not there
        (("elephant", "IsA", "animal"), -1),
        (None, -1),
    ]
    found = gold_fact_ids([_example("a", fact=fact) for fact, _ in wanted], kb)
    assert found.tolist() == [number for _, number in wanted]
    assert gold_fact_ids([], kb).shape == (0,)


def test_only_the_first_gold_fact_counts(kb: KnowledgeBase) -> None:
    example = Example("q", "?", "a.jpg", NOTHING, ("cat",), (("cat", "HasA", "whiskers"), CAT_IS_ANIMAL))
    assert gold_fact_ids([example], kb).tolist() == [1]


def test_facts_that_only_one_file_has(kb: KnowledgeBase, folder: Path) -> None:
    assert facts_of_source(kb, folder / "first.tsv").tolist() == [False, True, False, False]
    assert facts_of_source(kb, folder / "second.tsv").tolist() == [False, False, True, True]
    (folder / "third.tsv").write_text("something else", encoding="utf-8")
    assert facts_of_source(kb, folder / "third.tsv").tolist() == [False] * 4


def test_hidden_facts_are_those_that_no_training_example_needs(kb: KnowledgeBase) -> None:
    training = [_example("dog", fact=("dog", "IsA", "animal")), _example("a", fact=("x", "IsA", "y")), _example("b")]
    assert allowed_facts(training, kb, None).tolist() == [True] * 4
    hideable = np.array([False, True, True, True])
    assert allowed_facts(training, kb, hideable).tolist() == [True, False, False, True]
    assert hideable.tolist() == [False, True, True, True]


def test_the_fact_file_is_found_packed_or_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no facts\.tsv\.gz"):
        fact_file(tmp_path)
    (tmp_path / "facts.tsv").touch()
    assert fact_file(tmp_path).name == "facts.tsv"
    (tmp_path / "facts.tsv.gz").touch()
    assert fact_file(tmp_path).name == "facts.tsv.gz"


def test_the_vocabulary_holds_common_answers_in_their_commonest_spelling() -> None:
    written = ["Cats.", "cats", "a cat", "dog", "Dog", "mouse", "mice", "mice", "zebra", " ", "."]
    examples = [_example("something else", answer) for answer in written]
    assert build_vocabulary(examples) == ("cats", "mice", "dog")
    assert build_vocabulary(examples, at_least=3) == ("cats", "mice")
    assert build_vocabulary(examples, at_least=1)[-1] == "zebra"
    assert build_vocabulary([]) == ()


def test_targets_by_hand(kb: KnowledgeBase) -> None:
    ids = kb.store.find_entities(["cat", "animal"])
    relation = kb.store.relation_names().index("IsA")
    examples = [
        _example("the cat", fact=CAT_IS_ANIMAL, source="image"),
        _example("animals", fact=CAT_IS_ANIMAL),
        _example("cat", "animal", fact=CAT_IS_ANIMAL),  # either side would do
        _example("fish", fact=CAT_IS_ANIMAL),  # neither side is the answer
        _example("dog", fact=("dog", "IsA", "robot")),
        _example("dogs"),
    ]
    targets = build_targets(examples, kb, ("dog", "animals"))
    assert targets.fact.tolist() == [0, 0, 0, 0, -1, -1]
    assert targets.relation.tolist() == [relation] * 4 + [-1, -1]
    assert targets.side.tolist() == [0, 1, -1, -1, -1, -1]
    assert targets.answer.tolist() == [ids["cat"], ids["animal"], -1, -1, -1, -1]
    assert targets.anchor.tolist() == [ids["animal"], ids["cat"], -1, -1, -1, -1]
    assert targets.visible.tolist() == [1, 0, 0, 0, 0, 0]
    assert targets.vocabulary.tolist() == [-1, 1, 1, -1, 0, 0]


def test_targets_of_some_examples(kb: KnowledgeBase) -> None:
    targets = build_targets([_example("cat", fact=CAT_IS_ANIMAL), _example("dog")], kb, ("dog",)).take([1, 0, 1])
    assert targets.fact.tolist() == [-1, 0, -1] and targets.vocabulary.tolist() == [0, -1, 0]
