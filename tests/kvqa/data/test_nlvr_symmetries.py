"""Changes that keep the truth: held against the grammar's own tests of truth, and by geometry."""

import random

import pytest

from kvqa.data.nlvr_grammar import Statement, random_statement
from kvqa.data.nlvr_scene import COLOUR_NAMES, Item, Kind, kind_of, random_scene, touches
from kvqa.data.nlvr_symmetries import (
    lay_down,
    may_change_shapes,
    may_lay_down,
    may_mirror,
    may_turn_over,
    mirror,
    names_a_place,
    rename,
    shuffle_boxes,
    turn_over,
    vary,
)
from kvqa.data.nlvr_words import Words, tokens

COUNT = 6000


@pytest.mark.parametrize("kind", ["towers", "scatter"])
def test_what_is_varied_keeps_its_truth(kind: Kind) -> None:
    """The sentence after the change is looked up among many, and its own test judges the scene after the change."""
    rng = random.Random(11)
    made = [random_statement(rng, kind) for _ in range(COUNT)]
    bank: dict[Words, Statement] = {tokens(statement.text): statement for statement in made}
    met = changed = 0
    for statement in made[:1500]:
        words, scene = tokens(statement.text), random_scene(rng, kind)
        other_words, other_scene = vary(words, scene, rng)
        if other_words in bank:
            met += 1
            changed += other_words != words
            truth = bank[words].true_of(scene)
            assert bank[other_words].true_of(other_scene) == truth, (words, other_words)
    assert met > 300
    assert changed > 100


@pytest.mark.parametrize(
    ("sentence", "place"),
    [
        ("the left box has a circle", True),
        ("the second tower is black", True),
        ("the box in the middle has a circle", True),
        ("the first one is yellow", True),
        ("a blue item touching the right wall of a box", False),
        ("the second block from the base is blue", False),
        ("2 yellow squares in the middle", False),
    ],
)
def test_boxes_named_by_place_stay_where_they_are(sentence: str, place: bool) -> None:
    words = tokens(sentence)
    assert names_a_place(words) is place
    scene = random_scene(random.Random(0), "scatter")
    orders = {shuffle_boxes(words, scene, random.Random(seed)) for seed in range(20)}
    assert (orders == {scene}) is place
    assert may_mirror(words) is not place


def test_right_on_top_is_not_on_the_right() -> None:
    assert not may_mirror(tokens("a blue square right on top of it"))


def test_names_change_in_sentence_and_scene() -> None:
    scene = ((Item(0, 0, 10, "black", "circle"),), (), ())
    words, changed = rename(("a", "black", "circle"), scene, {"black": "blue", "circle": "square", "blue": "black"})
    assert words == ("a", "blue", "square")
    assert changed == ((Item(0, 0, 10, "blue", "square"),), (), ())


def test_mirrored_and_turned_items_touch_the_opposite_sides() -> None:
    item = Item(0, 90, 10, "black", "circle")  # left and base
    words, scene = mirror(("touching", "left", "edge"), ((item,), (), ()))
    assert words == ("touching", "right", "edge")
    assert touches(scene[0][0]) == (False, True, False, True)
    words, scene = turn_over(("touching", "base"), ((item,), (), ()))
    assert words == ("touching", "top")
    assert touches(scene[0][0]) == (True, False, True, False)
    assert touches(lay_down(((Item(0, 50, 10, "black", "circle"),), (), ()))[0][0]) == (False, False, True, False)


def test_twice_is_not_at_all() -> None:
    scene = random_scene(random.Random(4), "scatter")
    words = tokens("a circle touching the left edge and a square at the bottom")
    assert mirror(*mirror(words, scene)) == (words, scene)
    assert turn_over(*turn_over(words, scene)) == (words, scene)
    assert lay_down(lay_down(scene)) == scene


def test_towers_stay_upright_and_square() -> None:
    rng = random.Random(0)
    words = tokens("there is a tower with a blue block at the top")
    scene = random_scene(rng, "towers")
    assert not may_turn_over(words)
    assert not may_lay_down(words)
    assert not may_change_shapes(words, scene)
    for _ in range(20):
        varied_words, varied = vary(words, scene, rng)
        assert kind_of(varied) == "towers"
        assert sorted(len(box) for box in varied) == sorted(len(box) for box in scene)
        assert [w for w in varied_words if w not in COLOUR_NAMES] == [w for w in words if w not in COLOUR_NAMES]
