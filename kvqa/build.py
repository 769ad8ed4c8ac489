"""Where files and settings meet the plain functions: the recipes behind the commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from kvqa.config import read_config
from kvqa.data.fvqa import FvqaDataset
from kvqa.data.gold import fact_file, facts_of_source
from kvqa.data.pretrain_pairs import gather_pairs, picture_key
from kvqa.errors import InputError
from kvqa.models.pretrained import read_pretrained_folder
from kvqa.models.text import TextFolder
from kvqa.provenance import commit
from kvqa.training.experiment import Experiment
from kvqa.training.finetune import TrainingReport, finetune
from kvqa.training.pretrain import Advance, PretrainingReport, pretrain
from kvqa.training.pretrain_config import Pretraining
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
    init: Path | None = None,
    log: Callable[[str], None] = print,
) -> TrainingReport:
    """Train on FVQA as `config` says and leave the model in `out`.

    `split`, `seed`, `held_out` and `init` (a pretrained encoder) override the file.

    Raises:
        InputError, KnowledgeError: if settings, data or knowledge base are not sound.
    """
    start = None if init is None else str(init)
    experiment = read_config(config, Experiment, split=split, seed=seed, held_out=held_out, init=start)
    dataset = FvqaDataset(root)
    examples = dataset.examples(experiment.split)
    if experiment.init:
        _refuse_test_pictures(Path(experiment.init), dataset, experiment.split)
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


def _refuse_test_pictures(init: Path, dataset: FvqaDataset, split: str) -> None:
    """Raise InputError if the encoder in `init` was pretrained on pictures of the test part that goes with `split`."""
    if not split.startswith("train"):
        return
    test = split.replace("train", "test")
    seen = read_pretrained_folder(init).pictures & {picture_key(image) for image in dataset.images(test)}
    if seen:
        raise InputError(
            f"{init} was pretrained on {len(seen)} pictures of {test}, such as {min(seen)}; pretrain with"
            f" {{data: fvqa, split: {test}}} in leave_out"
        )


def pretrain_encoder(
    config: Path,
    *,
    root: Path,
    out: Path,
    seed: int | None = None,
    held_out: float | None = None,
    log: Callable[[str], None] = print,
    advance: Advance | None = None,
) -> PretrainingReport:
    """Pretrain an encoder on image-text pairs as `config` says and leave it in `out`.

    Args:
        root: Folder that the folders of the config's sources are in.
        seed, held_out: Instead of the config's.
        advance: For a bar, see `kvqa.progress`.

    Raises:
        InputError: if settings or data are not sound.
    """
    experiment = read_config(config, Pretraining, seed=seed, held_out=held_out)
    data = gather_pairs(root, seen=experiment.seen, texts=experiment.texts, leave_out=experiment.leave_out)
    return pretrain(experiment, data, out, provenance={"commit": commit()}, log=log, advance=advance)
