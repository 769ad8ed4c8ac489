"""Comparisons of small runs made by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kvqa.cli import app
from kvqa.errors import InputError
from kvqa.evaluation.compare import compare
from kvqa.evaluation.records import write_run


def make(out: Path, scores: dict[str, float], **changed: Any) -> str:
    """Write a run of questions with these scores, two questions a picture; right ones are answered "yes"."""
    records = [
        {
            "question_id": name,
            "question": f"Is {name} <b>?",
            "image": f"{i // 2}.jpg",
            "reference": "yes",
            "gold_fact": ["cat", "IsA", "animal"],
            "answers": [["yes" if score >= 50 else "no", 0.7]],
            "facts": [["cat", "IsA", "animal"]] if score >= 50 else [],
            "scores": {"answer_top1": score, "soft": score / 2},
        }
        for i, (name, score) in enumerate(scores.items())
    ]
    report = {"dataset": "fvqa", "split": "test0", "protocol": "exact", "primary": "answer_top1", "commit": "c0"}
    report |= {"model": {"weights_sha256": "a" * 64}, "kb": {"id": "kb0"}, "hide_test_gold": False, **changed}
    out.mkdir(parents=True)
    write_run(out, records, report)
    return str(out)


@pytest.fixture
def a(tmp_path: Path) -> str:
    return make(tmp_path / "a", {"q1": 100, "q2": 100, "q3": 0, "q4": 0})


@pytest.fixture
def b(tmp_path: Path) -> str:
    return make(tmp_path / "b", {"q1": 0, "q2": 100, "q3": 100, "q4": 100}, hide_test_gold=True)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], env={"COLUMNS": "160"})


def test_differences_intervals_and_flips(a: str, b: str) -> None:
    result = compare(a, b)
    row = result["scores"]["answer_top1"]
    assert (row["a"], row["b"], row["difference"]) == (50.0, 75.0, 25.0)
    # Two pictures with the differences -50 and +100: drawn again, the mean lies between.
    assert row["interval"] == [-50.0, 100.0]
    assert row["mcnemar"] == {"only_a": 1, "only_b": 2, "p": 1.0}
    assert row["seeds"] == {"a": [50.0], "b": [75.0]}
    assert result["scores"]["soft"]["mcnemar"] is None  # 50 is neither right nor wrong
    assert result["settings"] == {"hide_test_gold": [False, True]}
    assert [flip["question_id"] for flip in result["flips"]["gained"]] == ["q3", "q4"]
    (lost,) = result["flips"]["lost"]
    assert lost["a"] == {"answer": "yes", "fact": ["cat", "IsA", "animal"], "score": 100.0}
    assert lost["b"] == {"answer": "no", "fact": None, "score": 0.0}
    assert (result["questions"], result["images"]) == (4, 2)


def test_a_run_against_itself_does_not_differ(a: str) -> None:
    result = compare(a, a)
    assert result["flips"] == {"gained": [], "lost": []} and result["settings"] == {}
    assert all(row["interval"] == [0.0, 0.0] and row["difference"] == 0 for row in result["scores"].values())


def test_questions_of_one_run_only_are_told_and_left_out(tmp_path: Path, a: str) -> None:
    other = make(tmp_path / "c", {"q2": 0, "q9": 100})
    result = compare(a, other)
    assert result["questions"] == 1 and result["scores"]["answer_top1"]["difference"] == -100
    assert result["a"]["only"] == {"count": 3, "first": ["q1", "q3", "q4"]}
    assert result["b"]["only"] == {"count": 1, "first": ["q9"]}
    with pytest.raises(InputError, match="no question in common"):
        compare(a, make(tmp_path / "d", {"q9": 100}))


@pytest.mark.parametrize("key", ["dataset", "split", "protocol", "primary"])
def test_what_does_not_belong_together_is_refused(tmp_path: Path, a: str, key: str) -> None:
    other = make(tmp_path / "other", {"q1": 0}, **{key: "soft"})
    with pytest.raises(InputError, match=f"has {key} .*, .* has 'soft', so they cannot be compared"):
        compare(a, other)


def test_several_seeds_are_averaged(tmp_path: Path, b: str) -> None:
    for seed, scores in enumerate(({"q1": 0, "q2": 100, "q3": 0, "q4": 0}, {"q1": 100, "q2": 100, "q3": 0, "q4": 0})):
        make(tmp_path / "seeds" / f"{seed}", scores, model={"weights_sha256": str(seed) * 64})
    result = compare(str(tmp_path / "seeds" / "*"), b)
    row = result["scores"]["answer_top1"]
    assert (row["a"], row["seeds"]["a"], row["mcnemar"]) == (37.5, [25.0, 50.0], None)
    assert [Path(run).name for run in result["a"]["runs"]] == ["0", "1"]
    assert result["settings"]["model"][0] == "0" * 16 + " " + "1" * 16
    assert [flip["question_id"] for flip in result["flips"]["lost"]] == ["q1"]  # half of the seeds have it right
    make(tmp_path / "seeds" / "2", {"q1": 100})
    with pytest.raises(InputError, match="have different questions; seeds of one system"):
        compare(str(tmp_path / "seeds" / "*"), b)


def test_the_command_prints_differences_and_flips(tmp_path: Path, a: str, b: str) -> None:
    page = tmp_path / "pages" / "ab.html"
    done = run(a, b, "--html", page, "--show", 1)
    assert done.exit_code == 0, done.output
    for part in ("fvqa test0, 4 questions", "+25.00", "-50.00 to +100.00", "B right, A wrong: 2", "Is q3 <b>?"):
        assert part in done.stdout, done.stdout
    assert "and 1 more" in done.stdout and "Is q4" not in done.stdout
    text = page.read_text(encoding="utf-8")
    assert "Is q4 &lt;b&gt;?" in text and "<b>" not in text and "cat · IsA · animal" in text
    assert text.count("data:image/svg+xml;base64,") == 1
    assert json.loads(run(a, b, "--json").stdout) == compare(a, b)


def test_the_command_refuses_in_one_line(tmp_path: Path, a: str) -> None:
    done = run(a, tmp_path / "nothing")
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and "is no finished run of kvqa evaluate" in done.stderr
