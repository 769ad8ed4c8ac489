"""`kvqa index-kb`: files of facts to a knowledge base, and changes to one."""

from __future__ import annotations

import time
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from retrieval.report import BuildReport

SHOWN_REFUSALS = 8


def with_ray_here(arguments: list[str]) -> list[str]:
    """Return the arguments of this command with `local` after a `--ray` that no address follows."""
    out = []
    for argument, following in zip_longest(arguments, arguments[1:]):
        out.append(argument)
        if argument == "--ray" and (following is None or following.startswith("-")):
            out.append("local")
    return out


def index_kb(
    out: Annotated[Path, typer.Option(help="Folder of the knowledge base; made, or added to if it is there.")],
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files of facts, folders of such files, or - for standard input. None: only what the options say."
        ),
    ] = None,
    file_format: Annotated[
        str,
        typer.Option("--format", help="Format of the files: auto, or a name; docs/knowledge-base.md lists them."),
    ] = "auto",
    columns: Annotated[str, typer.Option(help="auto, hrt, rht, or such as head=2,relation=1,tail=3.")] = "auto",
    language: Annotated[str, typer.Option(help="Language to read where a format has several.")] = "en",
    min_weight: Annotated[float, typer.Option(help="Smallest weight of a ConceptNet assertion to read.")] = 0.0,
    licence: Annotated[str | None, typer.Option(help="Licence of the files, kept with their facts.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Encoder: package, folder, hub id, or static. Default: that of the folder, or MiniLM."),
    ] = None,
    index: Annotated[
        str | None, typer.Option(help="FAISS factory string, or auto: chosen by the number of facts.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Keep the facts in PostgreSQL: postgresql://USER@HOST/DATABASE.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="Embed and index on a Ray cluster: HOST:PORT, auto, or local, which is meant without an address.",
        ),
    ] = None,
    remove_source: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Take a source out of the knowledge base; repeatable.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Begin anew instead of adding to what is there.")] = False,
    strict: Annotated[bool, typer.Option(help="Stop at the first line that is no fact.")] = False,
    quiet: Annotated[bool, typer.Option(help="Print nothing but errors.")] = False,
) -> None:
    """Build a knowledge base from files of facts, add to one, or take sources out of one.

    Run again with the same files, only what is new or changed is read. A build that was stopped goes on.
    """
    from kb.readers import STDIN, spool_stdin
    from kvqa.cache import cache_folder
    from kvqa.progress import build_progress
    from retrieval.builder import build_kb
    from retrieval.cluster import ray_workers
    from retrieval.workers import HERE

    started = time.perf_counter()
    with ExitStack() as stack:
        paths = [stack.enter_context(spool_stdin()) if path == STDIN else path for path in sources or []]
        workers = stack.enter_context(ray_workers(ray)) if ray else HERE
        progress = stack.enter_context(build_progress(Console(stderr=True, quiet=quiet)))
        report = build_kb(
            paths,
            out,
            encoder=encoder,
            file_format=file_format,
            columns=columns,
            language=language,
            min_weight=min_weight,
            licence=licence,
            remove=remove_source or [],
            index=index,
            store=store,
            overwrite=overwrite,
            strict=strict,
            workers=workers,
            encoders=cache_folder() / "encoders",
            progress=progress,
        )
    show_build(report, out, time.perf_counter() - started, Console(quiet=quiet))


def show_build(report: BuildReport, out: Path, seconds: float, console: Console) -> None:
    """Print what a build read and refused, and what the knowledge base in `out` holds."""
    console.print(_counts(report))
    for refusal in report.refusals[:SHOWN_REFUSALS]:
        lines = ", ".join(map(str, refusal.lines)) + (", …" if refusal.count > len(refusal.lines) else "")
        where = f"{refusal.source}, line{'s' if refusal.count > 1 else ''} {lines}"
        console.print(Text(f"refused: {where}: {refusal.reason}", style="yellow"), soft_wrap=True)
    if len(report.refusals) > SHOWN_REFUSALS:
        more = f"and for {len(report.refusals) - SHOWN_REFUSALS} other reasons"
        console.print(Text(more, style="yellow"), soft_wrap=True)
    if report.rejects is not None:
        total = sum(report.refused.values())
        console.print(Text(f"all {total:,} refused lines: {report.rejects}"), soft_wrap=True)
    if report.manifest is not None:
        m = report.manifest
        counts = f"{m.facts:,} facts, {m.entities:,} entities, {m.relations:,} relations"
        recall = "" if m.recall10 is None else f", recall@10 {m.recall10:.3f}"
        done = f"{seconds:.1f} s" if report.changed else "nothing to do"
        console.print(Text(f"{out}: {counts}, index {m.index}{recall}, {done}", style="bold"), soft_wrap=True)


def _counts(report: BuildReport) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("source", overflow="fold")
    for name in ("read", "new", "duplicate", "refused"):
        table.add_column(name, justify="right")
    table.add_column("", style="dim")
    for source, state in report.states.items():
        if state == "removed":
            table.add_row(Text(source), "", "", "", "", state)
            continue
        numbers = (report.read[source], report.new[source], report.duplicate[source], report.refused[source])
        table.add_row(Text(source), *(f"{number:,}" for number in numbers), "" if state == "new" else state)
    return table
