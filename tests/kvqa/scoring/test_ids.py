from pathlib import Path

import pytest

from kvqa.errors import InputError
from kvqa.scoring.files import read_csv, read_ids, read_json, read_json_lines, read_pairs
from kvqa.scoring.ids import Handling, choose, join

FILE = Path("p.json")
ONE_MISSING = [("a", 1)]
DOUBLE = [("a", 1), ("a", 2), ("b", 3)]
UNKNOWN = [("a", 1), ("b", 2), ("x", 3)]


def test_missing_is_reported_and_kept() -> None:
    joined = join(ONE_MISSING, ["a", "b"], source=FILE)
    assert joined.ids == ["a", "b"]
    assert joined.report.as_json()["missing"] == {"count": 1, "first": ["b"]}
    assert joined.report.lines("default") == ["1 questions without a prediction, counted as wrong: b"]


@pytest.mark.parametrize(
    ("said", "handling", "message"),
    [
        (ONE_MISSING, "strict", r"1 ids have no prediction: b"),
        (DOUBLE, "default", r"1 ids have several predictions: a"),
        (UNKNOWN, "default", r"1 ids are not questions of the truth: x"),
        (
            [("x", 1)],
            "partial",
            r"no prediction in p.json is for a question of the truth \(predicted: x; asked: a, b\)",
        ),
    ],
)
def test_what_is_not_allowed(said: list[tuple[str, int]], handling: Handling, message: str) -> None:
    with pytest.raises(InputError, match=message):
        join(said, ["a", "b"], source=FILE, handling=handling)


def test_partial_takes_what_is_there_and_the_last_of_two() -> None:
    joined = join([*DOUBLE, ("x", 4)], ["a", "b", "c"], source=FILE, handling="partial")
    assert joined.ids == ["a", "b"]
    assert joined.by_id == {"a": 2, "b": 3}
    assert (joined.report.scored, joined.report.missing, joined.report.double, joined.report.unknown) == (
        2, ("c",), ("a",), ("x",),
    )  # fmt: skip


def test_unknown_may_be_reported_only() -> None:
    joined = join(UNKNOWN, ["a", "b"], source=FILE, unknown_is_error=False)
    assert joined.report.unknown == ("x",)
    with pytest.raises(InputError, match="are not questions"):
        join(UNKNOWN, ["a", "b"], source=FILE, unknown_is_error=False, handling="strict")


def test_ids_outside_a_subset_are_known() -> None:
    assert join(UNKNOWN, ["a", "b"], source=FILE, elsewhere={"x"}, handling="strict").report.unknown == ()


def test_long_lists_are_cut() -> None:
    joined = join(ONE_MISSING, ["a", *(f"q{number}" for number in range(9))], source=FILE)
    assert joined.report.as_json()["missing"] == {"count": 9, "first": ["q0", "q1", "q2", "q3", "q4"]}
    assert joined.report.lines("default")[0].endswith("q4, …")


def test_truth_without_or_with_double_questions() -> None:
    with pytest.raises(InputError, match="there are no questions to score"):
        join(ONE_MISSING, [], source=FILE)
    with pytest.raises(InputError, match="the truth names a question twice: a"):
        join(ONE_MISSING, ["a", "a"], source=FILE)


def test_choose(tmp_path: Path) -> None:
    listed = tmp_path / "ids.json"
    listed.write_text('{"test/0": [3, 1], "empty": []}', encoding="utf-8")
    assert choose(["1", "2", "3"], Path(f"{listed}#test/0")) == ["1", "3"]
    assert choose(["1", "2"], None) == ["1", "2"]
    with pytest.raises(InputError, match=r"1 ids are not in the truth: 3"):
        choose(["1", "2"], Path(f"{listed}#test/0"))
    with pytest.raises(InputError, match="holds several lists; name one"):
        read_ids(listed)
    with pytest.raises(InputError, match="lists no ids"):
        read_ids(Path(f"{listed}#empty"))
    listed.write_text("a\n\nb\n", encoding="utf-8")
    assert read_ids(listed) == ["a", "b"]


def test_files_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="not one JSON document"):
        read_json(path)
    with pytest.raises(InputError, match="line 1: not JSON"):
        read_json_lines(path)
    with pytest.raises(InputError, match=r"line 1: '\{' has no comma"):
        read_pairs(path)
    path.write_text("a,b\n1\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2: the row does not fit the header"):
        read_csv(path)
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8 at byte 0"):
        read_json(path)
    path.write_bytes(b"\x1f\x8b\x08cut")
    with pytest.raises(InputError, match="is damaged"):
        read_json(path)
