"""Questions made of facts: what is asked for, of what, and with which right answers."""

from collections.abc import Iterator

import numpy as np
import pytest

from kb.triple import entity_key
from kvqa.data.example import Example
from kvqa.data.fact_questions import ABOUT_HEAD, ABOUT_TAIL, FactQuestions
from kvqa.data.gold import gold_fact_ids
from kvqa.vision.regions import Region, Regions
from retrieval.builder import build_kb
from retrieval.knowledge_base import KnowledgeBase

FACTS = """head\trelation\ttail
cat\tIsA\tanimal
cat\tEats\tmouse
cat\tEats\tfish
cat\tRelatedTo\tlion
cat\tCapableOf\tclimb trees as high as a house
zorb\tUsedFor\trolling
wheel\tPartOf\tzorb
stranger\tIsA\tperson
"""


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    folder = tmp_path_factory.mktemp("made")
    (folder / "facts.tsv").write_text(FACTS, encoding="utf-8")
    build_kb([folder / "facts.tsv"], folder / "kb")
    opened = KnowledgeBase.open(folder / "kb")
    yield opened
    opened.store.close()


def seen(image: str, *labels: str) -> Example:
    regions = tuple(Region(label, 0.9, (0, 0, 50, 50)) for label in labels)
    return Example("0", "Who?", image, Regions(image, 90, 90, regions), ("x",))


def test_a_question_is_about_what_is_seen_and_every_fitting_fact_answers_it(kb: KnowledgeBase) -> None:
    made = FactQuestions(kb).make([seen("a.jpg", "cat", "unheard-of")], 60, seed=0)
    assert {e.facts[0][1] for e in made} == {"IsA", "Eats"}, "no relation without a form, no long answer"
    eats = [e for e in made if e.facts[0][1] == "Eats"]
    assert {frozenset(e.answers) for e in eats} == {frozenset({"mouse", "fish"})}
    assert {e.answers[0] for e in eats} == {"mouse", "fish"}, "either is asked for"
    for example in made:
        head, relation, tail = example.facts[0]
        assert (head, tail) == ("cat", entity_key(example.answers[0]))
        names = ("the cat", "this cat", "the animal", "this animal")
        assert example.question.lower() in {
            form.format(it=name).lower() for form in ABOUT_HEAD[relation] for name in names
        }
        assert (example.image, example.regions.regions[0].label) == ("a.jpg", "cat")
        assert example.meta["made_from"] == "fact" and example.meta["answer_source"] == "kb"
    assert len({e.question for e in made}) == len(made) == len({e.question_id for e in made})
    assert (gold_fact_ids(made, kb) >= 0).all()


def test_the_seen_thing_may_be_the_tail(kb: KnowledgeBase) -> None:
    made = FactQuestions(kb).make([seen("z.jpg", "zorb")], 40, seed=1)
    parts = [e for e in made if e.facts[0][1] == "PartOf"]
    assert parts and all(e.answers == ("wheel",) and e.facts[0] == ("wheel", "PartOf", "zorb") for e in parts)
    stems = [form.partition("{it}")[0] for form in ABOUT_TAIL["PartOf"]]
    assert all(any(e.question.startswith(stem) for stem in stems) for e in parts)
    assert any("this object" in e.question or "in the " in e.question for e in made), "nothing says what kind it is"


def test_hidden_facts_are_neither_asked_for_nor_right(kb: KnowledgeBase) -> None:
    allowed = np.array([fact.tail != "mouse" for fact in kb.store.facts(range(kb.manifest.facts))])
    made = FactQuestions(kb, allowed).make([seen("a.jpg", "cat")], 60, seed=0)
    assert {e.answers for e in made if e.facts[0][1] == "Eats"} == {("fish",)}


def test_the_same_seed_makes_the_same_and_little_knowledge_makes_few(kb: KnowledgeBase) -> None:
    pictures = [seen("a.jpg", "cat"), seen("z.jpg", "zorb")]
    one, two = (FactQuestions(kb).make(pictures, 10, seed=3) for _ in range(2))
    assert one == two and len(one) == 10
    assert FactQuestions(kb).make(pictures[::-1], 10, seed=3) == one
    assert FactQuestions(kb).make(pictures, 10, seed=4) != one
    assert FactQuestions(kb).make([seen("n.jpg", "nothing known"), seen("e.jpg")], 10, seed=0) == []
    assert FactQuestions(kb).make([], 10, seed=0) == []
    assert 0 < len(FactQuestions(kb).make([seen("a.jpg", "cat")], 10_000, seed=0)) < 100


def test_every_form_has_a_place_for_the_thing() -> None:
    from kb.relations import RELATIONS

    for forms in (ABOUT_HEAD, ABOUT_TAIL):
        assert forms.keys() <= RELATIONS.keys()
        assert all(form.count("{it}") == 1 and form.endswith("?") for some in forms.values() for form in some)
