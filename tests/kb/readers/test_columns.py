from itertools import cycle
from pathlib import Path

import pytest

from kb.errors import KnowledgeError
from kb.readers.columns import HRT, RHT, Layout, from_header, from_names, parse_columns, resolve

PATH = Path("facts.tsv")


def test_header_names_the_columns_in_any_order() -> None:
    assert from_header(["Predicate", "id", "Object", "Subject", "sentence"]) == Layout(3, 0, 2, 4, width=5)
    assert from_header(["head", "relation", "weight"]) is None
    assert from_header(["dog", "IsA", "animal"]) is None


@pytest.mark.parametrize(
    ("rows", "layout"),
    [
        ([["my mug", "AtLocation", "office"]], HRT),
        ([["is-a", "saxophone", "instrument"]], RHT),
        ([["UsedFor", "pen", "write"], ["myOwn", "pen", "paper"]], RHT),
        ([["isA", "IsA", "relation"], ["dog", "IsA", "animal"]], HRT),
        ([["dog", "chases", "cat"]], HRT),
        ([], HRT),
    ],
)
def test_small_tables(rows: list[list[str]], layout: Layout) -> None:
    assert resolve("auto", rows, PATH) == layout


def test_unknown_relations_are_found_by_their_small_number() -> None:
    relations = cycle(["chases", "eats", "sees"])
    heads = [f"animal {number % 90}" for number in range(300)]
    rows = [[head, next(relations), "x"] for head in heads]
    assert resolve("auto", rows, PATH) == HRT
    assert resolve("auto", [[relation, head, "x"] for head, relation, _ in rows], PATH) == RHT


def test_a_table_sorted_by_few_heads_is_not_turned_round() -> None:
    rows = [[f"city {number // 100}", f"P{number % 100}", "x"] for number in range(500)]
    with pytest.raises(KnowledgeError, match=r"facts\.tsv .*--columns hrt .*--columns rht"):
        resolve("auto", rows, PATH)


def test_the_user_has_the_last_word() -> None:
    rows = [["IsA", "dog", "animal"]]
    assert resolve("hrt", rows, PATH) == HRT
    assert resolve("rht", [], PATH) == RHT
    with pytest.raises(KnowledgeError, match=r"'htr' .*allowed: auto, hrt, rht"):
        parse_columns("htr", PATH)


def test_columns_by_position_and_by_name() -> None:
    rows = [["id", "Thing", "verb", "other"], ["1", "dog", "IsA", "animal"]]
    named = parse_columns(" head = thing, tail=other,relation=3", PATH)
    assert named == {"head": "thing", "tail": "other", "relation": "3"}
    assert from_names(named, rows, PATH) == (Layout(1, 2, 3, width=4), True)
    numbers = parse_columns("head=2,relation=3,tail=4,surface=1", PATH)
    assert from_names(numbers, rows, PATH) == (Layout(1, 2, 3, 0), False)
    assert parse_columns("rht", PATH) == {}


@pytest.mark.parametrize("columns", ["", "head=1", "head=1,relation=2,tail=", "head=1,relation=2,tail=3,x=4", "head"])
def test_columns_that_say_too_little(columns: str) -> None:
    with pytest.raises(KnowledgeError, match=r"unknown column order .*allowed: auto, hrt, rht, or such as head=2"):
        parse_columns(columns, PATH)


def test_columns_that_are_not_there() -> None:
    rows = [["a", "b", "c"]]
    for columns, message in [
        ("head=1,relation=2,tail=4", "no column 4 for --columns; they count from 1 to 3"),
        ("head=0,relation=2,tail=3", "no column 0"),
        ("head=a,relation=b,tail=z", "no column 'z' for --columns; its first line names: a, b, c"),
    ]:
        with pytest.raises(KnowledgeError, match=message):
            from_names(parse_columns(columns, PATH), rows, PATH)
