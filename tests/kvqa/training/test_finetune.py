import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from kvqa.data.example import Example, Fact
from kvqa.data.graph_batch import GraphItem
from kvqa.errors import InputError
from kvqa.models.checkpoint import load_model, read_manifest
from kvqa.models.encoder import EncoderConfig
from kvqa.models.graph import ReasonerConfig
from kvqa.models.model import ModelConfig
from kvqa.models.predict import Prediction, graph_items, predict
from kvqa.training.encoder_stage import EncoderStage
from kvqa.training.experiment import Experiment, RetrieverConfig
from kvqa.training.finetune import TrainingReport, finetune, fit_temperature, is_right, split_by_image
from kvqa.training.reasoner_stage import ReasonerStage
from kvqa.vision.regions import Region, Regions
from retrieval.knowledge_base import KnowledgeBase
from retrieval.retriever import Retriever


def _example(number: int, question: str, answer: str, fact: Fact, *labels: str, image: str = "") -> Example:
    image = image or f"{'-'.join(labels)}.jpg"
    regions = Regions(image, 90, 90, tuple(Region(label, 0.9, (0, 0, 50, 50)) for label in labels))
    source = "image" if answer in labels else "kb"
    return Example(str(number), question, image, regions, (answer,), (fact,), {"answer_source": source})


EXAMPLES = [
    _example(0, "Which animal here hunts?", "cat", ("cat", "CapableOf", "hunting mice"), "cat", "dog"),
    _example(1, "Which animal guards us?", "dog", ("dog", "CapableOf", "guarding a house"), "cat", "dog"),
    _example(2, "What is it for?", "drinking coffee", ("cup", "UsedFor", "drinking coffee"), "cup", "coffee table"),
    _example(3, "What does it roll on?", "two wheels", ("bicycle", "HasA", "two wheels"), "bicycle"),
    _example(4, "What would it like to eat?", "cheese", ("mouse", "Desires", "cheese"), "mouse"),
    _example(5, "What does it want?", "zorbal biscuits", ("cat", "Desires", "zorbal biscuits"), "cat"),
    _example(6, "What is in its face?", "whiskers", ("cat", "HasA", "whiskers"), "cat"),
    _example(7, "What kind of being is it?", "animal", ("dog", "IsA", "animal"), "dog", "a very old stone wall"),
]

EXPERIMENT = Experiment(
    name="tiny",
    folds=2,
    held_out=0.2,
    calibration=0.2,
    vocabulary_at_least=1,
    model=ModelConfig(
        encoder=EncoderConfig(tuned_layers=1, width=16, heads=2, hidden=16, cross_layers=1),
        reasoner=ReasonerConfig(width=16, layers=1, dropout=0.0),
    ),
    retriever=RetrieverConfig(dense=8, linked=3, likely=0),
    encoder_stage=EncoderStage(epochs=1, fold_epochs=1, batch=4),
    reasoner_stage=ReasonerStage(epochs=2, batch=4),
)


@pytest.fixture(scope="module")
def kb(small_kb: Path) -> Iterator[KnowledgeBase]:
    opened = KnowledgeBase.open(small_kb)
    yield opened
    opened.store.close()


def _quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def whole(kb: KnowledgeBase, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingReport, list[str]]:
    """A run that was never stopped: its folder, its report and its log."""
    out, lines = tmp_path_factory.mktemp("run") / "whole", cast(list[str], [])
    report = finetune(
        EXPERIMENT,
        EXAMPLES,
        kb,
        out,
        hideable=np.ones(kb.manifest.facts, dtype=bool),
        provenance={"dataset": "by hand"},
        log=lines.append,
    )
    return out, report, lines


def test_a_run_reports_what_it_did(whole: tuple[Path, TrainingReport, list[str]], kb: KnowledgeBase) -> None:
    out, report, lines = whole
    assert set(report.held_out) == {
        *("recall_1", "recall_10", "recall_100"),
        *("answer_top1", "answer_top3", "fact_top1", "fact_top3"),
    }
    assert all(0 <= score <= 100 for score in report.held_out.values()) and report.held_out["recall_100"] == 100
    written = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert TrainingReport(**written) == report
    training = read_manifest(out).training
    assert training["dataset"] == "by hand" and training["kb"] == kb.manifest.id
    assert training["experiment"]["name"] == "tiny" and training["held_out"] == report.held_out
    model = load_model(out)
    assert model.config.temperature == pytest.approx(report.temperature)
    kept, _ = split_by_image(EXAMPLES, 0.2, seed=0, salt="held-out")
    assert set(model.vocabulary) == {EXAMPLES[i].answers[0] for i in kept}
    assert lines[0].startswith(f"{len(kept)} questions, {len(kept)} answers, {10 - len(kept)} facts hidden")
    names = [line.split(":")[0] for line in lines[1:]]
    assert names == ["fold-0", "fold-1", "encoder", "reasoner", "reasoner", "calibration"]


def test_a_stopped_run_goes_on_with_the_same_result(
    whole: tuple[Path, TrainingReport, list[str]], kb: KnowledgeBase, tmp_path: Path
) -> None:
    class StoppedError(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("fold-1: epoch 1"):
            raise StoppedError

    hideable = np.ones(kb.manifest.facts, dtype=bool)
    with pytest.raises(StoppedError):
        finetune(EXPERIMENT, EXAMPLES, kb, tmp_path, hideable=hideable, log=stop)
    assert not (tmp_path / "manifest.json").exists()
    report = finetune(EXPERIMENT, EXAMPLES, kb, tmp_path, hideable=hideable, log=_quiet)
    out, expected, _ = whole
    assert (report.held_out, report.temperature) == (expected.held_out, expected.temperature)
    for name in ("fold-0.state", "fold-1.state", "encoder.state", "reasoner.state"):
        first, second = load_file(out / name), load_file(tmp_path / name)
        assert first.keys() == second.keys()
        assert [key for key in first if not torch.equal(first[key], second[key])] == []


@pytest.mark.parametrize(
    "change",
    [
        {"encoder_stage": replace(EXPERIMENT.encoder_stage, tau=0.1)},
        {"reasoner_stage": replace(EXPERIMENT.reasoner_stage, lr=0.1)},
        {"retriever": replace(EXPERIMENT.retriever, dense=3)},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_folder_of_other_settings_is_refused(
    whole: tuple[Path, TrainingReport, list[str]], kb: KnowledgeBase, change: dict[str, Any]
) -> None:
    hideable = np.ones(kb.manifest.facts, dtype=bool)
    with pytest.raises(InputError, match="was made with other settings or data"):
        finetune(replace(EXPERIMENT, **change), EXAMPLES, kb, whole[0], hideable=hideable, log=_quiet)


def test_questions_made_of_facts_are_trained_on_but_not_judged_by(kb: KnowledgeBase, tmp_path: Path) -> None:
    lines: list[str] = []
    experiment = replace(EXPERIMENT, fact_questions=1.0)
    report = finetune(experiment, EXAMPLES, kb, tmp_path / "made", log=lines.append)
    kept, _ = split_by_image(EXAMPLES, 0.2, seed=0, salt="held-out")
    count = int(next(line.split()[0] for line in lines if line.endswith("questions made of facts")))
    assert 0 < count <= len(kept)
    calibrated = next(line for line in lines if line.startswith("calibration"))
    _, unseen = split_by_image([EXAMPLES[i] for i in kept], 0.2, seed=0, salt="calibration")
    assert f"on {len(unseen)} unseen questions" in calibrated
    assert set(load_model(tmp_path / "made").vocabulary) == {EXAMPLES[i].answers[0] for i in kept}
    assert finetune(experiment, EXAMPLES, kb, tmp_path / "made", log=_quiet).held_out == report.held_out
    with pytest.raises(InputError, match="was made with other settings or data"):
        finetune(EXPERIMENT, EXAMPLES, kb, tmp_path / "made", log=_quiet)


def test_a_few_examples_can_be_learnt_by_heart(kb: KnowledgeBase, tmp_path: Path) -> None:
    experiment = replace(
        EXPERIMENT,
        folds=1,
        held_out=0.0,
        calibration=0.0,
        vocabulary_at_least=2,  # no answer occurs twice: the vocabulary is empty, and facts must say it
        reasoner_stage=ReasonerStage(epochs=60, batch=8, lr=0.01, gold_dropout=0.0),
    )
    report = finetune(experiment, EXAMPLES, kb, tmp_path, log=_quiet)
    assert report.held_out == {} and report.temperature == 1.0
    model = load_model(tmp_path)
    assert model.vocabulary == ()
    items = graph_items(model, EXAMPLES, model.views(EXAMPLES), Retriever(kb, dense=8, linked=3, likely=0))
    right = [is_right(p, e) for p, e in zip(predict(model, items, kb), EXAMPLES, strict=True)]
    assert sum(right) >= 7


def test_no_training_example_left_is_an_input_error(kb: KnowledgeBase, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no training example is left with held_out 0\.8; lower it"):
        finetune(replace(EXPERIMENT, held_out=0.8), EXAMPLES[3:4], kb, tmp_path, log=_quiet)


@pytest.mark.parametrize("change", [{"folds": 2, "calibration": 0.0}, {"folds": 1, "calibration": 0.8}])
def test_too_few_pictures_to_split_are_an_input_error(
    kb: KnowledgeBase, tmp_path: Path, change: dict[str, Any]
) -> None:
    experiment = replace(EXPERIMENT, held_out=0.0, **change)
    with pytest.raises(InputError, match=r"folds|calibration"):
        finetune(experiment, EXAMPLES[3:4], kb, tmp_path, log=_quiet)


@given(
    images=st.lists(st.sampled_from("abcdefgh"), max_size=30),
    share=st.floats(0, 0.89),
    seed=st.integers(0, 5),
)
def test_no_picture_is_on_both_sides_of_a_split(images: list[str], share: float, seed: int) -> None:
    nothing = Regions("", 1, 1, ())
    examples = [Example(str(i), "?", image, nothing) for i, image in enumerate(images)]
    first, second = split_by_image(examples, share, seed=seed, salt="held-out")
    assert sorted(first + second) == list(range(len(images)))
    assert not {images[i] for i in first} & {images[i] for i in second}
    assert len({images[i] for i in second}) == round(share * len(set(images)))
    assert (first, second) == split_by_image(examples, share, seed=seed, salt="held-out")


def test_splits_of_other_salts_differ() -> None:
    examples = [replace(EXAMPLES[0], image=str(i)) for i in range(40)]
    splits = [split_by_image(examples, 0.5, seed=s, salt=t)[1] for s, t in ((0, "a"), (1, "a"), (0, "b"))]
    assert splits[0] != splits[1] and splits[0] != splits[2]


def _predictions(sharpness: float) -> tuple[list[Prediction], list[Example]]:
    """Predictions of four answers of which one is drawn by the true shares, whose logarithms are multiplied."""
    rng = np.random.default_rng(0)
    predictions, examples = [], []
    for _ in range(400):
        logs = rng.standard_normal(4)
        true = np.exp(logs) / np.exp(logs).sum()
        claimed = np.exp(sharpness * logs) / np.exp(sharpness * logs).sum()
        answer = rng.choice(4, p=true)
        # The fourth share is that of no answer, which a prediction leaves out.
        answers = [(f"word{i}", float(claimed[i])) for i in range(3)]
        predictions.append(Prediction(cast(GraphItem, None), answers, np.zeros(0), np.zeros(0)))
        examples.append(replace(EXAMPLES[0], answers=(f"Word{answer}.",)))
    return predictions, examples


@pytest.mark.parametrize("sharpness", [3.0, 1.0, 0.6])
def test_the_temperature_undoes_overconfidence(sharpness: float) -> None:
    assert fit_temperature(*_predictions(sharpness)) == pytest.approx(sharpness, rel=0.25)


def test_an_answer_is_right_by_its_normal_form() -> None:
    answers = [("dog", 0.6), ("cat", 0.3)]
    prediction = Prediction(cast(GraphItem, None), answers, np.zeros(0), np.zeros(0))
    example = replace(EXAMPLES[0], answers=("The Cats", "dog"))
    assert not is_right(prediction, example) and is_right(prediction, example, 2)
