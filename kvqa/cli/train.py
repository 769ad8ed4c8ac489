"""`kvqa train`: an experiment to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from kvqa.errors import InputError
from kvqa.progress import build_progress

if TYPE_CHECKING:
    from kvqa.training.finetune import TrainingReport
    from kvqa.training.pretrain import PretrainingReport
    from kvqa.training.task import TaskReport


OPTIONS = {
    "pretraining": {"seed", "held_out"},
    "photos": {"seed", "held_out"},
    "fvqa": {"kb", "split", "seed", "held_out", "init"},
    "nlvr": {"split", "seed"},
    "other": {"kb", "split", "seed", "held_out", "own_facts", "regions", "vectors"},
}
"""What each task takes besides config, root and out; `other` stands for those of `kvqa.training.task`."""


def train(
    config: Annotated[Path, typer.Argument(help="The experiment, such as configs/fvqa.yaml.")],
    root: Annotated[Path, typer.Option(help="The data set as published; to pretrain, the folder of all sources.")],
    out: Annotated[Path, typer.Option(help="Folder of the model; an interrupted run goes on from it.")],
    kb: Annotated[Path | None, typer.Option(help="Knowledge base; pretraining needs none.")] = None,
    split: Annotated[str | None, typer.Option(help="Part to train on, instead of the config's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the config's.")] = None,
    held_out: Annotated[
        float | None,
        typer.Option(help="Share of the training images to keep aside and score, instead of the config's."),
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Folder of a pretrained encoder to start from, instead of the config's.")
    ] = None,
    own_facts: Annotated[
        Path | None, typer.Option(help="The data set's own facts; those of no training question are hidden (choices).")
    ] = None,
    regions: Annotated[Path | None, typer.Option(help="Region files, for data sets without detections.")] = None,
    vectors: Annotated[Path | None, typer.Option(help="Folder that keeps sentence vectors (choices).")] = None,
) -> None:
    """Train a model on FVQA or another data set, or pretrain an encoder: what the config says."""
    from kvqa import build
    from kvqa.config import read_task
    from kvqa.training.memory import keep_freed_memory

    keep_freed_memory()
    task = read_task(config)
    given = taken(
        config, task, kb=kb, split=split, seed=seed, held_out=held_out, init=init, own_facts=own_facts,
        regions=regions, vectors=vectors,
    )  # fmt: skip
    notes, console = Console(stderr=True), Console()

    def log(line: str) -> None:
        notes.print(Text(line), soft_wrap=True)

    if task in ("pretraining", "photos"):
        recipe = build.pretrain_encoder if task == "pretraining" else build.pretrain_photos
        with build_progress(notes) as advance:
            pretrained = recipe(config, root=root, out=out, log=log, advance=advance, **given)
        show_pretraining(pretrained, out, console)
    elif task == "fvqa":
        if kb is None:
            raise InputError("training on FVQA needs a knowledge base; give --kb, made by kvqa index-kb")
        show_training(build.train_fvqa(config, root=root, out=out, log=log, **given), out, console)
    elif task == "nlvr":
        show_task(build.train_nlvr(config, root=root, out=out, log=log, **given), out, console)
    else:
        show_task(build.train_task(config, root=root, out=out, log=log, **given), out, console)


def taken(config: Path, task: str, **options: Any) -> dict[str, Any]:
    """Return the options that were given.

    Raises:
        InputError: if one of them means nothing to the task of the config.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if wrong := sorted(given.keys() - OPTIONS.get(task, OPTIONS["other"])):
        flags = ", ".join("--" + name.replace("_", "-") for name in wrong)
        raise InputError(f"{config} (task {task}) does not take {flags}; leave it out")
    return given


def show_pretraining(report: PretrainingReport, out: Path, console: Console) -> None:
    """Print the losses on held-out pictures, and where the encoder lies."""
    for name, value in report.held_out.items():
        console.print(Text(f"{name}  {value:.3f}"))
    made = f"{out}: {report.steps} steps on {report.pairs} pairs, {report.seconds / 60:.1f} minutes"
    console.print(Text(made, style="bold"), soft_wrap=True)


def show_training(report: TrainingReport, out: Path, console: Console) -> None:
    """Print what a training run reports, and where the model lies."""
    for name, value in report.held_out.items():
        console.print(Text(f"{name}  {value:.2f}"))
    minutes, temperature = report.seconds / 60, report.temperature
    console.print(Text(f"{out}: {minutes:.1f} minutes, temperature {temperature:.2f}", style="bold"), soft_wrap=True)


def show_task(report: TaskReport, out: Path, console: Console) -> None:
    """Print the scores of a task, and where the model lies."""
    for part, scores in report.scores.items():
        line = ", ".join(f"{name} {value:.2f}" for name, value in scores.items())
        console.print(Text(f"{part} ({report.counts[part]})  {line}"))
    console.print(Text(f"{out}: {report.seconds / 60:.1f} minutes", style="bold"), soft_wrap=True)
