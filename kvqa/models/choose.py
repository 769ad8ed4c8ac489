"""A trained choice scorer: saving, loading, scores of items, and VCR's submission file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kvqa.data.choices import ChoiceCollator, Inputs, Item, answer_item, rationale_item
from kvqa.data.example import Example
from kvqa.errors import InputError
from kvqa.models.checkpoint import CONFIG, MANIFEST, WEIGHTS, ModelManifest, read_manifest
from kvqa.models.task_heads import ChoiceScorer, ScorerConfig
from kvqa.models.text import TextFolder
from kvqa.scoring.vcr import CHOICES, COLUMNS
from retrieval.manifest import file_sha256, write_text_safely


def save_scorer(model: ChoiceScorer, inputs: Inputs, folder: Path, *, text: str, training: dict[str, Any]) -> None:
    """Write the scorer into `folder`, manifest last.

    Args:
        text: Name of the sentence encoder, whose vectors it reads.
        training: Goes into the manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}  # shared ones once
    save_file(weights, folder / (WEIGHTS + ".partial"))
    (folder / (WEIGHTS + ".partial")).replace(folder / WEIGHTS)
    config = {
        "kind": "choice", "text": text, "space": model.space, "inputs": asdict(inputs), "scorer": asdict(model.config),
    }  # fmt: skip
    write_text_safely(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    manifest = ModelManifest(file_sha256(folder / WEIGHTS), TextFolder.find(text).sha256, training)
    write_text_safely(folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")


def load_scorer(folder: Path) -> tuple[ChoiceScorer, Inputs, str]:
    """Load a scorer; return it with what it reads of an item and the name of its sentence encoder.

    Raises:
        InputError: if the folder holds no scorer, is damaged, or the sentence encoder is another one.
    """
    manifest = read_manifest(folder)
    if not (folder / WEIGHTS).is_file() or file_sha256(folder / WEIGHTS) != manifest.weights_sha256:
        raise InputError(f"{folder / WEIGHTS} is missing or altered (checksum differs); copy the model folder again")
    try:
        record = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if record.get("kind") != "choice":
            raise InputError(f"{folder} holds no choice scorer; train one: kvqa train configs/fvqa-r.yaml")
        inputs, config = Inputs(**record["inputs"]), ScorerConfig(**record["scorer"])
        model = ChoiceScorer(record["space"], config)
        load_weights(model, load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder} is damaged ({str(error)[:200]}); copy the model folder again") from None
    if TextFolder.find(record["text"]).sha256 != manifest.text_sha256:
        raise InputError(f"model {folder} reads another sentence encoder than {record['text']}; train again")
    return model.eval(), inputs, record["text"]


def load_weights(model: torch.nn.Module, weights: dict[str, Tensor], *, without: str = "") -> None:
    """Copy `weights` into the parameters of those names.

    Args:
        without: Parameters whose names begin so are left as they are.

    Raises:
        ValueError: if a parameter is missing, of another shape, or unknown.
    """
    own = {n: p for n, p in model.named_parameters() if not (without and n.startswith(without))}
    wrong = [
        n for n in own.keys() | weights.keys() if n not in own or n not in weights or own[n].shape != weights[n].shape
    ]
    if wrong:
        raise ValueError(f"the weights do not fit, first at {sorted(wrong)[0]}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


def learn_texts(items: Sequence[Item], collator: ChoiceCollator) -> None:
    """Make the sentence vectors of all texts of some items at once, if the collator's memory of vectors can."""
    learn = getattr(collator.vectors, "learn", None)
    if learn is not None:
        learn(collator.texts(items))


@torch.inference_mode()
def choice_scores(model: ChoiceScorer, items: Sequence[Item], collator: ChoiceCollator, *, batch: int = 64) -> Tensor:
    """Return log-probabilities (len(items), C) of the choices of each item; the size of a batch changes nothing."""
    model.eval()
    learn_texts(items, collator)
    device = next(model.parameters()).device
    parts = [
        model(collator(items[start : start + batch]).to(device)).logits.log_softmax(-1).cpu()
        for start in range(0, len(items), batch)
    ]
    return torch.cat(parts)


def submission_scores(model: ChoiceScorer, examples: Sequence[Example], collator: ChoiceCollator) -> Tensor:
    """Return VCR's 20 scores (N, 20): of four answers, and of four reasons under each of the four answers.

    Raises:
        InputError: if an example has not four answers and four reasons.
    """
    for example in examples:
        if len(example.choices) != CHOICES or len(example.rationale_choices) != CHOICES:
            raise InputError(f"{example.question_id} has not four answers and four reasons; a submission needs them")
    columns = [choice_scores(model, [answer_item(e) for e in examples], collator)]
    for given in range(CHOICES):
        columns.append(choice_scores(model, [rationale_item(e, given) for e in examples], collator))
    return torch.cat(columns, dim=1).exp()  # (N, 20)


def write_submission(model: ChoiceScorer, examples: Sequence[Example], collator: ChoiceCollator, path: Path) -> None:
    """Write VCR's submission file of `submission_scores`.

    Raises:
        InputError: if an example has not four answers and four reasons.
    """
    table = submission_scores(model, examples, collator).tolist()
    write_text_safely(path, submission_text(zip((e.question_id for e in examples), table, strict=True)))


def submission_text(rows: Iterable[tuple[str, Sequence[float]]]) -> str:
    """Return VCR's submission file: its header, and each item with its 20 scores of six digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([name, *(f"{value:.6g}" for value in row)] for name, row in rows)
    return stream.getvalue()
