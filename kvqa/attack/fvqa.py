"""FVQA questions and the question-image encoder as batches that can be attacked; no knowledge base is needed.

What counts as right, by `target`:

- `fact`: among all different facts of FVQA's own file (4,142 in the public one), embedded by the frozen sentence
  encoder, the gold fact has the highest cosine with the fact query. This is recall@1 over the data set's closed fact
  base.
- `answer`: the closed-vocabulary head names a gold answer; questions whose answer it does not know are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kb.readers.fvqa import read as read_facts
from kb.relations import verbalise
from kb.triple import Triple
from kvqa.attack.curves import AttackBatch
from kvqa.data.collate import Batch
from kvqa.data.example import Example
from kvqa.data.fvqa import FvqaDataset
from kvqa.data.gold import fact_file
from kvqa.data.graph_features import normal
from kvqa.errors import InputError
from kvqa.models.crossmodal import Embeddings
from kvqa.models.encoder import QuestionImage
from kvqa.models.model import KvqaModel, embed_texts, mixed_precision
from kvqa.models.perturbation import Parts, root_mean_square

Target = Literal["fact", "answer"]
On = Literal["words", "features"]
TAU = 0.03
"""Temperature under which cosines become logits, that of training."""


def question_batches(
    model: KvqaModel, root: Path, split: str, *, target: Target, on: On, limit: int | None = None, batch: int = 32
) -> tuple[Iterator[AttackBatch], int]:
    """Return the questions of a split as batches that can be attacked, and how many questions they hold.

    `words` are the vectors of question and seen names before positions and LayerNorm; `features` are the vectors of
    the region labels. A size of 1 is the root mean square of an example's vectors.

    Args:
        limit: Take so many questions, spread evenly over the split.

    Raises:
        InputError: if the data are not sound, or the model has no answer vocabulary and `target` is `"answer"`.
    """
    examples = FvqaDataset(root).examples(split)
    vectors, labels = _targets(model, examples, root, target)
    known = [row for row, label in enumerate(labels) if label >= 0]
    if limit is not None and limit < len(known):
        known = [known[int(i)] for i in np.linspace(0, len(known) - 1, limit)]
    known.sort(key=lambda row: len(examples[row].question))  # little padding
    return _batches(model.eval(), [(examples[i], labels[i]) for i in known], vectors, on, batch), len(known)


def closed_facts(model: KvqaModel, root: Path) -> tuple[dict[tuple[str, str, str], int], Tensor]:
    """Return FVQA's own facts by key, and their vectors (K, S), computed once for equal sentences.

    Raises:
        InputError: if there is no fact file.
    """
    rows: dict[tuple[str, str, str], int] = {}
    texts = []
    for triple in read_facts(fact_file(root), source="fvqa"):
        if isinstance(triple, Triple) and triple.key not in rows:
            rows[triple.key] = len(rows)
            texts.append(verbalise(triple.head, triple.relation, triple.tail))
    return rows, embed_texts(model.encoder, model.tokenizer, texts)


def _targets(
    model: KvqaModel, examples: Sequence[Example], root: Path, target: Target
) -> tuple[Tensor | None, list[int]]:
    """Return the vectors (K, S) of the facts, if they are the classes, and the class of each example, -1 for none."""
    if target == "fact":
        rows, vectors = closed_facts(model, root)
        return vectors.to(model.device), [rows.get(e.facts[0], -1) if e.facts else -1 for e in examples]
    if not model.vocabulary:
        raise InputError("the model has no answer vocabulary; attack the target fact, or train with a vocabulary")
    position = {normal(answer): i for i, answer in enumerate(model.vocabulary)}
    return None, [next((position[a] for a in map(normal, e.answers) if a in position), -1) for e in examples]


def _batches(
    model: KvqaModel, items: Sequence[tuple[Example, int]], vectors: Tensor | None, on: On, size: int
) -> Iterator[AttackBatch]:
    collator = model.collator()
    for start in range(0, len(items), size):
        part = items[start : start + size]
        batch = collator([model.seen(example) for example, _ in part]).to(model.device)
        labels = torch.tensor([label for _, label in part], device=model.device)
        yield attackable(model, batch, labels, vectors, on)


def attackable(model: KvqaModel, batch: Batch, labels: Tensor, vectors: Tensor | None, on: On) -> AttackBatch:
    """Return one batch of questions as it can be attacked; `vectors` (K, S) are the facts, None: answers."""
    with torch.no_grad():
        clean = model.encoder.trunk.embed(batch)

    def logits(parts: Parts) -> Tensor:
        changed = Embeddings(parts.get("words", clean.words), parts.get("features", clean.vision))
        with mixed_precision(model.device):
            out = model.encoder(batch, changed)
        return class_logits(out, vectors)

    values, mask = (clean.words, batch.mask) if on == "words" else (clean.vision, batch.region_mask)
    values = values.float()
    return AttackBatch({on: values}, labels, logits, {on: mask}, {on: root_mean_square(values, mask)})


def class_logits(out: QuestionImage, vectors: Tensor | None) -> Tensor:
    """Return the logits (B, C) of the classes: facts by their vectors (K, S), or answers."""
    return out.vocabulary if vectors is None else out.fact @ vectors.T / TAU
