"""Where files and settings meet the plain functions: the recipes behind the commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from kvqa.config import read_config
from kvqa.data.datasets import Dataset
from kvqa.data.features import FeatureStore
from kvqa.data.fvqa import FvqaDataset
from kvqa.data.gold import allowed_facts, fact_file, facts_of_source
from kvqa.data.nlvr import read_nlvr
from kvqa.data.pretrain_pairs import gather_features, gather_pairs, gather_photos, picture_key
from kvqa.errors import InputError
from kvqa.models.pretrained import read_pretrained_folder
from kvqa.models.text import TextFolder
from kvqa.models.vectors import text_vectors
from kvqa.provenance import commit
from kvqa.training.choose import train_choices
from kvqa.training.experiment import Experiment
from kvqa.training.finetune import TrainingReport, finetune, split_by_image
from kvqa.training.nlvr import NlvrExperiment
from kvqa.training.nlvr import train as train_statements
from kvqa.training.photo_config import PhotoPretraining
from kvqa.training.photos import pretrain_photos as recipe_of_photos
from kvqa.training.pretrain import PretrainingReport, pretrain
from kvqa.training.pretrain_config import Pretraining
from kvqa.training.pretrain_loop import Advance
from kvqa.training.read import train_reading
from kvqa.training.task import TaskExperiment, TaskReport
from kvqa.vision.regions import read_region_folder
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


def pretrain_photos(
    config: Path,
    *,
    root: Path,
    out: Path,
    seed: int | None = None,
    held_out: float | None = None,
    log: Callable[[str], None] = print,
    advance: Advance | None = None,
) -> PretrainingReport:
    """Pretrain an encoder that reads photos as `config` says and leave it in `out`; see `pretrain_encoder`.

    Raises:
        InputError: if settings, models or data are not sound.
    """
    experiment = read_config(config, PhotoPretraining, seed=seed, held_out=held_out)
    texts, leave_out, store = experiment.texts, experiment.leave_out, None
    if experiment.features:
        store = FeatureStore(root / experiment.features)
        data = gather_features(root, store, texts=texts, leave_out=leave_out)
    else:
        data = gather_photos(root, photos=experiment.photos, texts=texts, leave_out=leave_out)
    vision = experiment.model.encoder.vision
    if vision.model and (root / vision.model).is_dir():
        encoder = replace(experiment.model.encoder, vision=replace(vision, model=str(root / vision.model)))
        experiment = replace(experiment, model=replace(experiment.model, encoder=encoder))
    provenance = {"commit": commit()}
    return recipe_of_photos(experiment, data, out, store=store, provenance=provenance, log=log, advance=advance)


def train_task(
    config: Path,
    *,
    root: Path,
    out: Path,
    kb: Path | None = None,
    own_facts: Path | None = None,
    regions: Path | None = None,
    vectors: Path | None = None,
    split: str | None = None,
    seed: int | None = None,
    held_out: float | None = None,
    log: Callable[[str], None] = print,
) -> TaskReport:
    """Train on any data set as `config` says and leave the model in `out`.

    Args:
        kb: Knowledge base, for choices with knowledge.
        own_facts: The data set's own fact file; its facts that nothing else provides and that no training question
            uses are hidden from training, as they would be unknown to anyone without the data set.
        regions: Folder of region files, for data sets that bring no detections.
        vectors: Folder that keeps sentence vectors between runs.

    Raises:
        InputError, KnowledgeError: if settings, data or knowledge base are not sound.
    """
    experiment = read_config(config, TaskExperiment, split=split, seed=seed, held_out=held_out)
    dataset = Dataset(experiment.dataset, root, regions=read_region_folder(regions) if regions else None)
    training = dataset.examples(experiment.split)
    validation = {}
    if experiment.held_out:
        kept, aside = split_by_image(training, experiment.held_out, seed=experiment.seed, salt="held-out")
        training, validation["held_out"] = [training[i] for i in kept], [training[i] for i in aside]
    if experiment.validation:
        validation[experiment.validation] = dataset.examples(experiment.validation)
    if not training:
        raise InputError(f"{root} has no example of {experiment.split} to train on; lower held_out")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    provenance = {"dataset": experiment.dataset, "commit": commit()}
    if experiment.task != "choice":
        classes = dataset.description.classes
        return train_reading(
            experiment, training, validation, classes, out, device=device, provenance=provenance, log=log
        )
    text = TextFolder.find(experiment.text)
    base = allowed = None
    if experiment.inputs.knowledge:
        if kb is None:
            raise InputError("this experiment uses knowledge; give a knowledge base with --kb, or set knowledge: false")
        base = KnowledgeBase.open(kb, encoder_sha256=text.sha256)
        allowed = allowed_facts(training, base, facts_of_source(base, own_facts) if own_facts else None)
    memory = text_vectors(vectors, text=experiment.text, device=device)
    return train_choices(
        experiment, training, validation, memory, out, kb=base, allowed=allowed, device=device, provenance=provenance,
        log=log,
    )  # fmt: skip


def train_nlvr(
    config: Path,
    *,
    root: Path,
    out: Path,
    split: str | None = None,
    seed: int | None = None,
    log: Callable[[str], None] = print,
) -> TaskReport:
    """Train on NLVR as `config` says and leave the model in `out`.

    Args:
        split: Instead of the config's.
        seed: Of the model; the first of the config's if None.

    Raises:
        InputError: if settings or data are not sound.
    """
    experiment = read_config(config, NlvrExperiment, split=split)
    return train_statements(
        experiment,
        list(read_nlvr(root, experiment.split)),
        out,
        seed=experiment.seeds[0] if seed is None else seed,
        provenance={"dataset": "nlvr", "commit": commit()},
        log=log,
    )
