from collections.abc import Iterator

import pytest

from kb.store import KnowledgeStore
from kb.triple import Triple
from retrieval.linking import Linker, Links, stop_words

FACTS = [
    ("traffic light", "UsedFor", "stopping cars"),
    ("light", "IsA", "wave"),
    ("traffic", "IsA", "movement"),
    ("mouse", "Desires", "cheese"),
    ("mice", "IsA", "plural"),
    ("polar bear", "AtLocation", "Arctic"),
    ("bear", "CapableOf", "hunting seals"),
    ("what", "IsA", "word"),
    ("image", "IsA", "picture"),
    ("t-shirt", "IsA", "clothing"),
    ("Cat", "HasA", "whiskers"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeStore]:
    path = tmp_path_factory.mktemp("linking") / "facts.db"
    with KnowledgeStore.create(path) as new:
        new.add([Triple(*fact) for fact in FACTS], new.add_source("test", "test.tsv", "0" * 64))
    with KnowledgeStore.open(path) as opened:
        yield opened


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which cats are white?", {"cat": "cats"}),
        ("is the CAT asleep", {"cat": "CAT"}),
        ("Where do polar bears live?", {"polar bear": "polar bears"}),
        ("Where are the bears?", {"bear": "bears"}),
        ("Are polar lights and traffic lights alike?", {"light": "lights", "traffic light": "traffic lights"}),
        ("What can be used for stopping cars?", {"stopping cars": "stopping cars"}),
        ("Whose cat's whiskers?", {"cat": "cat", "whiskers": "whiskers"}),
        ("What is the thing in this image?", {}),
        ("What?", {}),
        ("Are there zebras or quaggas?", {}),
        ("", {}),
    ],
)
def test_phrases_of_the_question(store: KnowledgeStore, question: str, expected: dict[str, str]) -> None:
    keys = store.entity_keys()
    found = Linker(store).link(question, [])
    assert {keys[entity]: words for entity, words in found.question.items()} == expected
    assert found.visual == {}


def test_a_word_links_by_its_form_and_by_its_lemma(store: KnowledgeStore) -> None:
    keys = store.entity_keys()
    found = Linker(store).link("Which mice are these?", []).question
    assert {keys[entity]: words for entity, words in found.items()} == {"mice": "mice", "mouse": "mice"}


def test_a_hyphen_does_not_hinder(store: KnowledgeStore) -> None:
    found = Linker(store).link("Who wears the t-shirt?", []).question
    assert {store.entity_keys()[entity]: words for entity, words in found.items()} == {"t-shirt": "t-shirt"}


def test_concepts_seen_link_whole(store: KnowledgeStore) -> None:
    keys = store.entity_keys()
    concepts = ["zebra", "Traffic Lights", "cats", "cat", "t-shirt", "polar ice"]
    found = Linker(store).link("", concepts)
    assert {keys[entity]: position for entity, position in found.visual.items()} == {
        "traffic light": 1,
        "cat": 2,  # the first that names it
        "t-shirt": 4,
    }
    assert found.question == {}


def test_entities_of_the_picture_come_first_and_once() -> None:
    assert Links({3: "cat", 1: "dog"}, {2: 0, 1: 1}).entities == [2, 1, 3]
    assert Links({}, {}).entities == []


def test_stop_words_are_of_lower_case_and_hold_what_points_at_a_picture() -> None:
    assert {"the", "which", "image", "picture", "thing"} <= stop_words()
    assert all(word == word.lower() for word in stop_words())
