from itertools import cycle
from pathlib import Path

import pytest

from kb.errors import KnowledgeError
from kb.readers.columns import HRT, RHT, Columns, Layout, from_header, resolve

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
    wrong: Columns = "htr"  # type: ignore[assignment]
    with pytest.raises(KnowledgeError, match=r"'htr' .*allowed: auto, hrt, rht"):
        resolve(wrong, rows, PATH)
