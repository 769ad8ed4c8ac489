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


def evaluate(
    dataset: Annotated[str, typer.Argument(help="fvqa, okvqa, vqa2, aokvqa, nlvr, nlvr2, snli-ve, vcr or fvqa-r.")],
    root: Annotated[Path, typer.Option(help="The data set in its published layout.")],
    split: Annotated[
        str, typer.Option(help="As kvqa data list has it: fvqa test0 …, okvqa val, nlvr2 dev, …; test of vcr as well.")
    ],
    model: Annotated[Path, typer.Option(help="Model folder; it says what kind of model it is.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions.jsonl, report.json and report.html.")],
    kb: Annotated[Path | None, typer.Option(help="Knowledge base, for models that read facts.")] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Region files, for tasks on data sets without detections.")
    ] = None,
    vectors: Annotated[Path | None, typer.Option(help="Folder that keeps sentence vectors (vcr, fvqa-r).")] = None,
    hide_test_gold: Annotated[
        bool, typer.Option("--hide-test-gold", help="Hide gold facts that no training question uses.")
    ] = False,
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Answer with other facts, without facts, picture or question as well.")
    ] = False,
    trained_root: Annotated[
        Path | None, typer.Option(help="Folder of the data set that the model was trained on, to find shared pictures.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap and of random facts.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
) -> None:
    """Evaluate a model on a data set; a stopped run goes on where it was. A split without labels is only predicted."""
    from kvqa.evaluation import datasets

    notes = Console(stderr=True)
    report = datasets.evaluate(
        dataset,
        root=root,
        split=split,
        model=model,
        out=out,
        kb=kb,
        seed=seed,
        options={
            "regions": regions,
            "vectors": vectors,
            "hide_test_gold": hide_test_gold,
            "ablations": ablations,
            "trained_root": trained_root,
        },
        log=lambda line: notes.print(Text(line), soft_wrap=True),
    )
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    elif "scores" not in report:
        typer.echo(report["remark"])
    else:
        show_scores(report, Console())
        typer.echo(f"\nreport, page and predictions: {out}")


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
    if ablations := report.get("ablations"):
        console.print()
        first = {name: dict([*found["scores"].items()][:4]) for name, found in ablations.items()}  # what fits a line
        console.print(_group_table("ablation", first))
    for group, values in report.get("by", {}).items():
        if values:
            console.print()
            console.print(_group_table(group, values))
    console.print()
    if remark := report.get("overlap", {}).get("remark"):
        console.print(Text(remark, style="yellow"))
    if missing := report.get("not_scored"):
        console.print(Text(f"Not scored: {missing}", style="dim"))
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
