"""One spelling for the words of NLVR."""

import pytest

from kvqa.data.nlvr_words import IDS, START, UNKNOWN, WORDS, token_ids, tokens


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("There are TWO yellow squares.", "is 2 yellow square"),
        ("Each grey box contains atleast one object", "each box with at least 1 item"),
        ("one of the grey squares has exactly two blue squares", "1 box with exactly 2 blue square"),
        ("There is ablue block on a black block.", "is a blue block on a black block"),
        ("a blue squere and a cirlce", "a blue square and a circle"),
        ("closely tocuhing the bottom of a box", "touching base a box"),
        ("tleast one black item", "at least 1 black item"),
        ("ll towers", "all tower"),
        ("", ""),
    ],
)
def test_words_get_one_spelling(sentence: str, expected: str) -> None:
    assert " ".join(tokens(sentence)) == expected


def test_a_word_unlike_any_other_is_unknown() -> None:
    assert tokens("a quetzalcoatlus")[-1] == UNKNOWN


def test_words_have_numbers() -> None:
    assert WORDS[IDS["tower"]] == "tower"
    assert token_ids(("is", "zorbal")) == [IDS[START], IDS["is"], IDS[UNKNOWN]]
    assert len(set(WORDS)) == len(WORDS)
