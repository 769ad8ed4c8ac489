"""The derived labels are held against brute force over all counts; the edits against sentences written by hand."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from kvqa.contrast.counts import WORDS, allowed, count_edits, quantities
from kvqa.contrast.edit import Edit, Sentence, tokenise
from kvqa.contrast.entities import entity_edits, everyday_facts, plural, read_classes
from kvqa.contrast.negation import negation_edits
from kvqa.contrast.words import colour_edits, exchange_edits, size_edits, spatial_edits
from kvqa.errors import InputError


def sentence(text: str, truth: bool | None = None, **record: Any) -> Sentence:
    return Sentence(text, tokenise(text), truth, record)


def texts(edits: Iterator[Edit], text: str) -> dict[str, bool | None]:
    return {edit.apply(text): edit.truth for edit in edits}


@pytest.mark.parametrize("comparator", ["exactly", "at least", "at most", "more than", "fewer than"])
@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize("truth", [True, False])
def test_derived_truth_holds_for_every_count(comparator: str, number: int, truth: bool) -> None:
    text = f"There are {comparator} {WORDS[number]} dogs."
    possible = [count for count in range(20) if (count in allowed(comparator, number)) == truth]
    for edit in count_edits(sentence(text, truth)):
        after = edit.apply(text).removeprefix("There are ").removesuffix(" dogs.")
        new_comparator, _, word = after.rpartition(" ")
        truths = {count in allowed(new_comparator, WORDS.index(word)) for count in possible}
        assert edit.truth == (truths.pop() if len(truths) == 1 else None), edit.apply(text)


def test_counts_of_a_plain_sentence() -> None:
    text = "There are exactly two dogs in the left image."
    assert texts(count_edits(sentence(text, True)), text) == {
        "There are exactly three dogs in the left image.": False,
        "There are at least two dogs in the left image.": True,
        "There are at most two dogs in the left image.": True,
    }
    assert set(texts(count_edits(sentence(text, False)), text).values()) == {None}
    assert set(texts(count_edits(sentence(text, None)), text).values()) == {None}


@pytest.mark.parametrize(
    "text",
    [
        "There are two dogs.",  # exactly or at least?
        "One image contains exactly two dogs.",  # the other may contain three
        "There are exactly two dogs in one of the images.",
        "There are exactly two dogs on a couch.",  # another couch may hold three
        "There are exactly two dogs or three cats.",
        "There is a box with exactly two yellow items.",
        "No image shows exactly two dogs.",
        "There are exactly two dogs, but not in the left image.",
        "There are exactly two images with exactly three dogs.",
        "There are exactly two dogs in the images.",
        "If there are exactly two dogs, there are cats.",
    ],
)
def test_sentences_that_may_say_more_need_a_human(text: str) -> None:
    for truth in (True, False):
        edits = list(count_edits(sentence(text, truth)))
        assert edits and all(edit.truth is None for edit in edits)


def test_false_sentence_of_two_claims_needs_a_human() -> None:
    for rest in ("dogs and cats", "dogs with the man", "dogs being washed"):
        text = f"There are at least three {rest}."
        assert {edit.truth for edit in count_edits(sentence(text, False))} == {None}


def test_numbers_that_count_nothing() -> None:
    found = quantities("One of the 101 dogs faces one another, a 2-door car, a two-tone cat and Two birds at 3:30")
    assert [(quantity.number, quantity.written) for quantity in found] == [(2, "Two")]
    assert quantities("no more than 5 cups")[0].comparator == "at most"


def test_questions_count_too() -> None:
    text = "Are there exactly 2 dogs?"
    assert texts(count_edits(sentence(text, True)), text)["Are there exactly 3 dogs?"] is False


@pytest.mark.parametrize(
    ("text", "denied", "if_true", "if_false"),
    [
        ("There is a dog on a couch.", "There is no dog on a couch.", False, True),
        ("There are no dogs in the left image.", "There are some dogs in the left image.", False, True),
        ("There is no owl.", "There is an owl.", False, True),
        ("There is at least one dog.", "There is no dog.", False, True),
        ("The right image shows a dog.", "The right image does not show a dog.", False, True),
        ("The dog is black.", "The dog is not black.", False, None),
        ("There is a dog in each image.", "There is no dog in each image.", None, None),
        ("There is a dog and a cat.", "There is no dog and a cat.", None, None),
        ("There is a dog in one of the images.", "There is no dog in one of the images.", None, None),
        ("The left image has only dogs.", "The left image does not have only dogs.", None, None),
        ("The dogs in the images are black.", "The dogs in the images are not black.", None, None),
    ],
)
def test_negation(text: str, denied: str, if_true: bool | None, if_false: bool | None) -> None:
    assert texts(negation_edits(sentence(text, True)), text) == {denied: if_true}
    assert texts(negation_edits(sentence(text, False)), text) == {denied: if_false}
    assert texts(negation_edits(sentence(text)), text) == {denied: None}


@pytest.mark.parametrize(
    "text",
    ["Is there a dog?", "There is more than one dog.", "The dog is not black.", "The dog is black and the cat is red."],
)
def test_what_is_not_denied(text: str) -> None:
    assert list(negation_edits(sentence(text, True))) == []


def test_colours_sizes_and_places() -> None:
    text = "An orange cat sits to the left of a small box in front of the door."
    [colour] = colour_edits(sentence(text), Random(0))
    assert colour.apply(text).startswith("A ") and "orange" not in colour.apply(text)
    assert texts(size_edits(sentence(text)), text) == {text.replace("small", "large"): None}
    assert list(texts(spatial_edits(sentence(text)), text)) == [
        text.replace("in front of", "behind"),
        text.replace("left", "right"),
    ]


PAIR = {"left_url": "a.jpg", "right_url": "b.jpg"}


def test_exchange_of_the_two_images() -> None:
    text = "The left image has more dogs than the image on the right."
    [edit] = exchange_edits(sentence(text, True, **PAIR))
    assert edit.apply(text) == "The right image has more dogs than the image on the left."
    assert (edit.truth, dict(edit.changes)) == (True, {"left_url": "b.jpg", "right_url": "a.jpg"})


@pytest.mark.parametrize(
    "text", ["The left image shows a dog facing right.", "A dog.", "The first and left image is red."]
)
def test_no_exchange(text: str) -> None:
    assert list(exchange_edits(sentence(text, True, **PAIR))) == []
    assert list(exchange_edits(sentence("The left image is red.", True))) == []


def test_entities_keep_class_number_and_article() -> None:
    classes = {"dog": ("owl",), "dish": ("spoon",), "owl": ("dog",)}
    text = "A dog, two dogs and an Owl"
    assert list(texts(entity_edits(sentence(text), classes, Random(0)), text)) == [
        "An owl, two dogs and an Owl",
        "A dog, two owls and an Owl",
        "A dog, two dogs and a dog",
    ]
    assert [plural(noun) for noun in ("dish", "berry", "toy", "cat")] == ["dishes", "berries", "toys", "cats"]


def test_classes_of_the_everyday_facts(tmp_path: Any) -> None:
    classes = read_classes(everyday_facts())
    assert "horse" in classes["dog"] and "dog" not in classes["dog"]
    (tmp_path / "kb.tsv").write_text("head\trelation\ttail\ncat\tDesires\tmilk\n", encoding="utf-8")
    with pytest.raises(InputError, match="says of nothing what class it is in"):
        read_classes(tmp_path / "kb.tsv")
