"""`kvqa train`: an experiment to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from kvqa.training.finetune import TrainingReport


def train(
    config: Annotated[Path, typer.Argument(help="The experiment, such as configs/fvqa.yaml.")],
    root: Annotated[Path, typer.Option(help="FVQA in its published layout.")],
    kb: Annotated[Path, typer.Option(help="Knowledge base.")],
    out: Annotated[Path, typer.Option(help="Folder of the model; an interrupted run goes on from it.")],
    split: Annotated[str | None, typer.Option(help="Part to train on, instead of the config's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the config's.")] = None,
    held_out: Annotated[
        float | None,
        typer.Option(help="Share of the training images to keep aside and score, instead of the config's."),
    ] = None,
) -> None:
    """Train a model on FVQA."""
    from kvqa.build import train_fvqa

    notes = Console(stderr=True)
    report = train_fvqa(
        config,
        root=root,
        kb=kb,
        out=out,
        split=split,
        seed=seed,
        held_out=held_out,
        log=lambda line: notes.print(Text(line), soft_wrap=True),
    )
    show_training(report, out, Console())


def show_training(report: TrainingReport, out: Path, console: Console) -> None:
    """Print what a training run reports, and where the model lies."""
    for name, value in report.held_out.items():
        console.print(Text(f"{name}  {value:.2f}"))
    minutes, temperature = report.seconds / 60, report.temperature
    console.print(Text(f"{out}: {minutes:.1f} minutes, temperature {temperature:.2f}", style="bold"), soft_wrap=True)
