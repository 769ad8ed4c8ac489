"""`kvqa score`: anyone's prediction file to official scores, without a model and without the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kvqa.errors import InputError

if TYPE_CHECKING:
    from kvqa.scoring.ids import Handling
    from kvqa.scoring.report import Report


def score(
    dataset: Annotated[
        str,
        typer.Argument(
            help="vqa2, okvqa, aokvqa, nlvr2, nlvr2-contrast, nlvr, snli-ve, vcr, fvqa, zs-fvqa, kvqa, gqa or daquar."
        ),
    ],
    predictions: Annotated[
        list[Path], typer.Option(help="Prediction file, plain or gzip; once more for each further split.")
    ],
    truth: Annotated[Path, typer.Option(help="Annotation file of the data set, plain or gzip.")],
    protocol: Annotated[
        str | None,
        typer.Option(
            help="vqa2 and okvqa: official, vqa-2018, mmf, squad, aokvqa, pica; nlvr: structured, images; fvqa: lemma, "
            "exact. Default: the official one."
        ),
    ] = None,
    ids: Annotated[
        list[Path] | None,
        typer.Option(help="Score only the ids of this list (FILE, or FILE#NAME of one list of several)."),
    ] = None,
    originals: Annotated[
        Path | None, typer.Option(help="nlvr2-contrast: the labelled original set, for consistency with the original.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A missing or unknown prediction is an error.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Score only the questions that are predicted.")] = False,
    per_question: Annotated[
        Path | None, typer.Option(help="Write the score of each question, in [0, 1], as JSON lines to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Score a prediction file in the data set's official layout, exactly as its official script does."""
    from kvqa.scoring.datasets import mean_report, score_file
    from kvqa.scoring.report import write_per_question

    handling = handling_of(strict, partial)
    lists: list[Path | None] = list(ids) if ids else [None]
    if len(predictions) != len(lists):
        raise InputError(f"{len(predictions)} prediction files for {len(lists)} id lists; give one --ids for each file")
    reports = [
        score_file(dataset, file, truth, protocol=protocol, ids=listed, originals=originals, handling=handling)
        for file, listed in zip(predictions, lists, strict=True)
    ]
    if per_question is not None:
        write_per_question(reports, per_question)
    whole = reports[0].as_json() if len(reports) == 1 else mean_report(reports)
    if as_json:
        typer.echo(json.dumps(whole, indent=2, ensure_ascii=False))
        return
    for file, report in zip(predictions, reports, strict=True):
        typer.echo(f"{file}")
        show_report(report, handling)
    if len(reports) > 1:
        typer.echo(f"\nmean of {len(reports)}")
        _show_figures(whole["mean"])


def handling_of(strict: bool, partial: bool) -> Handling:
    """Return what the two options ask for.

    Raises:
        InputError: if both are given.
    """
    if strict and partial:
        raise InputError("--strict and --partial contradict each other; give one of them")
    return "strict" if strict else "partial" if partial else "default"


def show_report(report: Report, handling: Handling) -> None:
    """Print the figures, then those by group, what did not fit, and the protocol."""
    _show_figures(report.scores)
    for group, values in report.groups.items():
        typer.echo(f"  {group}")
        _show_figures(values, indent="    ")
    typer.echo(f"  scored {report.ids.scored:,}")
    for remark in (*report.ids.lines(handling), *report.notes):
        typer.echo(f"  note: {remark}")
    shares = "fractions" if report.unit == "fraction" else "percent"
    typer.echo(f"  protocol {report.protocol} ({report.about}); shares are {shares}")


def _show_figures(figures: Mapping[str, Any], indent: str = "  ") -> None:
    width = max((len(name) for name in figures), default=0)
    for name, value in figures.items():
        typer.echo(f"{indent}{name:<{width}}  {'-' if value is None else value}")
