"""`kvqa contrast …`: make contrast variants of sentences and questions, and score predictions for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kvqa.cli.score import handling_of, show_report

app = typer.Typer(no_args_is_help=True, help="Contrast sets: make variants, score predictions for them.")


@app.command("make")
def make(
    source: Annotated[
        Path, typer.Argument(help="Records with id and sentence or question: JSON lines, JSON list, or questions file.")
    ],
    out: Annotated[Path, typer.Option(help="File for the variants, JSON lines.")],
    edits: Annotated[
        str, typer.Option(help="Edits to make, with commas between them; see docs/scoring.md.")
    ] = "number,quantifier,entity,attribute,spatial,exchange-images,negation",
    kb: Annotated[
        Path | None, typer.Option(help="Knowledge of classes for the edit `entity`; default: the everyday facts.")
    ] = None,
    per_original: Annotated[int, typer.Option(help="The most variants of one original.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same variants.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Make contrast variants, with a label where logic gives it and "needs a human" where it does not."""
    from kvqa.contrast.entities import everyday_facts, read_classes
    from kvqa.contrast.make import make_variants, read_originals, write_variants

    kinds = [kind.strip() for kind in edits.split(",") if kind.strip()]
    classes = read_classes(kb or everyday_facts()) if "entity" in kinds else None
    made = make_variants(
        read_originals(source), source=source, classes=classes, kinds=kinds, per_original=per_original, seed=seed
    )
    write_variants(made, out)
    summary = made.summary()
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    typer.echo(
        f"{summary['variants']:,} variants of {summary['originals_with_variants']:,} of {made.originals:,} originals"
    )
    typer.echo(f"{summary['labels_derived']:,} labels derived; the others need a human (needs_human in the file)")
    for kind, counts in summary["per_edit"].items():
        typer.echo(f"  {kind:<16} {counts['variants']:>7,}   derived {counts['labels_derived']:>7,}")
    typer.echo(f"written: {out}")


@app.command("score")
def score(
    predictions: Annotated[Path, typer.Option(help="Lines `identifier,prediction`, or JSON records.")],
    truth: Annotated[Path, typer.Option(help="The contrast set, as `kvqa contrast make` writes it.")],
    strict: Annotated[bool, typer.Option("--strict", help="A missing or unknown prediction is an error.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Score only the variants that are predicted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Score grouped predictions: accuracy, consistency without and with the original, accuracy by edit."""
    from kvqa.contrast.score import score_variants

    handling = handling_of(strict, partial)
    report = score_variants(predictions, truth, handling=handling)
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        show_report(report, handling)
