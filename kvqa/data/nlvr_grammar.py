"""A small grammar of sentences about NLVR's drawings, each with the test that says whether it is true of a scene.

It gives as many training sentences as wanted, with labels that are computed and not annotated. Its forms were written
after reading the sentences of NLVR's dev part; neither sentences nor labels nor drawings of the data set go into it.
A bare number means "at least", as in NLVR ("There are 2 blue blocks" is true of three).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from kvqa.data.nlvr_phrases import (
    BoxTest,
    Statement,
    about_boxes,
    about_items,
    colours_of,
    noun_phrase,
    number_word,
    quantity,
    side_phrase,
    some_items,
    there_is,
)
from kvqa.data.nlvr_properties import named_place, random_property, size_phrase, stacked_pair
from kvqa.data.nlvr_scene import BOXES, COLOUR_NAMES, Box, Item, Kind, Scene, from_base

TRIES = 16
"""Scenes that are tried for one sentence until it is true of one and false of another."""


def judged_pairs(
    rng: random.Random, kind: Kind, scenes: Sequence[Scene]
) -> Iterator[tuple[Statement, tuple[tuple[int, bool], ...]]]:
    """Yield statements without end, each with the numbers of two of `scenes`, one it is true of and one it is not."""
    while True:
        statement = random_statement(rng, kind)
        found: dict[bool, int] = {}
        for number in rng.choices(range(len(scenes)), k=TRIES):
            found.setdefault(statement.true_of(scenes[number]), number)
            if len(found) == 2:
                yield statement, tuple((scene, truth) for truth, scene in found.items())
                break


def random_statement(rng: random.Random, kind: Kind) -> Statement:
    """Return a sentence for drawings of one kind."""
    forms = TOWER_FORMS if kind == "towers" else SCATTER_FORMS
    made: Statement = rng.choices([form for form, _ in forms], [weight for _, weight in forms])[0](rng)
    return made


# --- forms for both kinds --------------------------------------------------------------------------------------------


def _every(count: int) -> bool:
    return count == BOXES


def _items(rng: random.Random, kind: Kind) -> Statement:
    words, enough = quantity(rng, most=4)
    noun = noun_phrase(rng, kind)
    text = f"{words} {noun.after(words)}"
    return about_items(there_is(rng, text), noun.fits, enough)


def _items_at_side(rng: random.Random, kind: Kind) -> Statement:
    words, enough = quantity(rng, most=4)
    noun, (side, at) = noun_phrase(rng, kind), side_phrase(rng, kind)

    def counted(item: Item) -> bool:
        return noun.fits(item) and at(item)

    if rng.random() < 0.12 and "not" not in side:
        text = f"none of the {noun.many} are {side}"
        return about_items(text, counted, lambda count: count == 0)
    if rng.random() < 0.25:
        return about_items(f"{words} {noun.after(words)} {rng.choice(('is', 'are'))} {side}", counted, enough)
    link = rng.choice(("", "", "", "that is ", "which is "))
    return about_items(there_is(rng, f"{words} {noun.after(words)} {link}{side}"), counted, enough)


def _all_at_side(rng: random.Random, kind: Kind) -> Statement:
    noun, (side, at) = noun_phrase(rng, kind), side_phrase(rng, kind)
    text = f"{rng.choice(('All', 'All the'))} {noun.many} are {side}"
    return about_items(text, lambda item: noun.fits(item) and not at(item), lambda count: count == 0)


def _same_box(rng: random.Random, kind: Kind) -> Statement:
    noun = noun_phrase(rng, kind)
    place = rng.choice(("box", "grey box")) if kind == "scatter" else rng.choice(("tower", "box"))
    text = f"{rng.choice(('All', 'All the'))} {noun.many} are in {rng.choice(('the same', 'one'))} {place}"
    return about_boxes(text, lambda box: any(map(noun.fits, box)), lambda count: count <= 1)


def _colours_at_side(rng: random.Random, kind: Kind) -> Statement:
    words, enough = quantity(rng, no=False)
    side, at = side_phrase(rng, kind)
    while "not" in side:
        side, at = side_phrase(rng, kind)
    many = "color" if words.split()[-1] in ("a", "one", "1") else "colors"
    kinds = f"{words} {many}" if rng.random() < 0.6 else f"{words} different {many}"
    verb = rng.choice(("", "are ")) if rng.random() < 0.5 else ""
    text = f"{kinds} {verb}{side}"
    return Statement(
        text if verb else there_is(rng, text),
        lambda scene: enough(len(colours_of([item for box in scene for item in box if at(item)]))),
    )


def _two_counts(rng: random.Random, kind: Kind) -> Statement:
    (first, one), (second, other) = some_items(rng, kind), some_items(rng, kind)
    side, at = side_phrase(rng, kind)
    if rng.random() < 0.5:
        text = f"{first} and {second} are {side}"

        def beside(scene: Scene) -> bool:
            chosen = [item for box in scene for item in box if at(item)]
            return one(tuple(chosen)) and other(tuple(chosen))

        return Statement(text, beside)

    def true_of(scene: Scene) -> bool:
        every = tuple(item for box in scene for item in box)
        return one(every) and other(every)

    return Statement(there_is(rng, f"{first} and {second}"), true_of)


def _boxes(rng: random.Random, kind: Kind) -> Statement:
    """Say of how many boxes (towers) something is true."""
    has, holds = random_property(rng, kind)
    place = "tower" if kind == "towers" and rng.random() < 0.85 else rng.choice(("box", "box", "grey box"))
    way = rng.random()
    if way < 0.6:
        words, enough = quantity(rng, most=3)
        places = place if words.split()[-1] in ("a", "one", "1") else place + ("es" if place.endswith("x") else "s")
        link = rng.choice(("with", "with", "with", "that has", "which has", "that contain", "having"))
        text = there_is(rng, f"{words} {places} {link} {has}")
        return about_boxes(text, holds, enough)
    places = place + ("es" if place.endswith("x") else "s")
    verb = rng.choice(("has", "have", "contains", "contain"))
    if way < 0.75:
        start = rng.choice((f"Each {place}", f"Every {place}", f"All {places}", f"All 3 {places}", f"All the {places}"))
        return about_boxes(f"{start} {verb} {has}", holds, _every)
    words, enough = quantity(rng, most=3, no=False)
    if way < 0.85:
        return about_boxes(f"{words} {place} {verb} {has}", holds, enough)
    start = rng.choice((f"of the {places}", f"of the three {places}", f"of the {place}"))
    if words == "a":
        words = "one"
    return about_boxes(f"{words} {start} {verb} {has}", holds, enough)


def _in_each(rng: random.Random, kind: Kind) -> Statement:
    has, holds = some_items(rng, kind)
    place = "tower" if kind == "towers" else "box"
    return about_boxes(there_is(rng, f"{has} in each {place}"), holds, _every)


def _pairs(rng: random.Random) -> Statement:
    words, enough = quantity(rng, most=1)
    first, second, holds = stacked_pair(rng)
    return about_boxes(there_is(rng, f"{words} {first} {second}"), holds, enough)


def _ends(rng: random.Random) -> Statement:
    """There are two yellow blocks as the base of a tower with at least two blocks."""
    words, enough = quantity(rng)
    colour, end = rng.choice(COLOUR_NAMES), rng.choice(("top", "base"))
    big: BoxTest = lambda box: True  # noqa: E731
    text = f"{words} {colour} block{'' if words.split()[-1] in ('a', 'one', '1') else 's'} as the {end} of a tower"
    if rng.random() < 0.4:
        size, big = size_phrase(rng, "towers")
        text += f" with {size}"
        if rng.random() < 0.2:
            size, big = "more than one block", lambda box: len(box) > 1
            text = text.split(" with ")[0] + f" with {size}"

    def holds(box: Box) -> bool:
        tower = from_base(box)
        return big(box) and tower[0 if end == "base" else -1].colour == colour

    return about_boxes(there_is(rng, text), holds, enough)


def _coloured_tower(rng: random.Random) -> Statement:
    words, enough = quantity(rng, most=2)
    colour = rng.choice(COLOUR_NAMES)
    text, big = f"{words} {colour} tower", None
    if words.split()[-1] not in ("a", "one", "1"):
        text += "s"
    if rng.random() < 0.5:
        size, big = size_phrase(rng, "towers")
        text += f" with {size}"

    def holds(box: Box) -> bool:
        return colours_of(box) == {colour} and (big is None or big(box))

    return about_boxes(there_is(rng, text), holds, enough)


def _sized_tower(rng: random.Random) -> Statement:
    """The tower with four blocks has a black block at the top; the base of the three blocks tower is yellow."""
    n, place, colour = rng.randint(1, 4), named_place(rng), rng.choice(COLOUR_NAMES)
    size = f"{number_word(rng, n)} {rng.choice(('block', 'blocks'))}"

    def holds(box: Box) -> bool:
        block = place.find(from_base(box))
        return len(box) == n and block is not None and block.colour == colour

    if rng.random() < 0.15:
        text = f"The {place.name} of the two {size} towers are {colour}"
        return about_boxes(text, holds, lambda count: count > 1)
    if rng.random() < 0.5:
        text = f"The {place.name} of {rng.choice(('the', 'a'))} {size} tower is {colour}"
        return about_boxes(text, holds, lambda count: count > 0)
    start = rng.choice(
        (
            f"the tower with {size} has",
            f"the {size} tower has",
            f"There is a {size} tower which has",
            f"There is a tower with {size} having",
        )
    )
    return about_boxes(f"{start} a {colour} block {place.words}", holds, lambda count: count > 0)


ALIKE: tuple[tuple[str, Callable[[Box], object]], ...] = (
    ("the same height", len),
    ("the same number of blocks", len),
    ("the same base color", lambda box: from_base(box)[0].colour),
    ("the same color at the base", lambda box: from_base(box)[0].colour),
    ("the same top color", lambda box: from_base(box)[-1].colour),
    ("the same color at the top", lambda box: from_base(box)[-1].colour),
)


def _same_towers(rng: random.Random) -> Statement:
    what, key = rng.choice(ALIKE)
    n = rng.choice((2, 2, 3))
    way = rng.choice(("", "at least ", "only ", "exactly "))
    link = rng.choice(("with", "which has", "that have"))

    def holds(scene: Scene) -> bool:
        keys = [key(box) for box in scene]
        most = max(keys.count(value) for value in keys)
        return most == n if way in ("only ", "exactly ") else most >= n

    if n == 3:
        return Statement(f"All {rng.choice(('3 ', 'the ', ''))}towers have {what}", holds)
    return Statement(there_is(rng, f"{way}{number_word(rng, n)} towers {link} {what}"), holds)


def _end_of_towers(rng: random.Random) -> Statement:
    """Two of the three towers has a blue base; black is the top colour; a yellow base."""
    end = rng.choice(("top", "base"))
    words, enough = quantity(rng, no=False)
    colour = rng.choice(COLOUR_NAMES)
    text = rng.choice(
        (
            f"{words} of the three towers has a {colour} {end}",
            f"{words} of the towers has {colour} {end}",
            f"{words} tower has a {colour} {end}",
            f"{words} tower has a {colour} {end}",
            f"There is {words} {colour} block at the {end}",
            f"{words} {colour} block at the {end}",
        )
    )
    return about_boxes(text, lambda box: from_base(box)[0 if end == "base" else -1].colour == colour, enough)


def _for(kind: Kind, form: Callable[[random.Random, Kind], Statement]) -> Callable[[random.Random], Statement]:
    return lambda rng: form(rng, kind)


Form = Callable[[random.Random], Statement]

SCATTER_FORMS: tuple[tuple[Form, float], ...] = (
    (_for("scatter", _items), 2),
    (_for("scatter", _items_at_side), 10),
    (_for("scatter", _all_at_side), 1),
    (_for("scatter", _same_box), 1),
    (_for("scatter", _colours_at_side), 0.7),
    (_for("scatter", _two_counts), 1),
    (_for("scatter", _boxes), 12),
    (_for("scatter", _in_each), 0.5),
)
TOWER_FORMS: tuple[tuple[Form, float], ...] = (
    (_for("towers", _items), 1.5),
    (_for("towers", _items_at_side), 2),
    (_for("towers", _same_box), 0.5),
    (_for("towers", _colours_at_side), 0.7),
    (_for("towers", _two_counts), 0.7),
    (_for("towers", _boxes), 12),
    (_for("towers", _in_each), 0.4),
    (_pairs, 3),
    (_ends, 3.5),
    (_coloured_tower, 1),
    (_sized_tower, 2),
    (_same_towers, 1),
    (_end_of_towers, 2),
)
