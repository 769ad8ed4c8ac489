import pytest

from kvqa.data.example import Example, check_question
from kvqa.errors import InputError
from kvqa.vision.regions import Regions


def test_an_example_can_be_hashed_and_compared() -> None:
    regions = Regions("a.jpg", 4, 3, ())
    first, second = (Example("1", "What is this?", "a.jpg", regions, meta={"relation": "IsA"}) for _ in range(2))
    assert first == second and len({first, second}) == 1


def test_check_question_collapses_white_space() -> None:
    assert check_question("  What\n is\tthis ? ") == "What is this ?"


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), (" \n\t", "is empty"), ("a\x00b", "NUL character"), ("x" * 2001, "2001 characters, more than")],
)
def test_check_question_refuses(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_question(text)


def test_check_question_takes_any_limit() -> None:
    with pytest.raises(InputError, match="more than 3"):
        check_question("what", max_chars=3)
