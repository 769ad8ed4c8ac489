"""Evaluation of tasks that are read word by word: VQA v2, OK-VQA, A-OKVQA, NLVR2 and SNLI-VE."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from kvqa.data.example import Example
from kvqa.data.published import Description
from kvqa.errors import InputError
from kvqa.evaluation.ablations import without_picture
from kvqa.evaluation.asked import NOT_RETRAINED, Asked, check_trained_for, open_split, record_of, run_asked
from kvqa.evaluation.finish import Together
from kvqa.evaluation.okvqa import human_answers, official_answers
from kvqa.evaluation.okvqa import judge as judge_open
from kvqa.evaluation.records import CHUNK, Log, Record
from kvqa.evaluation.summary import Table
from kvqa.models.checkpoint import read_manifest
from kvqa.models.task_model import TaskModel, load_task_model
from kvqa.scoring.aokvqa import DIRECT_ANSWER, MULTIPLE_CHOICE
from kvqa.scoring.contrast import original_identifier
from kvqa.scoring.nlvr import right_groups, sentence_of_nlvr2
from kvqa.scoring.vqa_normalise import normalise
from kvqa.scoring.vqa_variants import PROTOCOLS

TOP = 10
"""Answers of a question that are written down."""

ABLATIONS = {
    "question_only": f"no picture: the text alone; {NOT_RETRAINED}",
    "image_only": f"no question or sentence: the picture, and the offered answers if there are any; {NOT_RETRAINED}",
}
CHOICE_ONLY = {"choice_only": f"neither picture nor question: the offered answers alone; {NOT_RETRAINED}"}


@dataclass(frozen=True)
class Way:
    """How one task is judged on one data set.

    Attributes:
        protocol: What makes the scores comparable, in a sentence.
        primary: The score that counts first.
        judge: Example and answers, best first, to scores in percent; {} if it has no label or is not to be scored.
        official: Records to the text of the official prediction file.
        file: Name of that file.
        bounds: Example and vocabulary to further scores in percent, of what no ablation changes.
        groups: Groupings, by keys of `Example.meta`.
        by_label: Whether the right label is a grouping too.
        together: For scores of several questions together.
        not_scored: What of the data set's official scores this model does not give.
    """

    protocol: str
    primary: str
    judge: Callable[[Example, Sequence[str]], dict[str, float]]
    official: Callable[[Sequence[Record]], str]
    file: str
    bounds: Callable[[Example, Sequence[str]], dict[str, float]] = lambda example, classes: {}
    groups: tuple[str, ...] = ()
    by_label: bool = False
    together: Together | None = None
    not_scored: str = ""


# --- open answers ----------------------------------------------------------------------------------------------------


def _judge_vqa(example: Example, answers: Sequence[str]) -> dict[str, float]:
    return judge_open(human_answers(example), answers) if example.answers else {}


def _bounds_vqa(example: Example, classes: Sequence[str]) -> dict[str, float]:
    """Return what the best answer of the vocabulary would get, and what its commonest one gets."""
    if not example.answers:
        return {}
    people = human_answers(example)
    known = {normalise(answer) for answer in people}.intersection(classes)
    official = PROTOCOLS["official"].score
    return {
        "reachable": 100 * max((official(answer, people) for answer in known), default=0.0),
        "commonest_answer": 100 * official(classes[0], people),
    }


def _vqa_file(records: Sequence[Record]) -> str:
    return json.dumps(official_answers(records), ensure_ascii=False) + "\n"


def _judge_direct(example: Example, answers: Sequence[str]) -> dict[str, float]:
    if not example.human_answers or example.meta.get("difficult_direct_answer") != "false":
        return {}
    return {DIRECT_ANSWER: 100 * PROTOCOLS["aokvqa"].score(answers[0], example.human_answers)}


def _judge_choice(example: Example, answers: Sequence[str]) -> dict[str, float]:
    return {} if example.label is None else {MULTIPLE_CHOICE: 100.0 * (answers[0] == example.choices[example.label])}


def _aokvqa_file(part: str) -> Callable[[Sequence[Record]], str]:
    def text(records: Sequence[Record]) -> str:
        said = {record["question_id"]: {part: record["answers"][0][0]} for record in records}
        return json.dumps(said, ensure_ascii=False, indent=0) + "\n"

    return text


# --- judgements ------------------------------------------------------------------------------------------------------


def _judge_label(example: Example, answers: Sequence[str]) -> dict[str, float]:
    return {} if example.label is None else {"accuracy": 100.0 * (answers[0] == example.answers[0])}


def _pairs_file(records: Sequence[Record]) -> str:
    return "".join(f"{record['question_id']},{record['answers'][0][0]}\n" for record in records)


def _nlvr2_file(records: Sequence[Record]) -> str:
    return "".join(f"{record['question_id']},{record['answers'][0][0].capitalize()}\n" for record in records)


def _consistency(records: Sequence[Record], ablation: str) -> tuple[Table, list[str]]:
    """Return for each sentence (of a contrast set: each original) whether everything about it is right."""
    right = {}
    for record in records:
        scores = (record["ablations"][ablation] if ablation else record)["scores"]
        right[record["question_id"]] = scores["accuracy"] > 0
    contrast = len(next(iter(right)).split("-")) > 4
    groups = right_groups(right, original_identifier if contrast else sentence_of_nlvr2)
    pictures = ["-".join(name.split("-")[:2]) for name in groups]  # sentences of one set are about the same photos
    return {"consistency": 100.0 * np.array(list(groups.values()), dtype=np.float64)}, pictures


VQA = Way(
    "official VQA accuracy of 2021 over ten answers; an answer of the model's closed vocabulary",
    "overall", _judge_vqa, _vqa_file, "answers.json", _bounds_vqa,
)  # fmt: skip
WAYS: Mapping[str, Mapping[str, Way]] = {
    "vqa2": {"answers": replace(VQA, protocol=f"VQA v2, {VQA.protocol}", groups=("question_type", "answer_type"))},
    "okvqa": {"answers": replace(VQA, protocol=f"OK-VQA, {VQA.protocol}", groups=("category",))},
    "aokvqa": {
        "offered": Way(
            "A-OKVQA, official multiple choice: the text of the right one of four",
            MULTIPLE_CHOICE, _judge_choice, _aokvqa_file(MULTIPLE_CHOICE), "answers.json",
            not_scored="direct answers: this model chooses among offered ones and has no vocabulary",
        ),
        "answers": Way(
            "A-OKVQA, official direct answer: min(1, exact matches / 3), difficult ones passed over",
            DIRECT_ANSWER, _judge_direct, _aokvqa_file(DIRECT_ANSWER), "answers.json",
            not_scored="multiple choice: this model answers from its vocabulary and does not read the offered answers",
        ),
    },
    "nlvr2": {
        "pair": Way(
            "NLVR2, official: accuracy; consistency over sentences (contrast set: over the variants of an original)",
            "accuracy", _judge_label, _nlvr2_file, "answers.csv", by_label=True, together=_consistency,
        ),
    },
    "snli_ve": {
        "judgement": Way(
            "SNLI-VE, plain accuracy over entailment, neutral, contradiction; pairs without an agreed label left out",
            "accuracy", _judge_label, _pairs_file, "answers.csv", by_label=True,
        ),
    },
}  # fmt: skip
"""Data set, and task of the model, to how it is judged."""


def evaluate_reading(
    name: str,
    *,
    root: Path,
    split: str,
    model: Path,
    out: Path,
    regions: Path | None = None,
    ablations: bool = False,
    trained_root: Path | None = None,
    seed: int = 0,
    chunk: int = CHUNK,
    log: Log = lambda line: None,
) -> dict[str, Any]:
    """Ask every question of a split; write predictions, the official file and the report, and return the report.

    Args:
        name: A key of `WAYS`.
        root: The data set in its published layout.
        model: Folder that `kvqa train` left.
        regions: Folder of region files, for a data set that brings no detections.
        ablations: Ask again without the picture, and without the question.
        trained_root: Folder of the training's data set, if it is not `root`.
        seed: Of the bootstrap.
        chunk: Questions between two writes.

    Raises:
        InputError: if data or model are not sound or do not fit together.
    """
    manifest = read_manifest(model)
    check_trained_for(name, model, manifest)
    network = load_task_model(model)
    description, examples = open_split(name, root, split, regions)
    way = _way(description, network, model)
    altered = _altered(network.config.task) if ablations else {}
    asked = Asked(
        description=description,
        root=root,
        split=split,
        examples=examples,
        manifest=manifest,
        protocol=way.protocol,
        primary=way.primary,
        groups=(*way.groups, *(("label",) if way.by_label else ())),
        group_scores=(way.primary,),
        file=way.file,
        official=way.official,
        ablations={name: about for name, about in (ABLATIONS | CHOICE_ONLY).items() if name in altered},
        together=way.together,
        settings={"task": network.config.task, **({"not_scored": way.not_scored} if way.not_scored else {})},
    )
    network.vectors.learn(
        sorted({r.label for e in examples for seen in e.all_regions for r in seen.regions} | {"image"})
    )
    return run_asked(
        asked, out, lambda rows: _records(way, network, examples[rows], altered), seed=seed,
        trained_root=trained_root, chunk=chunk, log=log,
    )  # fmt: skip


def _way(description: Description, network: TaskModel, model: Path) -> Way:
    """Return how a model's answers are judged.

    Raises:
        InputError: if it was trained for another task, or its classes are not those of the data set.
    """
    ways, task, name = WAYS[description.name], network.config.task, description.name
    if task not in ways:
        raise InputError(f"{model} was trained for the task {task!r}; {name} is evaluated with: {', '.join(ways)}")
    if task in ("judgement", "pair") and network.config.classes != description.classes:
        ours, theirs = (", ".join(classes) for classes in (network.config.classes, description.classes))
        raise InputError(f"{model} judges by the classes {ours}, but those of {name} are {theirs}; train it again")
    return ways[task]


def _altered(task: str) -> dict[str, Callable[[Example], Example]]:
    """Return by ablation what becomes of an example."""
    ways: dict[str, Callable[[Example], Example]] = {
        "question_only": without_picture,
        "image_only": lambda example: replace(example, question=""),
    }
    if task == "offered":
        ways["choice_only"] = lambda example: replace(without_picture(example), question="")
    return ways


def _records(
    way: Way, network: TaskModel, examples: Sequence[Example], altered: Mapping[str, Callable[[Example], Example]]
) -> list[Record]:
    said = _ranked(network, examples)
    otherwise = {name: _ranked(network, [change(e) for e in examples]) for name, change in altered.items()}
    records = []
    for row, example in enumerate(examples):
        scores = way.judge(example, [text for text, _ in said[row]])
        scores |= way.bounds(example, network.config.classes) if scores else {}
        groups = {name: example.meta[name] for name in way.groups if name in example.meta}
        if way.by_label and example.answers:
            groups["label"] = example.answers[0]
        record = record_of(example, said[row], scores, primary=way.primary, groups=groups)
        if altered:
            record["ablations"] = {
                name: {"answer": rows[row][0][0], "scores": way.judge(example, [text for text, _ in rows[row]])}
                for name, rows in otherwise.items()
            }
        records.append(record)
    return records


def _ranked(network: TaskModel, examples: Sequence[Example]) -> list[list[tuple[str, float]]]:
    """Return the best answers with their probabilities, best first, the first of several equals first."""
    logits = network.predict(examples)
    best = logits.argsort(dim=1, descending=True, stable=True)[:, :TOP]
    shares: Tensor = logits.sigmoid() if network.config.task == "answers" else logits.softmax(1)
    offered = network.config.task == "offered"
    return [
        [
            ((example.choices if offered else network.config.classes)[place], float(shares[row, place]))
            for place in best[row].tolist()
        ]
        for row, example in enumerate(examples)
    ]
