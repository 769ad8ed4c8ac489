"""A split that a model of `kvqa train` is asked: what tasks that are read and choices with facts share."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kvqa.data.datasets import Dataset
from kvqa.data.example import Example
from kvqa.data.published import Description
from kvqa.errors import InputError
from kvqa.evaluation.finish import Together, finish_run
from kvqa.evaluation.open_answers import question_word
from kvqa.evaluation.overlap import TrainedOn
from kvqa.evaluation.records import CHUNK, Log, Record, collect, write_unscored
from kvqa.models.checkpoint import ModelManifest
from kvqa.provenance import commit
from kvqa.vision.regions import read_region_folder
from retrieval.manifest import Manifest, write_text_safely

NOT_RETRAINED = "the same trained model, not one trained without it"


@dataclass(frozen=True)
class Asked:
    """A split, and how what is said to it is reported.

    Attributes:
        description: The data set.
        root, split: Where it lies and which part of it is asked.
        examples: Its questions.
        manifest: Of the model.
        protocol: What makes the scores comparable, in a sentence.
        primary: The score that counts first.
        groups: Names of groupings, in the order of the report, besides those that every data set has.
        group_scores: The scores that are given for each group.
        file, official: Name of the prediction file in the official layout, and the text of it.
        ablations: What each takes away; {} for none.
        together: For scores of several questions together.
        settings: What else goes into the report.
    """

    description: Description
    root: Path
    split: str
    examples: Sequence[Example]
    manifest: ModelManifest
    protocol: str
    primary: str
    groups: tuple[str, ...]
    group_scores: tuple[str, ...]
    file: str
    official: Callable[[Sequence[Record]], str]
    ablations: Mapping[str, str]
    together: Together | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def open_split(name: str, root: Path, split: str, regions: Path | None) -> tuple[Description, list[Example]]:
    """Return a data set's description and the examples of a split, with the regions of a folder where there is one.

    Raises:
        InputError: if data or regions are not sound, or the split is empty.
    """
    dataset = Dataset(name, root, regions=read_region_folder(regions) if regions else None)
    examples = dataset.examples(split)
    if not examples:
        raise InputError(f"split {split} of {root} has no questions; see docs/data-sets.md for the files of {name}")
    return dataset.description, examples


def check_trained_for(dataset: str, model: Path, manifest: ModelManifest) -> None:
    """Raise InputError unless the model says that it was trained for `dataset`."""
    trained = TrainedOn.of(manifest.training).dataset
    if trained != dataset:
        raise InputError(
            f"{model} was trained for {trained or 'a data set that it does not name'}, not for {dataset};"
            f" give a model of that data set: kvqa train configs/{dataset.replace('_', '-')}.yaml"
        )


def run_asked(
    asked: Asked,
    out: Path,
    make: Callable[[slice], Sequence[Record]],
    *,
    kb: Manifest | None = None,
    seed: int = 0,
    trained_root: Path | None = None,
    chunk: int = CHUNK,
    log: Log = lambda line: None,
) -> dict[str, Any]:
    """Ask every question; write predictions, the official file and the report into `out`, and return the report.

    Questions without a label are predicted and not scored. A split that has none gives no report: what is returned has
    `remark` and no `scores`.

    Args:
        make: Records of some questions, see `record_of`.
    """
    start = time.perf_counter()
    examples = asked.examples
    log(f"{len(examples)} questions")
    identity = _identity(asked, kb)
    records = collect(
        out, identity, len(examples), make, chunk=chunk, log=log if len(examples) > chunk else lambda line: None
    )
    write_text_safely(out / asked.file, asked.official(records))
    scored = [row for row, record in enumerate(records) if record["scores"]]
    about = {
        "primary": asked.primary,
        "protocol": asked.protocol,
        "dataset": asked.description.name,
        "split": asked.split,
        "unscored": len(records) - len(scored),
        "with_labels": sum(any(r.regions for r in examples[row].all_regions) for row in scored),
        **asked.settings,
    }
    if not scored:
        write_unscored(out, records)
        remark = f"{asked.split} of {asked.description.name} has no labels here: nothing is scored"
        return {**about, "questions": len(records), "remark": f"{remark}; the predictions are in {out / asked.file}"}
    overlap = TrainedOn.of(asked.manifest.training).overlap(
        asked.description, asked.root, [examples[row] for row in scored], trained_root
    )
    return finish_run(
        out,
        [records[row] for row in scored],
        about=about,
        group_scores=asked.group_scores,
        groups=(*asked.groups, "question_word", "picture"),
        overlap=overlap,
        model=asked.manifest,
        kb=kb,
        seed=seed,
        start=start,
        ablations=asked.ablations,
        together=asked.together,
    )


def _identity(asked: Asked, kb: Manifest | None) -> dict[str, Any]:
    """Return what the predictions depend on."""
    digest = hashlib.sha256()
    for e in asked.examples:
        seen = [[(r.label, r.score, r.box) for r in regions.regions] for regions in e.all_regions]
        texts = (e.question_id, e.question, e.all_images, e.choices, e.rationale_choices)
        digest.update(f"{texts}\t{e.answers}\t{e.label}\t{e.rationale_label}\t{seen}\n".encode())
    return {
        "dataset": asked.description.name,
        "split": asked.split,
        "protocol": asked.protocol,
        "asked": digest.hexdigest(),
        "weights": asked.manifest.weights_sha256,
        "kb": "" if kb is None else kb.id,
        "ablations": list(asked.ablations),
        "commit": commit(),
    }


def record_of(
    example: Example,
    answers: Sequence[tuple[str, float]],
    scores: Mapping[str, float],
    *,
    primary: str,
    groups: Mapping[str, str],
    confidence: float | None = None,
    **more: Any,
) -> Record:
    """Return the record of a question.

    Args:
        answers: With probabilities, best first.
        scores: In percent; {} for a question without a label.
        groups: Besides the word that asks and whether anything is seen.
        confidence: That `primary` is right; by default that of the first answer.
        more: Further keys.
    """
    seen = any(regions.regions for regions in example.all_regions)
    return {
        "question_id": example.question_id,
        "question": example.question,
        "image": example.image,
        "answers": [[text, round(share, 4)] for text, share in answers],
        "reference": example.answers[0] if example.answers else None,
        "confidence": answers[0][1] if confidence is None else confidence,
        "right": scores[primary] / 100 if scores else None,
        "scores": dict(scores),
        "groups": {
            **groups,
            "question_word": question_word(example.question),
            "picture": "something is seen" if seen else "nothing is seen",
        },
        **more,
    }
