"""`kvqa compare`: two runs of `kvqa evaluate` against each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text


def compare(
    run_a: Annotated[str, typer.Argument(help="Folder of a run, or a quoted pattern for several seeds: 'runs/a-*'.")],
    run_b: Annotated[str, typer.Argument(help="The run, or runs, to compare it with.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with all questions that flipped.")] = None,
    show: Annotated[int, typer.Option(min=0, help="How many flipped questions of each kind to print.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:
    """Compare two runs: the difference of each score with its interval, and the questions that flipped."""
    from kvqa.evaluation.compare import compare as compared

    result = compared(run_a, run_b, seed=seed)
    if html is not None:
        from kvqa.evaluation.page import write_comparison_page

        write_comparison_page(result, html)
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
        return
    show_comparison(result, Console(), show=show)
    if html is not None:
        typer.echo(f"\npage: {html}")


def show_comparison(result: Mapping[str, Any], console: Console, *, show: int = 10) -> None:
    """Print what was compared, the differences, and the first questions that flipped."""
    console.print(Text(f"{result['dataset']} {result['split']}, {result['questions']:,} questions", style="bold"))
    for key in ("a", "b"):
        side = result[key]
        runs = f" ({len(side['runs'])} runs)" if len(side["runs"]) > 1 else ""
        console.print(Text(f"{key.upper()}  {side['name']}{runs}"), soft_wrap=True)
        if side["only"]["count"]:
            first = ", ".join(side["only"]["first"])
            console.print(Text(f"   {side['only']['count']} questions only here, left out: {first}", style="yellow"))
    for name, (one, two) in result["settings"].items():
        console.print(Text(f"{name}: {one} | {two}", style="dim"), soft_wrap=True)
    console.print()
    console.print(_differences(result["scores"]))
    for title, kind in (("B right, A wrong", "gained"), ("A right, B wrong", "lost")):
        flips = result["flips"][kind]
        console.print()
        console.print(Text(f"{title}: {len(flips)}", style="bold"))
        if flips and show:
            console.print(_flips(flips[:show]))
            if len(flips) > show:
                console.print(Text(f"and {len(flips) - show} more; --html FILE shows all", style="dim"))
    console.print()
    console.print(Text(str(result["protocol"]), style="dim"))


def _differences(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("score")
    for name in ("A", "B", "B - A", "95% interval", "only A", "only B", "McNemar p"):
        table.add_column(name, justify="right")
    for name, row in scores.items():
        low, high = row["interval"]
        test = row["mcnemar"]
        counts = [f"{test['only_a']}", f"{test['only_b']}", f"{test['p']:.3g}"] if test else ["", "", ""]
        cells = [
            f"{row['a']:.2f}",
            f"{row['b']:.2f}",
            f"{row['difference']:+.2f}",
            f"{low:+.2f} to {high:+.2f}",
            *counts,
        ]
        table.add_row(name, *cells, style="bold" if low > 0 or high < 0 else "")
    return table


def _flips(flips: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("question")
    for name in ("reference", "A", "B", "fact of A", "fact of B"):
        table.add_column(name, overflow="fold")
    for flip in flips:
        facts = [" · ".join(flip[key]["fact"] or ()) for key in ("a", "b")]
        answers = [flip[key]["answer"] for key in ("a", "b")]
        table.add_row(*(Text(str(part)) for part in (flip["question"], flip["reference"], *answers, *facts)))
    return table


def _table(first: str) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(first, overflow="fold")
    return table
