"""`kvqa evaluate`: a model on a data set to a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kvqa.errors import InputError


def evaluate(
    dataset: Annotated[str, typer.Argument(help="Data set: fvqa.")],
    root: Annotated[Path, typer.Option(help="The data set in its published layout.")],
    split: Annotated[str, typer.Option(help="test0 … test4, train0 … train4 or all.")],
    kb: Annotated[Path, typer.Option(help="Knowledge base.")],
    model: Annotated[Path, typer.Option(help="Model folder.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json and predictions.jsonl.")],
    hide_test_gold: Annotated[
        bool, typer.Option("--hide-test-gold", help="Hide gold facts that no training question uses.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
) -> None:
    """Evaluate a model with a knowledge base on a data set."""
    if dataset != "fvqa":
        raise InputError(f"unknown data set {dataset!r}; allowed: fvqa")
    from kvqa.evaluate import evaluate_fvqa

    report = evaluate_fvqa(
        root=root, split=split, kb=kb, model=model, out=out, hide_test_gold=hide_test_gold, seed=seed
    )
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        show_scores(report, Console())
        typer.echo(f"\nreport and predictions: {out}")


def show_scores(report: Mapping[str, Any], console: Console) -> None:
    """Print the scores with their intervals, then the scores of each group."""
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("score")
    table.add_column("%", justify="right")
    table.add_column("95% interval", justify="right", style="dim")
    for name, value in report["scores"].items():
        interval = report.get("intervals", {}).get(name)
        table.add_row(name, f"{value:.2f}", "{:.2f} to {:.2f}".format(*interval) if interval else "")
    console.print(table)
    for group, values in report.get("by", {}).items():
        if values:
            console.print()
            console.print(_group_table(group, values))
    console.print()
    console.print(Text(str(report["protocol"]), style="dim"))


def _group_table(group: str, values: Mapping[str, Mapping[str, float]]) -> Table:
    """Return one row for each value of `group`, one column for each score."""
    names = list(dict.fromkeys(name for scores in values.values() for name in scores))
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(group)
    for name in names:
        table.add_column(name, justify="right")
    for value, scores in values.items():
        table.add_row(Text(value), *(_number(scores.get(name)) for name in names))
    return table


def _number(value: float | None) -> str:
    """Return a count as it is and a score with two digits."""
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
