"""`kvqa data …`: what of a data set is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

from kvqa.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Data sets: what is there, what is missing, what is shared.")

STYLES = {"complete": "green", "subset": "yellow", "missing": "dim", "broken": "red", "larger": "yellow", "read": ""}


@app.command("list")
def list_datasets() -> None:
    """List the data sets that can be read."""
    from kvqa.data.datasets import DATASETS

    width = max(map(len, DATASETS))
    for name, description in DATASETS.items():
        typer.echo(f"{name:{width}}  {description.title}")


class WithPairs(TyperCommand):
    """A command whose option `--against` takes two words and may be repeated, which Typer has no type for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write `--against NAME ROOT` as `--against NAME=ROOT`."""
        words, rest = [], iter(args)
        for word in rest:
            words.append(word)
            if word == "--against":
                name = next(rest, "")
                words.append(name if "=" in name else f"{name}={next(rest, '')}")
        return super().parse_args(ctx, words)


@app.command(cls=WithPairs)
def check(
    name: Annotated[str, typer.Argument(help="Data set; `kvqa data list` names them.")],
    root: Annotated[Path, typer.Argument(help="Folder with its published files.")],
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME ROOT", help="Another data set, to look for shared photos; repeatable."),
    ] = None,
    split: Annotated[list[str] | None, typer.Option(help="Read this split only; repeatable.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Folder with the photos, if they are not below ROOT.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
) -> None:
    """Say what of a data set is there, where to get the rest, and which photos its parts share.

    The exit code is 0, also for a subset; 1 if a file is broken.
    """
    from kvqa.data.audit import audit, is_broken

    report = audit(name, root, against=[_pair(word) for word in against or ()], splits=split or (), photos=photos)
    if as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        show_audit(report, Console())
    if is_broken(report):
        raise typer.Exit(1)


def _pair(word: str) -> tuple[str, Path]:
    name, _, folder = word.partition("=")
    if not (name and folder):
        raise InputError(f"--against is {word.strip('=')!r}; give name and folder, such as --against okvqa data/okvqa")
    return name, Path(folder)


def show_audit(report: Mapping[str, Any], console: Console) -> None:
    """Print splits, overlaps and missing files."""
    console.print(Text(f"{report['title']}: {report['root']}", style="bold"), soft_wrap=True)
    console.print(_split_table(report["splits"]))
    if report["note"]:
        console.print(Text(report["note"], style="dim"), soft_wrap=True)
    for record in report["splits"]:
        if record["state"] == "broken":
            console.print(Text(f"broken: {record['problem']}", style="red"), soft_wrap=True)
        elif record["duplicate_ids"]:
            console.print(Text(f"{record['split']}: {record['duplicate_ids']:,} ids twice", style="red"))
    for record in (*report["overlaps"], *report["against"]):
        shared = f"{record['split']} and {record['other']} share {record['images']:,} photos"
        console.print(Text(f"{shared}, such as {', '.join(record['such_as'])}", style="yellow"), soft_wrap=True)
    if not report["overlaps"]:
        console.print("no photo is in two splits that are meant to be apart")
    if any(record["photos_at_hand"] < record["images"] for record in report["splits"]):
        console.print(Text(f"photos: {report['photos']}", style="dim"), soft_wrap=True)
    _show_missing(report, console)


def _split_table(splits: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for heading in ("split", "state"):
        table.add_column(heading)
    for heading in ("examples", "published", "photos", "published", "at hand"):
        table.add_column(heading, justify="right")
    for record in splits:
        table.add_row(
            record["split"],
            Text(record["state"], style=STYLES[record["state"]]),
            *(
                "?" if record[key] is None else f"{record[key]:,}"
                for key in ("questions", "published", "images", "published_images", "photos_at_hand")
            ),
        )
    return table


def _show_missing(report: Mapping[str, Any], console: Console) -> None:
    """Print each missing file with its source; those that no absent split needs are marked."""
    missing = [file for file in report["files"] if file["found"] is None]
    if not missing:
        console.print(f"all {len(report['files'])} files are there")
        return
    console.print(Text("not there:", style="bold"))
    for file in missing:
        spare = "" if file["needed"] else " (can be done without)"
        console.print(Text(f"  {file['name']}{spare}: {file['what']}; {file['source']}"), soft_wrap=True)
