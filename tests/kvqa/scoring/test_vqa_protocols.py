import pytest

from kvqa.errors import InputError
from kvqa.scoring.okvqa_labels import ten_answers
from kvqa.scoring.vqa_accuracy import leave_one_out, official
from kvqa.scoring.vqa_variants import PROTOCOLS, protocol_named


def answers(**counts: int) -> list[str]:
    return [answer for answer, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(("matches", "expected"), [(0, 0.0), (1, 30.0), (2, 60.0), (3, 90.0), (4, 100.0), (10, 100.0)])
def test_official_by_number_of_matches(matches: int, expected: float) -> None:
    assert round(100 * official("cat", answers(cat=matches, dog=10 - matches)), 2) == expected


def test_equal_answers_are_not_normalised() -> None:
    assert official("Black.", answers(black=10)) == 0.0
    assert official("Black.", answers(black=9, brown=1)) == 1.0
    assert official(" black\n", [*answers(black=9), "black "]) == 1.0


@pytest.mark.parametrize("places", [(0, 9), (3, 4), (0, 1, 2), (7, 8, 9), (2, 5, 8)])
def test_leave_one_out_is_the_plain_sum_bit_for_bit(places: tuple[int, ...]) -> None:
    given = ["cat" if place in places else "dog" for place in range(10)]
    plain = [
        min(1, float(len([g for other, g in enumerate(given) if other != place and g == "cat"])) / 3)
        for place in range(10)
    ]
    assert leave_one_out("cat", given) == float(sum(plain)) / 10


def test_leave_one_out_goes_by_place_for_other_numbers_of_answers() -> None:
    assert leave_one_out("a", ["a"]) == 0.0
    assert leave_one_out("a", ["a", "a"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("protocol", "prediction", "given", "expected"),
    [
        ("official", "The dog", ["the dog"] * 4 + ["cat"] * 6, 1.0),
        ("vqa-2018", "The dog", ["the dog"] * 4 + ["cat"] * 6, 0.0),  # the answers keep their article
        ("vqa-2018", "Dog.", ["dog"] * 10, 1.0),
        ("official", "Dog.", ["dog"] * 10, 0.0),
        ("mmf", "Dog.", ["dog"] * 10, 1.0),
        ("mmf", "men's hats", ["men 's hats"] * 2 + ["cat"] * 8, 0.6),
        ("squad", "The dog!", ["dog"] * 2 + ["cat"] * 8, 2 / 3),
        ("squad", "hot-dog", ["hotdog"] * 3 + ["cat"] * 7, 1.0),
        ("aokvqa", "Dog", ["dog"] * 5 + ["Dog"] * 1 + ["cat"] * 4, 1 / 3),
        ("pica", "to the dog.", ["dog"] * 2 + ["cat"] * 8, 0.6),
        ("pica", "dog", ["dog"] * 4 + ["cat"] * 6, 1.0),
    ],
)
def test_each_protocol(protocol: str, prediction: str, given: list[str], expected: float) -> None:
    assert PROTOCOLS[protocol].score(prediction, given) == pytest.approx(expected)


def test_unknown_protocol() -> None:
    with pytest.raises(InputError, match=r"no protocol 'vqa'; allowed: official, vqa-2018"):
        protocol_named("vqa")


@pytest.mark.parametrize(
    "labels",
    [
        {"a": 1},
        {"a": 1, "b": 0.667},
        {"a": 1, "b": 1},
        {"a": 1, "b": 0.667, "c": 0.667, "d": 0.667},
        dict.fromkeys("abcde", 0.667),
    ],
)
def test_soft_labels_are_reproduced_by_the_ten_answers(labels: dict[str, float]) -> None:
    given = ten_answers(labels)
    assert len(given) == 10
    assert {answer: round(min(1, given.count(answer) / 3), 3) for answer in set(given)} == labels
    assert all(given.count(answer) % 2 == 0 for answer in given)


def test_official_value_of_two_annotators_is_not_the_soft_label() -> None:
    assert official("b", ten_answers({"a": 1, "b": 0.667})) == pytest.approx(0.6)


@pytest.mark.parametrize("labels", [{}, {"a": 0.667}, {"a": 0.5, "b": 1}, dict.fromkeys("abc", 1)])
def test_impossible_soft_labels(labels: dict[str, float]) -> None:
    with pytest.raises(InputError, match="no ten answers give the soft labels"):
        ten_answers(labels)
