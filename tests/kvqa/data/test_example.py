import pytest

from kvqa.data.example import Example, check_question, unseen
from kvqa.errors import InputError
from kvqa.vision.regions import Regions, check_regions


def test_an_example_can_be_hashed_and_compared() -> None:
    regions = Regions("a.jpg", 4, 3, ())
    first, second = (Example("1", "What is this?", "a.jpg", regions, meta={"relation": "IsA"}) for _ in range(2))
    assert first == second and len({first, second}) == 1


def test_one_picture_and_a_pair_are_read_alike() -> None:
    single = Example("1", "What is this?", "a.jpg", unseen("a.jpg"))
    assert (single.all_images, single.all_regions) == (("a.jpg",), (unseen("a.jpg"),))
    images = ("a.jpg", "b.jpg")
    pair = Example("2", "Both are cats.", "a.jpg", unseen("a.jpg"), images=images, more_regions=(unseen("b.jpg"),))
    assert pair.all_images == images
    assert [regions.image for regions in pair.all_regions] == ["a.jpg", "b.jpg"]
    check_regions(pair.more_regions[0])


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
