"""Training of the tasks that are read word by word: answers, judgements, pairs of pictures, offered answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from kvqa.data.example import Example
from kvqa.data.tasks import answer_targets, common_answers, labels
from kvqa.models.heads import AnswerHead
from kvqa.models.task_heads import choice_loss, soft_target_loss
from kvqa.models.task_model import TaskConfig, TaskModel, save_task_model
from kvqa.training.task import Log, TaskExperiment, TaskReport, TaskStep, fit, identity, write_report

LEAST_SPREAD = 1e-4
"""Standard deviation over examples of the logit that varies most; with less, nothing was learnt about examples."""


def train_reading(
    experiment: TaskExperiment,
    training: Sequence[Example],
    validation: Mapping[str, Sequence[Example]],
    classes: Sequence[str],
    out: Path,
    *,
    device: str = "cpu",
    provenance: dict[str, str] | None = None,
    log: Log = print,
) -> TaskReport:
    """Train the encoder with the head of its task, and leave the model in `out`.

    Args:
        validation: Examples to score, by name of the part.
        classes: Names of the classes of a judgement, in the order of `Example.label`.

    Raises:
        InputError: if the examples are not of the task's form.
    """
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    task = experiment.task
    assert task != "choice", "choices on sentence vectors are trained in choose.py"
    if task == "answers":
        classes = common_answers(training, at_least=experiment.answers_at_least)
        targets = answer_targets(training, classes)
    else:
        targets = labels(training)
    torch.manual_seed(experiment.seed)
    names = () if task == "offered" else tuple(classes)
    model = TaskModel(TaskConfig(task, experiment.text, names, experiment.encoder)).to(device)
    if isinstance(model.head, AnswerHead) and task == "answers":
        model.head.start_at(targets.mean(0))
    # All label vectors at once and in one order, so that a run that goes on meets the same numbers to the last bit.
    model.vectors.learn(sorted({"image"} | {r.label for e in training for s in e.all_regions for r in s.regions}))
    log(f"{len(training)} examples, {len(classes)} classes")

    def step(rows: Sequence[int]) -> TaskStep:
        batch = model.batch([training[i] for i in rows]).to(device)
        wanted = targets[list(rows)].to(device)
        of_task = soft_target_loss if task == "answers" else choice_loss
        return TaskStep(
            model.trunk.embed(batch),
            lambda embeddings: model(batch, embeddings),
            lambda logits: of_task(logits, wanted),
            batch.mask,
            batch.region_mask,
        )

    context = [identity(experiment), list(classes), [e.question_id for e in training]]
    fit(
        model, len(training), step, experiment.stage, seed=experiment.seed, state=out / "task.state",
        adversarial=experiment.adversarial, context=context, log=log,
    )  # fmt: skip
    if len(training) > 1 and not tells_apart(model, training[:64]):
        log("the model says the same of all examples: training has collapsed; lower stage.lr and train again")
    scores = {name: {"accuracy": accuracy(model, part)} for name, part in validation.items()}
    counts = {"train": len(training), **{name: len(part) for name, part in validation.items()}}
    report = TaskReport(scores, counts, time.perf_counter() - start)
    record = {"experiment": asdict(experiment), "scores": scores, **(provenance or {})}
    save_task_model(model, out, training=record)
    write_report(out, report)
    return report


def tells_apart(model: TaskModel, examples: Sequence[Example]) -> bool:
    """Return whether `model` says anything else of one example than of another.

    A rate that is too high can end in states that are the same for every input, with nothing but the answers' shares
    in the head's bias; the loss, which starts there, does not show it.
    """
    return bool(model.predict(examples).std(0).max() > LEAST_SPREAD)


def accuracy(model: TaskModel, examples: Sequence[Example]) -> float:
    """Return the accuracy in percent: the mean official score of open answers, the share of right labels else."""
    chosen = model.predict(examples).argmax(-1)
    if model.config.task == "answers":
        gained = answer_targets(examples, model.config.classes)
        return round(100 * float(gained.gather(1, chosen[:, None]).mean()), 2)
    return round(100 * float((chosen == labels(examples)).float().mean()), 2)
