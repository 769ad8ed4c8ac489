"""Where files and settings meet the plain functions: the recipes behind the commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from kvqa.config import read_config
from kvqa.data.fvqa import FvqaDataset
from kvqa.data.gold import fact_file, facts_of_source
from kvqa.models.text import TextFolder
from kvqa.provenance import commit
from kvqa.training.experiment import Experiment
from kvqa.training.finetune import TrainingReport, finetune
from retrieval.knowledge_base import KnowledgeBase


def train_fvqa(
    config: Path,
    *,
    root: Path,
    kb: Path,
    out: Path,
    split: str | None = None,
    seed: int | None = None,
    held_out: float | None = None,
    log: Callable[[str], None] = print,
) -> TrainingReport:
    """Train on FVQA as `config` says and leave the model in `out`; `split`, `seed` and `held_out` override the file.

    Raises:
        InputError, KnowledgeError: if settings, data or knowledge base are not sound.
    """
    experiment = read_config(config, Experiment, split=split, seed=seed, held_out=held_out)
    examples = FvqaDataset(root).examples(experiment.split)
    text = TextFolder.find(experiment.model.text)
    base = KnowledgeBase.open(kb, encoder_sha256=text.sha256)
    hideable = facts_of_source(base, fact_file(root)) if experiment.retriever.hide_gold else None
    return finetune(
        experiment,
        examples,
        base,
        out,
        hideable=hideable,
        device="cuda" if torch.cuda.is_available() else "cpu",
        provenance={"dataset": "fvqa", "commit": commit()},
        log=log,
    )
