import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from kvqa.attack.curves import attack_curves
from kvqa.attack.fvqa import closed_facts, question_batches
from kvqa.cli import app
from kvqa.errors import InputError
from kvqa.models.checkpoint import load_model
from kvqa.models.model import KvqaModel
from kvqa.models.perturbation import AttackSettings

FACTS = [("cat", "CapableOf", "hunting_mice"), ("Dog", "CapableOf", "guarding_a_house"), ("cup", "UsedFor", "tea")]
QUESTIONS = [
    ("1", "pets.jpg", "which animal can hunt mice", "cat", FACTS[0]),
    ("2", "pets.jpg", "what can guard the house in this picture", "dog", FACTS[1]),
    ("3", "table.jpg", "what is the thing on the table good for", "tea", FACTS[2]),
    ("4", "table.jpg", "what is that", "spoon", ("spoon", "IsA", "tool")),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FVQA's layout with four invented questions; the fact of the last is not in the file of facts."""
    folder = tmp_path_factory.mktemp("fvqa")
    combined = {
        number: {
            **{"question": question, "img_file": image, "answer": answer, "fact": list(fact), "question_id": number},
            **{"fact_surface": "", "kb_source": "conceptnet"},
        }
        for number, image, question, answer, fact in QUESTIONS
    }
    release = {n: {**r, "fact": ["id"], "ans_source": "kb", "visual_concept": "obj"} for n, r in combined.items()}
    rest: dict[str, Any] = {"coco": [], "imagenet": [], "places": [], "hoi": [], "densecap": [], "feat64": [0.0]}
    boxes = {
        "pets.jpg": [["cat", 0.9, 1, 2, 30, 40], ["dog", 0.8, 5, 5, 50, 50]],
        "table.jpg": [["cup", 0.9, 1, 1, 9, 9]],
    }
    seen = [{"image": name, "det": det, "feat300": [0.1] * 300, **rest} for name, det in boxes.items()]
    (folder / "all_qs_dict_release_combine.json").write_text(json.dumps(combined))
    (folder / "all_qs_dict_release.json").write_text(json.dumps(release))
    (folder / "visual_concepts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in seen))
    (folder / "Name_Lists").mkdir()
    (folder / "Name_Lists" / "test_list_0.txt").write_text("pets.jpg\ntable.jpg\n")
    lines = ["head\trelation\ttail\tkb_source\tsurface", *("\t".join([*fact, "conceptnet", "[[x]]"]) for fact in FACTS)]
    (folder / "facts.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def model(small_model: Path) -> KvqaModel:
    return load_model(small_model)


def test_the_gold_fact_is_the_right_class(model: KvqaModel, root: Path) -> None:
    rows, vectors = closed_facts(model, root)
    assert list(rows)[:2] == [("cat", "CapableOf", "hunting mice"), ("dog", "CapableOf", "guarding a house")]
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))

    batches, count = question_batches(model, root, "test0", target="fact", on="words", batch=2)
    found = list(batches)

    assert count == 3 and [len(b.labels) for b in found] == [2, 1]  # without the one whose fact is not there
    assert sorted(torch.cat([b.labels for b in found]).tolist()) == [0, 1, 2]
    # Untrained, the query is the sentence vector of question and seen names, which fits these facts.
    assert all((b.logits(b.inputs).argmax(-1) == b.labels).all() for b in found)


def test_answers_that_the_vocabulary_knows_can_be_the_classes(model: KvqaModel, root: Path) -> None:
    batches, count = question_batches(model, root, "all", target="answer", on="words")
    (batch,) = batches
    assert count == 2 and sorted(batch.labels.tolist()) == [0, 1]
    assert batch.logits(batch.inputs).shape == (2, len(model.vocabulary))


@pytest.mark.parametrize("on", ["words", "features"])
def test_words_and_features_are_attacked_where_they_are_real(model: KvqaModel, root: Path, on: Any) -> None:
    def curves(norm: Any) -> Any:
        batches, _ = question_batches(model, root, "all", target="answer" if on == "features" else "fact", on=on)
        return attack_curves(batches, ["random", "pgd"], [0.0, 0.5], AttackSettings(steps=3, norm=norm))[0]

    (batch,) = question_batches(model, root, "all", target="fact", on=on)[0]
    values, mask, units = batch.inputs[on], batch.masks[on], batch.units[on]
    assert values.shape[:2] == mask.shape and values.shape[2] == 384
    for row in range(3):
        real = values[row][mask[row]]
        assert units[row].item() == pytest.approx(real.pow(2).mean().sqrt().item(), rel=1e-4)
    found = curves("linf")
    assert found["pgd"][1].loss > found["pgd"][0].loss
    assert found["pgd"][1].loss > found["random"][1].loss


def test_a_limit_takes_questions_from_the_whole_split(model: KvqaModel, root: Path) -> None:
    batches, count = question_batches(model, root, "test0", target="fact", on="words", limit=2)
    assert count == 2 and sorted(label for b in batches for label in b.labels.tolist()) == [0, 2]


def test_the_command_prints_a_table_and_leaves_a_report(small_model: Path, root: Path, tmp_path: Path) -> None:
    command = ["attack", "--model", str(small_model), "--data", str(root), "--eps", "0,0.1", "--steps", "2"]
    result = CliRunner().invoke(
        app, [*command, "--attack", "fgsm", "--attack", "random", "--out", str(tmp_path / "out")]
    )

    assert result.exit_code == 0, result.output
    assert "fgsm" in result.output and "100.00 ± 0.00" in result.output and "3 examples" in result.output
    report = json.loads((tmp_path / "out" / "attack.json").read_text())
    assert report["target"] == "gold fact first among FVQA's facts" and set(report["curves"]) == {"fgsm", "random"}
    assert (tmp_path / "out" / "attack.png").is_file() and (tmp_path / "out" / "attack.svg").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--on", "ears"], "nothing is called 'ears' here; attack one of: words, features, pixels"),
        (["--eps", "big"], "eps 'big' is not a list of numbers"),
        (["--attack", "magic"], "attack 'magic' is none of fgsm, ifgsm, pgd, random"),
        (["--target", "soul"], "target 'soul' is none of fact, answer"),
        (["--limit", "0"], "limit 0 leaves no example"),
        (["--split", "test9"], "FVQA has no split 'test9'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(small_model: Path, root: Path, options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["attack", "--model", str(small_model), "--data", str(root), *options])
    assert result.exit_code == 2 and message in result.stderr


def test_a_model_without_answers_cannot_be_asked_for_them(model: KvqaModel, root: Path) -> None:
    known, model.vocabulary = model.vocabulary, ()
    try:
        with pytest.raises(InputError, match=r"has no answer vocabulary"):
            question_batches(model, root, "all", target="answer", on="words")
    finally:
        model.vocabulary = known
