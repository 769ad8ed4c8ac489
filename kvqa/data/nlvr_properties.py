"""What a sentence of NLVR may say of one box or tower: "exactly two blocks", "a blue block at the top"."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from kvqa.data.nlvr_phrases import BoxTest, colours_of, noun_phrase, number_word, quantity, side_phrase, some_items
from kvqa.data.nlvr_scene import COLOUR_NAMES, Box, Item, Kind, from_base, stands_on


def random_property(rng: random.Random, kind: Kind) -> tuple[str, BoxTest]:
    """Return words for what a box or tower may have, and whether it has."""
    forms = TOWER_PROPERTIES if kind == "towers" else BOX_PROPERTIES
    made: tuple[str, BoxTest] = rng.choices([form for form, _ in forms], [w for _, w in forms])[0](rng, kind)
    return made


def size_phrase(rng: random.Random, kind: Kind) -> tuple[str, BoxTest]:
    """Return "exactly four blocks", and whether a box has as many; a bare number means exactly here."""
    n = rng.randint(1, 4 if kind == "towers" else 7)
    way = rng.choice(("exactly", "only", "", "", "at least"))
    words = " ".join(filter(None, (way, number_word(rng, n))))
    name = rng.choice(("block", "block", "item", "object") if kind == "towers" else ("item", "object"))
    text = f"{words} {name}" + ("s" if n > 1 else "")
    return text, (lambda box: len(box) >= n) if way == "at least" else (lambda box: len(box) == n)


def _sized_and(rng: random.Random, kind: Kind) -> tuple[str, BoxTest]:
    size, big = size_phrase(rng, kind)
    if kind == "scatter":
        has, holds = some_items(rng, kind, most=3)
        link = rng.choice(("of which", "and", "and"))
        return f"{size} {link} {has}", lambda box: big(box) and holds(box)
    if rng.random() < 0.25:
        colour, link = rng.choice(COLOUR_NAMES), rng.choice(("and", "with"))
        text = rng.choice((f"{size} {link} a {colour} one on top", f"{size} {link} the {colour} one is on top"))
        return text, lambda box: big(box) and from_base(box)[-1].colour == colour
    has, holds = _placed(rng, kind) if rng.random() < 0.7 else some_items(rng, kind)
    link = rng.choice(("and", "with", "having", "and it has"))
    return f"{size} {link} {has}", lambda box: big(box) and holds(box)


def _sized_at_side(rng: random.Random, kind: Kind) -> tuple[str, BoxTest]:
    """Three items and a yellow one touching the edge."""
    size, big = size_phrase(rng, kind)
    colour, (side, at) = rng.choice(COLOUR_NAMES), side_phrase(rng, kind)
    start = rng.choice((f"{size} and", f"{size} with"))
    return f"{start} a {colour} one {side}", lambda box: big(box) and any(i.colour == colour and at(i) for i in box)


def _all_alike(rng: random.Random, kind: Kind) -> tuple[str, BoxTest]:
    """Only one block which is blue; three items which are black."""
    size, big = size_phrase(rng, kind)
    colour = rng.choice(COLOUR_NAMES)
    return (
        f"{size} which {'are' if size.endswith('s') else 'is'} {colour}",
        lambda box: big(box) and colours_of(box) == {colour},
    )


def _at_side(rng: random.Random, kind: Kind) -> tuple[str, BoxTest]:
    words, enough = quantity(rng)
    noun, (side, at) = noun_phrase(rng, kind), side_phrase(rng, kind)
    return f"{words} {noun.after(words)} {side}", lambda box: enough(sum(noun.fits(i) and at(i) for i in box))


def _and(rng: random.Random, kind: Kind) -> tuple[str, BoxTest]:
    parts = [some_items(rng, kind) for _ in range(3 if rng.random() < 0.15 else 2)]
    text = ", ".join(words for words, _ in parts[:-1]) + " and " + parts[-1][0]
    return text, lambda box: all(test(box) for _, test in parts)


def _only_colours(rng: random.Random, kind: Kind) -> tuple[str, BoxTest]:
    names = rng.sample(COLOUR_NAMES, rng.choice((1, 2, 2)))
    base = rng.choice(("blocks", "items")) if kind == "towers" else rng.choice(("items", "objects"))
    joined = " and ".join(names)
    size, big = size_phrase(rng, kind)
    one = rng.choice(
        (
            f"only {joined} {base}",
            f"{base} of only {joined} color",
            f"{base} of {joined} color only",
            f"{size} of only {joined} color",
            f"{size} of {joined} color",
        )
    )
    sized = size in one
    return one, lambda box: colours_of(box) == set(names) and (not sized or big(box))


def _colour_count(rng: random.Random, kind: Kind) -> tuple[str, BoxTest]:
    base = rng.choice(("blocks", "items")) if kind == "towers" else rng.choice(("items", "objects"))
    n = rng.choice((1, 2, 3))
    word = number_word(rng, n)
    size, big = size_phrase(rng, kind)
    if n == 1:
        text = rng.choice(
            (
                f"{base} of only {word} color",
                f"only {word} color",
                f"{base} of the same color",
                f"all {base} of the same color",
                f"{base} of {word} color",
                f"{size} of the same color",
            )
        )
    elif n == 2:
        text = rng.choice(
            (
                f"{base} of {word} different colors",
                f"{word} colors",
                f"only {word} colors",
                f"{size} of 2 different colors",
            )
        )
    else:
        text = rng.choice(
            (
                f"{base} of all {word} colors",
                f"all {word} colors",
                f"{size} of all {word} different colors",
                f"{word} different colors",
            )
        )
    sized = size in text
    return text, lambda box: len(colours_of(box)) == n and (not sized or big(box))


def _single(rng: random.Random, kind: Kind) -> tuple[str, BoxTest]:
    return some_items(rng, kind)


@dataclass(frozen=True)
class Place:
    """A place in a tower: its name ("top", "base", "second block"), words for it, and which block is there."""

    name: str
    words: str
    find: Callable[[list[Item]], Item | None]


def named_place(rng: random.Random) -> Place:
    """Return a place of a tower whose blocks are given from the base."""
    way = rng.choices(("top", "base", "second", "third"), (5, 4, 0.8, 0.2))[0]
    if way == "top":
        return Place(way, rng.choice(("at the top", "on top", "on the top")), lambda tower: tower[-1])
    if way == "base":
        at_base = ("at the base", "at the bottom", "as the base", "at base")
        return Place(way, rng.choice(at_base), lambda tower: tower[0])
    number = ("second", "third").index(way) + 1
    words = f"at the {way} from the base"
    return Place(f"{way} block from the base", words, lambda tower: tower[number] if len(tower) > number else None)


def _placed(rng: random.Random, _: Kind) -> tuple[str, BoxTest]:
    """A block of a colour at the top, base, …: "a blue block at the top", "a yellow base"."""
    place, colour = named_place(rng), rng.choice(COLOUR_NAMES)
    base = rng.choice(("block", "block", "block", "item", "square"))
    number = rng.choice(("a", "a", "a", "1", "one", "the"))
    text = f"{number} {colour} {base} {place.words}"
    if place.name in ("top", "base") and rng.random() < 0.2:
        text = f"{rng.choice(('a ', 'a ', ''))}{colour} {place.name}"

    def holds(box: Box) -> bool:
        block = place.find(from_base(box))
        return block is not None and block.colour == colour

    return text, holds


def stacked_pair(rng: random.Random) -> tuple[str, str, BoxTest]:
    """Return the two ends of "a blue block above a black block", and whether a tower has such a pair."""
    upper, lower = rng.choice(COLOUR_NAMES), rng.choice(COLOUR_NAMES)
    below = rng.random() < 0.15
    word = rng.choice(("below", "under")) if below else rng.choice(("above", "over", "over", "on", "on top of"))
    base = rng.choice(("block", "block", "block", "square", "item", "object"))
    first, second = (lower, upper) if below else (upper, lower)

    def holds(box: Box) -> bool:
        return any(a.colour == upper and b.colour == lower and stands_on(a, b) for a in box for b in box)

    return f"{first} {base}", f"{word} a {second} {base}", holds


def _stacked(rng: random.Random, _: Kind) -> tuple[str, BoxTest]:
    if rng.random() < 0.75:
        first, second, holds = stacked_pair(rng)
        return f"{rng.choice(('a', 'a', 'one', 'at least one'))} {first} {second}", holds
    colour, n = rng.choice(COLOUR_NAMES), rng.choice((2, 2, 3))
    text = f"{number_word(rng, n)} {colour} {rng.choice(('blocks', 'items'))} stacked together"

    def run(box: Box) -> bool:
        names = [item.colour for item in from_base(box)]
        return any(names[i : i + n] == [colour] * n for i in range(len(names)))

    return text, run


Property = Callable[[random.Random, Kind], tuple[str, BoxTest]]

BOX_PROPERTIES: tuple[tuple[Property, float], ...] = (
    (_single, 4),
    (size_phrase, 3),
    (_sized_and, 2),
    (_at_side, 2),
    (_sized_at_side, 1),
    (_and, 4),
    (_only_colours, 2),
    (_colour_count, 2.5),
    (_all_alike, 0.7),
)
TOWER_PROPERTIES: tuple[tuple[Property, float], ...] = (
    (_single, 4),
    (size_phrase, 3),
    (_sized_and, 3),
    (_sized_at_side, 0.7),
    (_and, 1.5),
    (_only_colours, 2),
    (_colour_count, 2),
    (_all_alike, 0.7),
    (_placed, 7),
    (_stacked, 5),
)
