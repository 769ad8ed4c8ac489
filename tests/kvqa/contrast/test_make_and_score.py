import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kvqa.cli import app
from kvqa.contrast.make import KINDS, make_variants, read_originals
from kvqa.contrast.score import agree, score_variants
from kvqa.errors import InputError

RECORDS = [
    {"identifier": "dev-1-0-0", "sentence": "There are exactly two dogs.", "label": "True", "left_url": "a.jpg"},
    {"identifier": "dev-2-0-0", "sentence": "A red cup.", "label": "False", "left_url": "b.jpg"},
]
HERE = Path("records.jsonl")


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    return path


def test_variants_keep_what_their_original_has() -> None:
    made = make_variants(RECORDS, source=HERE, kinds=["number"])
    [variant] = made.variants
    assert variant == {
        "identifier": "dev-1-0-0-1", "sentence": "There are exactly three dogs.", "label": "False",
        "needs_human": False, "reason": "no count that the original allows is allowed", "edit": "number",
        "span": [18, 21], "before": "two", "after": "three", "original": "dev-1-0-0",
        "original_sentence": "There are exactly two dogs.", "original_label": "True", "left_url": "a.jpg",
    }  # fmt: skip
    assert made.summary()["per_edit"] == {"number": {"variants": 1, "labels_derived": 1}}


def test_the_same_seed_gives_the_same_variants_alone_or_not() -> None:
    classes = {"dog": ("cat", "cow", "hen"), "cup": ("bowl", "plate", "jug")}
    together = make_variants(RECORDS, source=HERE, classes=classes, seed=3).variants
    alone = make_variants(RECORDS[1:], source=HERE, classes=classes, seed=3).variants
    assert [variant for variant in together if variant["original"] == "dev-2-0-0"] == alone
    assert together == make_variants(RECORDS, source=HERE, classes=classes, seed=3).variants
    others = [make_variants(RECORDS, source=HERE, classes=classes, seed=seed).variants for seed in range(4, 9)]
    assert any(variants != together for variants in others)


def test_most_kinds_first_and_no_more_than_asked() -> None:
    for most, kinds in ((1, 1), (2, 2), (3, 2)):
        variants = make_variants(RECORDS[:1], source=HERE, per_original=most).variants
        assert [variant["identifier"] for variant in variants] == [f"dev-1-0-0-{k}" for k in range(1, most + 1)]
        assert len({variant["edit"] for variant in variants}) == kinds


@pytest.mark.parametrize(("label", "expected"), [(True, False), ("true", "false"), ("yes", "no"), ("two", None)])
def test_a_label_is_written_as_the_original_one(label: Any, expected: Any) -> None:
    records = [{"question_id": 7, "question": "Are there exactly two dogs?", "answer": label}]
    [variant] = make_variants(records, source=HERE, kinds=["number"]).variants
    assert (variant["identifier"], variant["label"], variant["needs_human"]) == ("7-1", expected, expected is None)


def test_what_cannot_be_made() -> None:
    with pytest.raises(InputError, match=r"no edit 'colour'; allowed: number"):
        make_variants(RECORDS, source=HERE, kinds=["colour"])
    with pytest.raises(InputError, match="0 variants of an original are none"):
        make_variants(RECORDS, source=HERE, per_original=0)
    with pytest.raises(InputError, match="a record has none of identifier"):
        make_variants([{"sentence": "A cup."}], source=HERE)


def test_files_that_are_read(tmp_path: Path) -> None:
    assert read_originals(write(tmp_path / "a", RECORDS)) == RECORDS
    assert read_originals(write(tmp_path / "b", RECORDS[:1])) == RECORDS[:1]
    (tmp_path / "c").write_text(json.dumps({"questions": RECORDS}), encoding="utf-8")
    assert read_originals(tmp_path / "c") == RECORDS
    (tmp_path / "d").write_text(json.dumps(RECORDS), encoding="utf-8")
    assert read_originals(tmp_path / "d") == RECORDS


def variant(original: str, number: int, label: Any, edit: str = "number", truth: Any = "True") -> dict[str, Any]:
    return {"identifier": f"{original}-{number}", "label": label, "edit": edit, "original": original,
            "original_label": truth}  # fmt: skip


TRUTH = [variant("a", 1, "True"), variant("a", 2, "False", "negation"), variant("a", 3, None), variant("b", 10, "True")]


def test_scores_with_and_without_the_original(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth.jsonl", TRUTH)
    said = tmp_path / "said.csv"
    said.write_text("a-1,true\na-2,0\nb-10,1\na,False\nb,True\n", encoding="utf-8")
    report = score_variants(said, truth)
    assert report.scores == {
        "accuracy": 1.0, "consistency": 1.0, "consistency_with_original": 0.5, "accuracy_of_originals": 0.5,
    }  # fmt: skip
    assert report.groups["counts"] == {
        "variants": 3, "groups": 2, "groups_with_original": 2, "waiting_for_a_person": 1,
    }  # fmt: skip
    said.write_text("a-1,true\na-2,1\n", encoding="utf-8")
    report = score_variants(said, truth)
    assert (report.scores["accuracy"], report.scores["consistency"]) == (1 / 3, 0.0)
    assert report.scores["consistency_with_original"] is None
    assert report.groups["accuracy_per_edit"] == {"negation": 0.0, "number": 0.5}
    assert report.ids.missing == ("b-10",)
    assert "no original is predicted" in report.notes[0]


def test_other_forms_of_predictions(tmp_path: Path) -> None:
    truth = write(
        tmp_path / "truth.jsonl", [variant("7", 1, "two", truth="three"), variant("7", 2, "no", truth="three")]
    )
    said = write(tmp_path / "said.jsonl", [
        {"question_id": "7-1", "answer": "Two "}, {"identifier": "7-2", "prediction": False},
        {"identifier": "7", "answer": "three"},
    ])  # fmt: skip
    assert score_variants(said, truth).scores["consistency_with_original"] == 1.0
    assert score_variants(said, truth).scores["accuracy"] == 1.0
    with pytest.raises(InputError, match="a prediction has none of prediction, answer, label"):
        score_variants(write(tmp_path / "x", [{"identifier": "7"}]), truth)
    with pytest.raises(InputError, match="has a label yet"):
        score_variants(said, write(tmp_path / "none", [variant("7", 1, None)]))


def test_agree() -> None:
    assert agree("TRUE", "yes") and agree(0, False) and agree("Red", "red") and not agree("maybe", "yes")


def test_command_line(tmp_path: Path) -> None:
    source, out = write(tmp_path / "records.jsonl", RECORDS), tmp_path / "variants.jsonl"
    run = CliRunner()
    result = run.invoke(app, ["contrast", "make", str(source), "--out", str(out), "--per-original", "9"])
    assert result.exit_code == 0, result.output
    assert "labels derived; the others need a human" in result.output
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {line["edit"] for line in lines} == {"number", "quantifier", "entity", "attribute"} <= set(KINDS)
    said = tmp_path / "said.csv"
    said.write_text("".join(f"{line['identifier']},{line['label']}\n" for line in lines), encoding="utf-8")
    result = run.invoke(app, ["contrast", "score", "--predictions", str(said), "--truth", str(out), "--json"])
    assert json.loads(result.output)["consistency"] == 1.0
    result = run.invoke(app, ["contrast", "score", "--predictions", str(said), "--truth", str(out)])
    assert "protocol group" in result.output
