"""The pretraining recipe of the question-image encoder: texts and what was seen in their pictures."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kvqa.data.pretrain_pairs import Pair, Pairs, common_answers, common_labels
from kvqa.models.pretrained import save_pretrained_folder
from kvqa.training.pretrain_batch import PairCollator
from kvqa.training.pretrain_config import Pretraining
from kvqa.training.pretrain_loop import Advance, Log, PretrainRun
from kvqa.training.pretrain_model import build_pretraining
from retrieval.manifest import write_text_safely


@dataclass(frozen=True)
class PretrainingReport:
    """What a run reports.

    Attributes:
        steps: Steps of the optimiser.
        pairs, pictures: That it was trained on.
        held_out: Mean losses on held-out pictures at the end; empty without any.
        seconds: Of this run, since it was started or went on.
    """

    steps: int
    pairs: int
    pictures: int
    held_out: dict[str, float]
    seconds: float


def pretrain(
    experiment: Pretraining,
    data: Pairs,
    out: Path,
    *,
    provenance: Mapping[str, str] | None = None,
    log: Log = print,
    advance: Advance | None = None,
) -> PretrainingReport:
    """Train on the pairs of `data`; leave folder, loss curve (`losses.jsonl`) and state in `out`.

    Args:
        provenance: Goes into the manifest.
        advance: Called with a name, finished pairs and all pairs, for a bar.

    Raises:
        InputError: if the hardware lacks the wanted precision, or `out` holds a run of other settings.
    """
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    kept, aside = split_pictures(data.pairs, experiment.held_out, seed=experiment.seed)
    labels = common_labels(kept, limit=experiment.labels)
    answers = common_answers(kept, limit=experiment.answers, at_least=experiment.answers_at_least)
    model = build_pretraining(experiment, labels=len(labels), answers=len(answers))
    settings = experiment.objectives
    collators = [PairCollator(pairs, model.collator(), labels, answers, settings) for pairs in (kept, aside)]
    run = PretrainRun(experiment, model, collators[0], out, log)
    # All vectors at once and in one order: the last bit may depend on the company, and a run that goes on shall meet
    # the same numbers.
    names = {region.label for pair in data.pairs for region in pair.regions.regions}
    facts = {fact for collator in collators for fact in collator.facts} if settings.facts else set()
    model.labels(sorted({"image"} | names | facts))
    _describe(data, kept, labels, answers, run.say)
    held_out = run.train(collators[1] if aside else None, advance)
    pictures = data.pictures
    report = PretrainingReport(run.steps, len(kept), len(pictures), held_out, time.perf_counter() - start)
    if run.accelerator.is_main_process:
        sources = {name: asdict(account) for name, account in data.report.items()}
        left_out = {"evaluation_pictures": data.left_out, "met_and_dropped": len(data.dropped)}
        save_pretrained_folder(
            model,
            out,
            config=asdict(experiment),
            labels=labels,
            answers=answers,
            pictures=pictures,
            text_sha256=model.text.sha256,
            training={**asdict(report), "sources": sources, **left_out, **(provenance or {})},
        )
        write_text_safely(out / "training.json", json.dumps(asdict(report), indent=2) + "\n")
    run.accelerator.wait_for_everyone()
    run.accelerator.end_training()
    return report


def split_pictures(pairs: Sequence[Pair], share: float, *, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Split so that about `share` of the pictures go to the second part; no picture is in both."""
    pictures = sorted({pair.picture for pair in pairs})
    chosen = set(random.Random(f"pretraining held-out/{seed}").sample(pictures, round(share * len(pictures))))
    return [p for p in pairs if p.picture not in chosen], [p for p in pairs if p.picture in chosen]


def _describe(data: Pairs, kept: Sequence[Pair], labels: Sequence[str], answers: Sequence[str], log: Log) -> None:
    for name, account in data.report.items():
        log(f"{name}: {account}")
    log(
        f"{len(kept)} pairs to train on and {len(data.pairs) - len(kept)} held out, {len(data.pictures)} pictures;"
        f" {len(data.dropped)} pictures dropped that belong to evaluation splits ({data.left_out} pictures);"
        f" {len(labels)} labels, {len(answers)} answers"
    )
