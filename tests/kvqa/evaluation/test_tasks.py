"""Models of a few random weights on the fixtures: every report agrees with the official score of what was written."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from kvqa.data.datasets import Dataset
from kvqa.data.tasks import common_answers
from kvqa.errors import InputError
from kvqa.evaluation.compare import compare
from kvqa.evaluation.datasets import evaluate
from kvqa.evaluation.records import PARTIAL, read_run
from kvqa.evaluation.tasks import evaluate_reading
from kvqa.models.task_model import EncoderSizes, Reading, TaskConfig, TaskModel, save_task_model
from kvqa.scoring.datasets import score_file
from kvqa.vision.regions import Region, Regions, write_regions

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
SIZES = EncoderSizes(tuned_layers=0, width=16, heads=2, hidden=16, vision_layers=0, cross_layers=1, dropout=0.0)
OPEN = {"vqa2": "train", "okvqa": "train"}


def make_model(
    folder: Path, text: Path, dataset: str, task: Reading, classes: tuple[str, ...] = (), *, seed: int = 0
) -> Path:
    """A model of random weights, always the same, that says it was trained for `dataset`."""
    opened = Dataset(dataset, FIXTURES / dataset)
    if task == "answers" and not classes:
        classes = tuple(common_answers(opened.examples(OPEN.get(dataset, "val")), at_least=1))
    classes = classes or (() if task == "offered" else opened.description.classes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TaskModel(TaskConfig(task, str(text), classes, SIZES))
    training = {"dataset": dataset, "experiment": {"dataset": dataset, "split": "train"}}
    save_task_model(model, folder, training=training)
    return folder


@pytest.fixture
def model(tiny_text: Path, tmp_path: Path) -> Any:
    """Makes a model in `tmp_path`, `model0` if nothing else is said."""

    def make(*args: Any, folder: str = "model", seed: int = 0, **more: Any) -> Path:
        return make_model(tmp_path / f"{folder}{seed}", tiny_text, *args, seed=seed, **more)

    return make


def run(dataset: str, model: Path, split: str, out: Path, **options: Any) -> dict[str, Any]:
    root = options.pop("root", FIXTURES / dataset.replace("-", "_"))
    return evaluate(dataset, root=root, split=split, model=model, out=out, options=options)


@pytest.mark.parametrize(
    ("dataset", "split", "truth"),
    [("vqa2", "val", "v2_mscoco_val2014_annotations.json"), ("okvqa", "val", "val_soft_labels.json")],
)
def test_open_answers_agree_with_the_official_score(
    dataset: str, split: str, truth: str, model: Any, tmp_path: Path
) -> None:
    classes = tuple(common_answers(Dataset(dataset, FIXTURES / dataset).examples("val"), at_least=1))
    folder = model(dataset, "answers", classes)
    report = run(dataset, folder, split, tmp_path / "out", ablations=True)
    official = score_file(dataset, tmp_path / "out" / "answers.json", FIXTURES / dataset / truth, handling="strict")
    assert report["scores"]["overall"] == official.scores["overall"]
    if dataset == "vqa2":
        for ours, theirs in (("question_type", "per_question_type"), ("answer_type", "per_answer_type")):
            assert {k: v["overall"] for k, v in report["by"][ours].items()} == official.groups[theirs]
    assert report["scores"]["reachable"] == 100 or dataset == "okvqa"
    assert report["scores"]["commonest_answer"] <= report["scores"]["reachable"]
    assert list(report["ablations"]) == ["question_only", "image_only"]
    assert "not one trained without it" in report["ablations"]["question_only"]["about"]
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_split_without_labels_is_predicted_and_not_scored(model: Any, tmp_path: Path) -> None:
    folder, out = model("vqa2", "answers"), tmp_path / "out"
    run("vqa2", folder, "val", out)
    report = run("vqa2", folder, "test", out, ablations=True)
    assert "scores" not in report and "test of vqa2 has no labels here: nothing is scored" in report["remark"]
    asked = Dataset("vqa2", FIXTURES / "vqa2").examples("test")
    said = json.loads((out / "answers.json").read_text())
    assert [row["question_id"] for row in said] == [int(e.question_id) for e in asked]
    assert sorted(path.name for path in out.iterdir()) == ["answers.json", "predictions.jsonl"]
    with pytest.raises(InputError, match=r"has no report.json"):
        compare(str(out), str(out))


def test_offered_answers_of_aokvqa(model: Any, tmp_path: Path) -> None:
    folder = model("aokvqa", "offered")
    report = run("aokvqa", folder, "val", tmp_path / "val", ablations=True)
    truth = FIXTURES / "aokvqa" / "aokvqa_v1p0_val.json"
    official = score_file("aokvqa", tmp_path / "val" / "answers.json", truth)
    assert report["scores"]["multiple_choice"] == official.scores["multiple_choice"]
    assert official.scores["direct_answer"] is None and "direct answers: this model" in report["not_scored"]
    assert list(report["ablations"]) == ["question_only", "image_only", "choice_only"]
    assert "remark" in run("aokvqa", folder, "test", tmp_path / "test")
    said = json.loads((tmp_path / "test" / "answers.json").read_text())
    choices = {e.question_id: e.choices for e in Dataset("aokvqa", FIXTURES / "aokvqa").examples("test")}
    assert all(said[name]["multiple_choice"] in offered for name, offered in choices.items())


def test_direct_answers_of_aokvqa(model: Any, tmp_path: Path) -> None:
    report = run("aokvqa", model("aokvqa", "answers", ("weight",)), "val", tmp_path / "val")
    official = score_file("aokvqa", tmp_path / "val" / "answers.json", FIXTURES / "aokvqa" / "aokvqa_v1p0_val.json")
    assert report["scores"]["direct_answer"] == official.scores["direct_answer"] == 100
    assert official.scores["multiple_choice"] is None and "multiple choice: this model" in report["not_scored"]


@pytest.mark.parametrize(
    ("split", "scorer", "truth"),
    [("dev", "nlvr2", "dev.json"), ("contrast", "nlvr2-contrast", "contrast_set_nlvr2.jsonl")],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_nlvr2_has_accuracy_and_consistency(
    split: str, scorer: str, truth: str, seed: int, model: Any, tmp_path: Path
) -> None:
    report = run("nlvr2", model("nlvr2", "pair", seed=seed), split, tmp_path / "out", ablations=True)
    official = score_file(scorer, tmp_path / "out" / "answers.csv", FIXTURES / "nlvr2" / truth, handling="strict")
    for name in ("accuracy", "consistency"):
        assert report["scores"][name] == round(100 * (official.scores[name] or 0), 2)
        assert len(report["intervals"][name]) == 2
    assert report["ablations"]["question_only"]["scores"].keys() == {"accuracy", "consistency"}


def test_snli_ve_by_label_passes_over_pairs_without_one(model: Any, tmp_path: Path) -> None:
    root = shutil.copytree(FIXTURES / "snli_ve", tmp_path / "data")
    path = root / "snli_ve_dev.jsonl"
    lines = path.read_text().splitlines()
    undecided = {**json.loads(lines[0]), "gold_label": "-", "pairID": "5.jpg#0r1n"}
    path.write_text("\n".join([*lines, json.dumps(undecided)]) + "\n")
    report = run("snli-ve", model("snli_ve", "judgement"), "dev", tmp_path / "out", root=root, ablations=True)
    official = score_file("snli-ve", tmp_path / "out" / "answers.csv", path)
    assert report["scores"]["accuracy"] == 100 * (official.scores["accuracy"] or 0)
    by_label = {name: 100 * value for name, value in official.groups["per_label"].items()}
    assert {name: row["accuracy"] for name, row in report["by"]["label"].items()} == by_label
    assert (report["questions"], report["unscored"]) == (2, 1)
    assert len((tmp_path / "out" / "answers.csv").read_text().splitlines()) == 3
    assert "1 more questions have no label" in (tmp_path / "out" / "report.html").read_text()


def test_regions_are_read_and_count_as_input(model: Any, tmp_path: Path) -> None:
    folder = model("vqa2", "answers")
    images = {example.image for example in Dataset("vqa2", FIXTURES / "vqa2").examples("val")}
    seen = tmp_path / "seen"
    seen.mkdir()
    for image in sorted(images)[:1]:
        write_regions(Regions(image, 9, 9, (Region("dog", 0.9, (0, 0, 5, 5)),)), seen / f"{image}.regions.json")
    blind = run("vqa2", folder, "val", tmp_path / "a", ablations=True)
    report = run("vqa2", folder, "val", tmp_path / "b", regions=seen, ablations=True)
    assert (blind["with_labels"], report["with_labels"] >= 1) == (0, True)
    assert set(report["by"]["picture"]) >= {"something is seen"} and set(blind["by"]["picture"]) == {"nothing is seen"}
    # Without the picture both runs are the same.
    assert report["ablations"]["question_only"]["scores"] == blind["ablations"]["question_only"]["scores"]
    result = compare(str(tmp_path / "a"), str(tmp_path / "b"))
    assert result["questions"] == blind["questions"] and result["primary"] == "overall"


def test_a_stopped_run_goes_on(model: Any, tmp_path: Path) -> None:
    options = {"root": FIXTURES / "nlvr2", "split": "dev", "model": model("nlvr2", "pair"), "chunk": 1}
    evaluate_reading("nlvr2", **options, out=tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("2 of 3"):
            raise StoppedError

    with pytest.raises(StoppedError):
        evaluate_reading("nlvr2", **options, out=tmp_path / "cut", log=stop)
    assert (tmp_path / "cut" / PARTIAL).is_file()
    lines: list[str] = []
    evaluate_reading("nlvr2", **options, out=tmp_path / "cut", log=lines.append)
    assert any("2 of 3 questions were answered before" in line for line in lines)
    assert read_run(tmp_path / "whole")[1] == read_run(tmp_path / "cut")[1]
    with (tmp_path / "cut" / "answers.csv").open() as file:
        assert [row[0] for row in csv.reader(file)] == ["dev-5-0-1", "dev-5-2-1", "dev-6-0-0"]


def test_pictures_of_training_are_named(model: Any, tmp_path: Path) -> None:
    report = run("okvqa", model("okvqa", "answers"), "train", tmp_path / "out")
    assert report["overlap"]["checked"] and report["overlap"]["questions"] == report["questions"]
    folder = tmp_path / "model0" / "manifest.json"
    manifest = json.loads(folder.read_text())
    manifest["training"]["experiment"].pop("split")
    folder.write_text(json.dumps(manifest))
    report = run("okvqa", tmp_path / "model0", "train", tmp_path / "again")
    assert report["overlap"]["remark"] == "The model does not say which pictures it was trained on."


def test_what_does_not_fit_is_refused(model: Any, small_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = model("okvqa", "answers")
    with pytest.raises(InputError, match=r"model0 was trained for okvqa, not for vqa2; .* configs/vqa2.yaml"):
        run("vqa2", folder, "val", out)
    with pytest.raises(InputError, match=r"holds a model of a task that is read word by word .*; fvqa is evaluated"):
        run("fvqa", folder, "test0", out)
    with pytest.raises(InputError, match=r"holds a model that answers over a knowledge base .*; nlvr2 is evaluated"):
        run("nlvr2", small_model, "dev", out)
    with pytest.raises(InputError, match="does not take --kb, --vectors; leave it out"):
        evaluate("okvqa", root=out, split="val", model=folder, out=out, kb=out, options={"vectors": out})
    with pytest.raises(InputError, match="okvqa is answered with a knowledge base; name its folder: --kb"):
        run("okvqa", small_model, "val", out)
    with pytest.raises(InputError, match="trained for the task 'offered'; okvqa is evaluated with: answers"):
        run("okvqa", model("okvqa", "offered", folder="offered"), "val", out)
    with pytest.raises(
        InputError, match="classes no, yes, but those of snli_ve are entailment, neutral, contradiction"
    ):
        run("snli-ve", model("snli_ve", "judgement", ("no", "yes"), folder="classes"), "dev", out)
    (tmp_path / "offered0" / "config.json").write_text('{"kind": "something else"}')
    with pytest.raises(InputError, match="describes no model that answers"):
        run("okvqa", tmp_path / "offered0", "val", out)
    assert not out.exists()


def test_an_empty_split_is_refused(model: Any, tmp_path: Path) -> None:
    root = shutil.copytree(FIXTURES / "nlvr2", tmp_path / "data")
    (root / "dev.json").write_text("")
    with pytest.raises(InputError, match=r"split dev of .* has no questions"):
        run("nlvr2", model("nlvr2", "pair"), "dev", tmp_path / "out", root=root)
