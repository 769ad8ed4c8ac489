"""`kvqa attack`: accuracy against the size of attacks on words, features or pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kvqa.errors import InputError

if TYPE_CHECKING:
    from kvqa.attack.curves import AttackReport

SIZES = {"words": "0,0.02,0.05,0.1,0.2", "features": "0,0.1,0.2,0.5,1", "pixels": "0,0.002,0.004,0.008,0.016"}


def attack(
    data: Annotated[Path, typer.Option(help="FVQA in its published layout; for pixels, a folder of named photos.")],
    model: Annotated[
        Path | None, typer.Option(help="Model folder; for pixels, an image classifier of transformers.")
    ] = None,
    attack_name: Annotated[
        list[str] | None, typer.Option("--attack", help="fgsm, ifgsm, pgd or random; may be given several times.")
    ] = None,
    eps: Annotated[str | None, typer.Option(help="Sizes, separated by commas; 0 is the clean score.")] = None,
    on: Annotated[str, typer.Option(help="words, features or pixels.")] = "words",
    target: Annotated[str, typer.Option(help="FVQA: fact (the gold one among all of FVQA's) or answer.")] = "fact",
    split: Annotated[str, typer.Option(help="FVQA: test0 … test4, train0 … train4 or all.")] = "test0",
    norm: Annotated[str, typer.Option(help="linf or l2.")] = "linf",
    steps: Annotated[int, typer.Option(help="Steps of ifgsm and pgd.")] = 10,
    restarts: Annotated[int, typer.Option(help="Random starts of pgd.")] = 1,
    limit: Annotated[int | None, typer.Option(help="Attack so many examples, spread evenly; default all.")] = None,
    seed: Annotated[int, typer.Option(help="Of random starts.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for attack.json, attack.svg and attack.png.")] = None,
) -> None:
    """Show how accuracy falls when inputs are changed by a little, in the worst direction."""
    from kvqa.attack.run import run_attack
    from kvqa.progress import build_progress

    if on not in SIZES:
        raise InputError(f"nothing is called {on!r} here; attack one of: {', '.join(SIZES)}")
    with build_progress(Console(stderr=True)) as advance:
        report = run_attack(
            model,
            data,
            methods=attack_name or ["fgsm", "pgd", "random"],
            sizes=_sizes(eps or SIZES[on]),
            on=on,
            target=target,
            split=split,
            norm=norm,
            steps=steps,
            restarts=restarts,
            limit=limit,
            seed=seed,
            out=out,
            advance=advance,
        )
    show_attack(report, Console())
    if out is not None:
        typer.echo(f"\nreport and plot: {out}")


def show_attack(report: AttackReport, console: Console) -> None:
    """Print one row for each size, one column for each attack."""
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("ε")
    for method in report.curves:
        table.add_column(method, justify="right")
    for row in zip(*report.curves.values(), strict=True):
        table.add_row(f"{row[0].eps:g}", *(f"{point.accuracy:.2f} ± {point.error:.2f}" for point in row))
    console.print(table)
    note = f"{report.target}, % ± standard error; {report.examples:,} examples; {report.on} changed; "
    console.print(Text(f"\n{note}ε in {report.eps_unit}, {report.norm}", style="dim"), soft_wrap=True)


def _sizes(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"eps {text!r} is not a list of numbers; give them like 0,0.05,0.1") from None
