"""The pretraining recipe of encoders that read photos or their features, with captions and questions as texts.

The folder of a run: `encoder/` (of `kvqa.models.encoder_folder`, for whatever comes next), `heads.safetensors`,
`tokenizer.json`, `experiment.json` (every setting), `pictures.txt` (identities of the photos it was trained on),
`manifest.json` (checksums, sources, counts), `losses.jsonl`, and the state from which a stopped run goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from kvqa.data.features import FeatureStore
from kvqa.data.pretrain_pairs import Pairs
from kvqa.errors import InputError
from kvqa.models.encoder_folder import WEIGHTS, load_encoder, save_encoder
from kvqa.models.text import TextFolder
from kvqa.training.photo_batch import PhotoCollator
from kvqa.training.photo_config import PhotoPretraining
from kvqa.training.photo_model import PhotoModel
from kvqa.training.pretrain import PretrainingReport, split_pictures
from kvqa.training.pretrain_loop import Advance, Log, PretrainRun
from retrieval.manifest import file_sha256, write_text_safely

ENCODER, HEADS, TOKENIZER = "encoder", "heads.safetensors", "tokenizer.json"
EXPERIMENT, PICTURES, MANIFEST = "experiment.json", "pictures.txt", "manifest.json"
TIED = "words.head.decoder.weight"
"""The one weight of the heads that is the encoder's."""


def pretrain_photos(
    experiment: PhotoPretraining,
    data: Pairs,
    out: Path,
    *,
    store: FeatureStore | None = None,
    provenance: Mapping[str, str] | None = None,
    log: Log = print,
    advance: Advance | None = None,
) -> PretrainingReport:
    """Train on the texts and photos of `data` (of `gather_photos` or `gather_features`) and leave the folder in `out`.

    Args:
        store: The features, for an encoder that reads features.
        provenance: Goes into the manifest.
        advance: Called with a name, finished pairs and all pairs, for a bar.

    Raises:
        InputError: if a part of the encoder cannot be loaded, a photo is damaged, the hardware lacks the wanted
            precision, or `out` holds a run of other settings.
    """
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    kept, aside = split_pictures(data.pairs, experiment.held_out, seed=experiment.seed)
    torch.manual_seed(experiment.seed)
    config = experiment.model
    tokenizer = TextFolder.find(config.tokenizer or config.encoder.language.model).tokenizer()
    model = PhotoModel(config, experiment.objectives)
    collators = [PhotoCollator(pairs, tokenizer, config, experiment.objectives, store=store) for pairs in (kept, aside)]
    run = PretrainRun(experiment, model, collators[0], out, log)
    for name, account in data.report.items():
        run.say(f"{name}: {account}")
    run.say(f"{len(kept)} pairs to train on and {len(aside)} held out, {len(data.pictures)} photos")
    scores = run.train(collators[1] if aside else None, advance)
    if aside and experiment.objectives.contrastive:
        scores |= search_recall(model, collators[1])
    report = PretrainingReport(run.steps, len(kept), len(data.pictures), scores, time.perf_counter() - start)
    if run.accelerator.is_main_process:
        sources = {name: asdict(account) for name, account in data.report.items()}
        training = {**asdict(report), "sources": sources, "evaluation_pictures": data.left_out, **(provenance or {})}
        _save(model, tokenizer, experiment, out, pictures=data.pictures, training=training)
    run.accelerator.wait_for_everyone()
    run.accelerator.end_training()
    return report


def search_recall(model: PhotoModel, collator: PhotoCollator, *, batch: int = 32) -> dict[str, float]:
    """Return how often text and photo find each other among all of `collator`, in percent, by vectors made apart.

    `photo_at_1` and `photo_at_10`: of texts, whether the own photo is among the first. `text_at_1`, `text_at_10`: of
    photos, whether one of their texts is (Karpathy and Fei-Fei, CVPR 2015, on a gallery of the size at hand).
    """
    device = next(model.parameters()).device
    pairs = collator.pairs
    first: dict[str, int] = {}  # a row of each picture
    for row, picture in enumerate(collator.pictures):
        first.setdefault(picture, row)
    number = {picture: i for i, picture in enumerate(first)}
    owner = torch.tensor([number[picture] for picture in collator.pictures])  # (N,)
    model.eval()

    def vectors(rows: Sequence[int], side: int) -> Tensor:
        found = []
        for start in range(0, len(rows), batch):
            part = [pairs[i] for i in rows[start : start + batch]]
            whole = collator.pictured([pair.text for pair in part], part)
            found.append(model.search_vectors(whole.to(device))[side])
        return torch.cat(found).cpu()

    scores = vectors(range(len(pairs)), 0) @ vectors(list(first.values()), 1).T  # (N texts, I photos)
    own = owner[:, None] == torch.arange(len(first))
    best = scores.masked_fill(~own, -torch.inf)
    photo_rank = (scores > best.max(1, keepdim=True).values).sum(1)
    text_rank = (scores > best.max(0, keepdim=True).values).sum(0)
    return {
        f"{name}_at_{k}": 100 * (rank < k).float().mean().item()
        for name, rank in (("photo", photo_rank), ("text", text_rank))
        for k in (1, 10)
    }


def load_photo_model(folder: Path) -> tuple[PhotoModel, Tokenizer]:
    """Load a pretrained encoder with its heads, in evaluation mode, and its tokenizer.

    Raises:
        InputError: if the folder is not sound.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        record = json.loads((folder / EXPERIMENT).read_text(encoding="utf-8"))
        experiment = TypeAdapter(PhotoPretraining).validate_python(record)
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        for name, expected in manifest["sha256"].items():
            if file_sha256(folder / name) != expected:
                raise InputError(f"{folder / name} is altered (checksum differs); copy the folder again")
        heads = load_file(folder / HEADS)
    except ValidationError as error:
        raise InputError(f"{folder / EXPERIMENT} is not of this version ({error.errors()[0]['msg']})") from None
    except InputError:
        raise
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise InputError(
            f"{folder} is no folder of a model pretrained on photos ({' '.join(str(error).split())});"
            " make one: kvqa train configs/pretrain-photos.yaml"
        ) from None
    model = PhotoModel(experiment.model, experiment.objectives, encoder=load_encoder(folder / ENCODER)[0])
    missing, unknown = model.objectives.load_state_dict(heads, strict=False)
    if unknown or set(missing) - {TIED}:
        raise InputError(
            f"{folder / HEADS} does not fit {EXPERIMENT}: {[*unknown, *missing][0]}; copy the folder again"
        )
    return model.eval(), tokenizer


def _save(
    model: PhotoModel,
    tokenizer: Tokenizer,
    experiment: PhotoPretraining,
    out: Path,
    *,
    pictures: Sequence[str],
    training: Mapping[str, Any],
) -> None:
    """Write the folder, manifest last, so that a half-written one is recognised."""
    model.eval().cpu()
    save_encoder(model.encoder, experiment.model.encoder, out / ENCODER)
    heads = {n: t.detach().contiguous() for n, t in model.objectives.state_dict().items() if n != TIED}
    partial = out / (HEADS + ".partial")
    save_file(heads, partial)
    partial.replace(out / HEADS)
    write_text_safely(out / TOKENIZER, tokenizer.to_str())
    write_text_safely(out / EXPERIMENT, json.dumps(asdict(experiment), indent=2) + "\n")
    write_text_safely(out / PICTURES, "".join(f"{picture}\n" for picture in pictures))
    checksums = {name: file_sha256(out / name) for name in (f"{ENCODER}/{WEIGHTS}", HEADS)}
    record = {"sha256": checksums, "training": dict(training)}
    write_text_safely(out / MANIFEST, json.dumps(record, indent=2) + "\n")
