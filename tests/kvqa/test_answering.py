import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvqa.answering import UNSURE, Answer, Answerer, AnswerFact, Step, Timer, _fact_shares, _path, explain, spoken
from kvqa.data.example import Example
from kvqa.data.graph_batch import NO_ANSWER, GraphItem
from kvqa.data.graph_features import normal
from kvqa.errors import InputError
from kvqa.models.checkpoint import load_model
from kvqa.models.predict import Prediction
from kvqa.vision.regions import Region, Regions, read_regions
from retrieval.evidence import evidence_of

NOTHING_SEEN = Regions("dark.jpg", 640, 480, ())
QUESTIONS = [
    "Which animal here can hunt mice?",
    "What do cats want to eat?",
    "What can one drink coffee from?",
    "What has two wheels?",
]
STEPS = {"encode", "retrieve", "reason", "explain", "total"}


@pytest.fixture(scope="module")
def answerer(small_model: Path, small_kb: Path) -> Answerer:
    return Answerer.open(load_model(small_model), small_kb)


@pytest.fixture(scope="module")
def seen(cat_regions: Path) -> Regions:
    return read_regions(cat_regions)


def only(answerer: Answerer, *facts: int) -> Answerer:
    """Return an answerer that finds no facts but these."""
    allowed = np.isin(np.arange(answerer.retriever.kb.manifest.facts), facts)
    return replace(answerer, retriever=replace(answerer.retriever, allowed=allowed))


def check(answer: Answer, answerer: Answerer) -> None:
    """Check everything that must hold of any answer of `answerer`."""
    shares = [alternative.confidence for alternative in answer.answers]
    assert all(0 <= share <= 1 for share in shares) and sum(shares) <= 1.001
    assert shares == sorted(shares, reverse=True)
    assert (answer.answer, answer.confidence) == (answer.answers[0].answer, shares[0])
    spellings = [normal(alternative.answer) for alternative in answer.answers]
    assert len(set(spellings)) == len(spellings) and NO_ANSWER not in spellings
    carried = answer.facts[0].answer_share > 0
    assert answer.supported == (carried and answer.confidence >= UNSURE)
    assert answer.path[-1] == Step("answer", answer.answer)
    check_facts(answer, answerer)
    assert set(answer.timings_ms) >= STEPS
    parts = [spent for step, spent in answer.timings_ms.items() if step != "total"]
    assert answer.timings_ms["total"] == pytest.approx(sum(parts), abs=0.06)


def check_facts(answer: Answer, answerer: Answerer) -> None:
    scores = [fact.score for fact in answer.facts]
    assert scores[1:] == sorted(scores[1:], reverse=True)
    assert sum(scores) <= 1.001 and all(0 <= score <= 1 for score in scores)
    assert len({fact.fact_id for fact in answer.facts}) == len(scores) <= answerer.top
    # Of the probability of the answer no more can rest on facts than there is (the small model's temperature is 1).
    assert sum(fact.answer_share for fact in answer.facts) <= answer.confidence + 0.001
    assert answer.facts[0].answer_share == max(fact.answer_share for fact in answer.facts)
    for fact in answer.facts:
        stored = answerer.retriever.kb.store.fact(fact.fact_id)
        assert (fact.head, fact.relation, fact.tail) == (stored.head, stored.relation, stored.tail)
        assert (fact.text, fact.source) == (stored.text, "small")
        assert -1.001 <= fact.retrieval <= 1.001
    check_path(answer.path, answer.facts[0], answer.regions)


def check_path(path: tuple[Step, ...], fact: AnswerFact, regions: Regions) -> None:
    walked = [step.text for step in path if step.kind in ("entity", "relation")]
    assert walked in ([fact.head, fact.relation, fact.tail], [fact.tail, fact.relation, fact.head])
    stations = [step for step in path if step.kind == "region"]
    if fact.seen is None:
        assert stations == []
    else:
        assert stations == [Step("region", regions.regions[fact.seen].label, fact.seen)]
        assert path[0] in stations or path[-2] in stations


# --- whole answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("blind", [False, True])
def test_the_parts_of_an_answer_fit(answerer: Answerer, seen: Regions, question: str, blind: bool) -> None:
    regions = NOTHING_SEEN if blind else seen
    answer = answerer.answer(regions, f"  {question} ")
    assert (answer.image, answer.question) == (regions.image, question)
    assert answer.regions is regions
    assert len(answer.answers) == len(answer.facts) == 5
    check(answer, answerer)
    if blind:
        assert all(fact.seen is None for fact in answer.facts)


def test_things_seen_are_recognised_in_facts(answerer: Answerer, seen: Regions) -> None:
    facts = {fact.text: fact for fact in replace(answerer, top=10).answer(seen, QUESTIONS[0]).facts}
    assert len(facts) == 10
    assert (facts["cat is an animal"].seen, facts["cat is an animal"].seen_side) == (0, "head")
    whiskers = facts["whiskers is used for feeling the way in the dark"]
    assert (whiskers.seen, whiskers.seen_side) == (1, "head")
    cup = facts["cup is used for drinking coffee"]
    assert (cup.seen, cup.seen_side) == (None, None)


def test_the_same_question_has_the_same_answer(answerer: Answerer, seen: Regions) -> None:
    first, second = (answerer.answer(seen, QUESTIONS[0]) for _ in range(2))
    assert replace(first, timings_ms={}) == replace(second, timings_ms={})


@pytest.mark.parametrize("top", [1, 2, 50])
def test_top_limits_what_is_told(answerer: Answerer, seen: Regions, top: int) -> None:
    short = replace(answerer, top=top)
    answer = short.answer(seen, QUESTIONS[0])
    check(answer, short)
    assert len(answer.facts) == min(top, 10)
    assert answer.answer == answerer.answer(seen, QUESTIONS[0]).answer


@pytest.mark.parametrize("fact", [0, 3, 9])
def test_a_single_fact_is_enough(answerer: Answerer, seen: Regions, fact: int) -> None:
    lone = only(answerer, fact)
    for regions in (seen, NOTHING_SEEN):
        answer = lone.answer(regions, QUESTIONS[0])
        check(answer, lone)
        assert [f.fact_id for f in answer.facts] == [fact]


@pytest.mark.parametrize("blind", [False, True])
def test_without_evidence_what_is_seen_or_known_may_answer(answerer: Answerer, seen: Regions, blind: bool) -> None:
    answer = only(answerer).answer(NOTHING_SEEN if blind else seen, QUESTIONS[0])
    assert answer.facts == ()
    assert answer.path == (Step("answer", answer.answer),) and not answer.supported
    expected = {"cat", "dog"} if blind else {"cat", "dog", "whiskers", "indoor"}
    assert {alternative.answer for alternative in answer.answers} == expected


def test_the_time_of_seeing_counts(answerer: Answerer, seen: Regions) -> None:
    timer = Timer()
    timer.steps["detect"] = 1000.0
    answer = answerer.answer(seen, QUESTIONS[0], timer=timer)
    assert set(answer.timings_ms) == {*STEPS, "detect"}
    assert answer.timings_ms["total"] > 1000
    check(answer, answerer)


def test_timer_counts_milliseconds() -> None:
    timer = Timer()
    with timer.step("work"):
        sum(range(1000))
    assert 0 <= timer.steps["work"] < 1000


@pytest.mark.parametrize(
    ("question", "message"), [("", "empty"), (" \n\t", "empty"), ("a\x00b", "NUL"), ("why " * 600, "2400 characters")]
)
def test_what_is_no_question_is_refused(answerer: Answerer, seen: Regions, question: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        answerer.answer(seen, question)


# --- as JSON ---------------------------------------------------------------------------------------------------------


def keys(records: list[dict[str, Any]]) -> set[frozenset[str]]:
    return {frozenset(record) for record in records}


def test_json_is_plain_and_has_the_documented_keys(answerer: Answerer, seen: Regions) -> None:
    answer = answerer.answer(seen, QUESTIONS[0])
    record = json.loads(json.dumps(answer.to_json(), allow_nan=False))
    assert set(record) == {
        *("image", "image_size", "question", "answer", "confidence", "supported", "answers"),
        *("facts", "path", "regions", "timings_ms"),
    }
    assert keys(record["answers"]) == {frozenset({"answer", "confidence"})}
    names = {"fact_id", "head", "relation", "tail", "text", "source", "score", "retrieval", "answer_share"}
    assert keys(record["facts"]) == {frozenset({*names, "seen", "seen_side"})}
    assert keys(record["path"]) == {frozenset({"kind", "text", "region"})}
    assert keys(record["regions"]) == {frozenset({"label", "score", "box", "kind"})}
    assert set(record["timings_ms"]) == STEPS
    assert record["image_size"] == [451, 300]
    assert record["regions"][2] == {"label": "indoor", "score": 0.4, "box": None, "kind": "tag"}
    assert record["regions"][0]["box"] == [0, 0, 449, 300]
    assert (record["answer"], record["confidence"]) == (answer.answer, answer.confidence)
    assert record["path"][-1] == {"kind": "answer", "text": answer.answer, "region": None}


def test_an_answer_without_anything_is_json_too(answerer: Answerer) -> None:
    answer = replace(answerer.answer(NOTHING_SEEN, QUESTIONS[0]), answers=(), facts=(), path=(), answer="")
    record = json.loads(json.dumps(answer.to_json()))
    assert (record["answers"], record["facts"], record["path"], record["regions"]) == ([], [], [], [])


# --- the explanation by hand -----------------------------------------------------------------------------------------

REGIONS = Regions("a.jpg", 9, 9, (Region("cat", 0.9, (0, 0, 9, 9)), Region("mouse", 0.5, (1, 1, 2, 2))))


def fact(seen: int | None = None, side: Any = None) -> AnswerFact:
    return AnswerFact(7, "cat", "CapableOf", "hunting mice", "cat can hunting mice", "s", 0.5, 0.5, 0.5, seen, side)


FORTH = (Step("entity", "cat"), Step("relation", "CapableOf"), Step("entity", "hunting mice"))
BACK = FORTH[::-1]
CAT, MOUSE = Step("region", "cat", 0), Step("region", "mouse", 1)


@pytest.mark.parametrize(
    ("given", "answer", "expected"),
    [
        (fact(), "hunt mouse", FORTH),
        (fact(), "cat", BACK),
        (fact(0, "head"), "hunt mouse", (CAT, *FORTH)),
        (fact(0, "head"), "cat", (*BACK, CAT)),
        # The region stands beside the entity that names it, also where that is the tail.
        (fact(1, "tail"), "cat", (MOUSE, *BACK)),
        (fact(1, "tail"), "hunt mouse", (*FORTH, MOUSE)),
        # An answer that is neither head nor tail is a name seen.
        (fact(), "kitten", BACK),
        (fact(0, "head"), "kitten", (*BACK, CAT)),
        (fact(1, "tail"), "rat", (*FORTH, MOUSE)),
    ],
)
def test_the_path_ends_at_the_side_that_is_the_answer(
    given: AnswerFact, answer: str, expected: tuple[Step, ...]
) -> None:
    path = _path(given, "As Spelled", answer, REGIONS)
    assert path == (*expected, Step("answer", "As Spelled"))
    check_path(path, given, REGIONS)


def prediction() -> Prediction:
    """Two facts, `Cat IsA animal` and `Cat Desires mice`; `kitty` was seen and resembles the cat."""
    triples = np.array([[4, 0, 6], [4, 1, 8]], dtype=np.int32)
    scores, from_graph = np.array([0.5, 0.4], dtype=np.float32), np.zeros(2, dtype=bool)
    unused: Any = None
    item = GraphItem(
        evidence=evidence_of(np.array([0, 1]), scores, from_graph, triples),
        fact_features=unused,
        entity_features=unused,
        labels=("kitty",),
        label_features=unused,
        label_links=np.array([0]),  # entity 4, the first of the evidence
        context=unused,
        side=unused,
        vocabulary=unused,
        vocabulary_answers=("the cats", "dog"),
        answers=("cat", "animal", "mouse", "kitty", "dog", NO_ANSWER),
        groups=np.array([0, 0, 1, 2, 3, 0, 4, 5]),
    )
    alternatives = np.array([0.2, 0.1, 0.15, 0.05, 0.12, 0.08, 0.2], dtype=np.float32)  # 0.1 for no answer
    shares = [("cat", 0.38), ("dog", 0.2), ("animal", 0.15), ("kitty", 0.12), ("mouse", 0.05)]
    return Prediction(item, shares, np.array([0.75, 0.25], dtype=np.float32), alternatives)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("cat", [0.2, 0.1]),  # what the vocabulary says rests on no fact
        ("mouse", [0.0, 0.05]),
        ("kitty", [0.12 * 0.75, 0.12 * 0.25]),  # both facts touch the cat
        ("dog", [0.0, 0.0]),
    ],
)
def test_shares_of_facts_in_an_answer(answer: str, expected: list[float]) -> None:
    np.testing.assert_allclose(_fact_shares(prediction(), answer), expected, atol=1e-6)


@pytest.mark.parametrize(("answer", "wanted"), [("cat", "Cat"), ("mouse", "mice"), ("kitty", "kitty"), ("dog", "dog")])
def test_an_answer_is_spelled_as_by_its_strongest_alternative(answer: str, wanted: str) -> None:
    texts = {4: "Cat", 6: "animal", 8: "mice"}
    assert spoken(answer, prediction(), texts) == wanted


def test_the_vocabulary_spells_where_it_is_the_strongest() -> None:
    said = prediction()
    said.alternatives[5] = 0.9
    assert spoken("cat", said, {4: "Cat", 6: "animal", 8: "mice"}) == "the cats"


def test_an_answer_that_no_fact_carries_has_no_path_and_no_support(answerer: Answerer) -> None:
    kb, given = answerer.retriever.kb, prediction()
    evidence = evidence_of(given.item.evidence.fact_ids, given.item.evidence.scores, np.zeros(2, bool), kb.triples)
    sure = replace(given, item=replace(given.item, evidence=evidence), answers=[("dog", 0.9)])
    example = Example("", "Which animal barks?", "a.jpg", REGIONS)
    best, confidence, supported, _, facts, path = explain(example, sure, kb, answerer.model, top=5)
    assert (best, confidence, supported, path) == ("dog", 0.9, False, (Step("answer", "dog"),))
    assert [fact.answer_share for fact in facts] == [0, 0]


def test_no_answer_at_all_explains_nothing(answerer: Answerer) -> None:
    nothing = replace(prediction(), answers=[])
    example = Example("", "Who?", "a.jpg", REGIONS)
    found = explain(example, nothing, answerer.retriever.kb, answerer.model, top=5)
    assert found == ("", 0.0, False, (), (), ())
