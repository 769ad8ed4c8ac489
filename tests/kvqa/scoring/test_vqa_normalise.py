"""Expected values are what the official script (GT-Vision-Lab/VQA, revision of 2021) gives."""

import pytest

from kvqa.scoring.vqa_normalise import CONTRACTIONS, normalise, strip_punctuation, tidy


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("The 1,000 dogs!", "1000 dogs"),
        ("None two", "0 2"),
        ("ten", "10"),
        ("dont", "don't"),
        ("yall'd've", "y'all'd've"),
        ("somebody'd", "somebodyd"),
        ("Im", "im"),  # the table's key is capitalised, the word no longer is
        ("in-basket", "in basket"),
        ("in- basket", "in basket"),
        ("black/white", "black white"),
        ("a.m.-the surfboard", "am surfboard"),
        ("3.5-KETCHUP", "3.5 ketchup"),
        (".5", ".5"),
        ("5.", "5"),
        ("a dog. no. 7", "dog no 7"),
        ("man\nwoman", "man woman"),
        ("the", ""),
        ("", ""),
    ],
)
def test_normalise(raw: str, expected: str) -> None:
    assert normalise(raw) == expected


def test_one_comma_between_digits_deletes_all_marks() -> None:
    assert strip_punctuation("1,000 in-basket") == "1000 inbasket"
    assert strip_punctuation("1, 000 in-basket") == "1 000 in basket"


def test_at_most_32_periods_go() -> None:
    assert strip_punctuation("." * 40) == "." * 8


def test_a_mark_is_judged_by_the_whole_text() -> None:
    assert strip_punctuation("a-b c- d") == "ab c d"


def test_contractions_miss_exactly_one_apostrophe() -> None:
    assert CONTRACTIONS["couldnt've"] == CONTRACTIONS["couldn'tve"] == "couldn't've"
    assert CONTRACTIONS["ow's'at"] == CONTRACTIONS["'ows'at"] == CONTRACTIONS["'ow'sat"] == "'ow's'at"
    assert "couldntve" not in CONTRACTIONS
    assert len(CONTRACTIONS) == 114  # of the official table's 120 entries, 6 have no effect


def test_tidy_leaves_inner_blanks() -> None:
    assert tidy("\ta\n b ") == "a  b"
