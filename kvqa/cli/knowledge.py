"""`kvqa kb …`: looking around in a knowledge base, and taking it elsewhere."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kvqa.errors import InputError

if TYPE_CHECKING:
    from kb.fact import Fact
    from retrieval import browse
    from retrieval.knowledge_base import KnowledgeBase

app = typer.Typer(no_args_is_help=True, help="Look around in a knowledge base, or export it.")

Kb = Annotated[Path | None, typer.Option("--kb", help="Knowledge base; default: the packaged everyday facts.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Entity = Annotated[str, typer.Argument(help="Name of an entity, such as cat.")]


@app.command()
def stats(
    kb: Kb = None,
    limit: Annotated[int, typer.Option(min=1, help="Relations and hubs to list.")] = 15,
    as_json: Json = False,
) -> None:
    """Say what is in it: counts, relations, sources, degrees, hubs, encoder and index."""
    from retrieval import browse

    found = browse.stats(_open(kb), hubs=limit)
    _print_json(found) if as_json else show_stats(found, limit, Console())


@app.command()
def find(
    text: Annotated[str, typer.Argument(help="A name or a part of one.")],
    kb: Kb = None,
    limit: Annotated[int, typer.Option(min=1, help="Entities to list.")] = 20,
    as_json: Json = False,
) -> None:
    """Find entities by name, other name, dictionary form, or part of the name."""
    from retrieval import browse

    found = browse.find(_open(kb), text, limit=limit)
    _print_json(found) if as_json else show_matches(found, Console())


@app.command()
def show(
    entity: Entity,
    kb: Kb = None,
    limit: Annotated[int, typer.Option(min=1, help="Facts to list for each relation.")] = 10,
    as_json: Json = False,
) -> None:
    """Show the facts of an entity, by relation, and where each was read."""
    from retrieval import browse

    found = browse.show(_open(kb), entity, limit=limit)
    _print_json(found) if as_json else show_portrait(found, Console())


@app.command()
def path(
    source: Entity,
    target: Annotated[str, typer.Argument(help="Name of another entity.")],
    kb: Kb = None,
    max_hops: Annotated[int, typer.Option(min=1, max=8, help="Greatest number of facts of a path.")] = 4,
    limit: Annotated[int, typer.Option(min=1, help="Paths to list.")] = 5,
    max_expanded: Annotated[
        int, typer.Option(min=1, help="Entities whose facts are followed before the search stops.")
    ] = 100_000,
    as_json: Json = False,
) -> None:
    """Show how two entities hang together: paths of facts, the shortest first."""
    from retrieval import browse

    found = browse.path(_open(kb), source, target, max_hops=max_hops, limit=limit, max_expanded=max_expanded)
    if not found.complete:
        stopped = f"stopped after {found.expanded:,} expanded entities; there may be more paths, see --max-expanded"
        Console(stderr=True).print(Text(stopped, style="yellow"), soft_wrap=True)
    _print_json(found) if as_json else show_paths(found, Console())


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="Words, a sentence or a question.")],
    kb: Kb = None,
    limit: Annotated[int, typer.Option(min=1, help="Facts to list.")] = 10,
    as_json: Json = False,
) -> None:
    """Find the facts that mean most nearly what a free text says."""
    from retrieval import browse

    found = browse.search(_open(kb), text, limit=limit)
    _print_json(found) if as_json else show_hits(found, Console())


@app.command()
def export(
    kb: Kb = None,
    graphml: Annotated[
        Path | None, typer.Option(help="Write GraphML, for networkx, Gephi or yEd, to this file.")
    ] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write a Parquet table, a row for each fact.")] = None,
    ntriples: Annotated[Path | None, typer.Option(help="Write RDF N-Triples.")] = None,
    quiet: Annotated[bool, typer.Option(help="Print nothing but errors.")] = False,
) -> None:
    """Write all facts in the formats of other programs."""
    wanted = {name: file for name, file in locals().items() if isinstance(file, Path) and name != "kb"}
    if not wanted:
        raise InputError("nothing to export to; give --graphml FILE, --parquet FILE or --ntriples FILE")
    from kb.export import EXPORTERS
    from kvqa.progress import build_progress

    store = _open(kb).store
    for name, file in wanted.items():
        with build_progress(Console(stderr=True, quiet=quiet)) as progress:
            EXPORTERS[name](store, file, progress=progress)
        Console(quiet=quiet).print(
            Text(f"{file}: {store.num_facts:,} facts, {file.stat().st_size:,} bytes"), soft_wrap=True
        )


def show_stats(found: browse.Stats, limit: int, console: Console) -> None:
    """Print what is in a knowledge base."""
    counts = f"{found.facts:,} facts, {found.entities:,} entities, {found.relations:,} relations"
    console.print(Text(counts, style="bold"))
    details = {
        "id": found.id,
        "built": found.built,
        "size": f"{found.bytes / 1e6:,.1f} MB",
        "encoder": f"{found.encoder}, {found.dimension} dimensions",
        "index": found.index,
    }
    about = Table.grid(padding=(0, 2, 0, 0))
    for name, value in details.items():
        about.add_row(Text(name, style="dim"), Text(value))
    console.print(about)
    sources = _table("source", "licence", facts="right")
    for source in found.sources:
        sources.add_row(Text(source.name), Text(source.licence or "not stated"), f"{source.facts:,}")
    relations = _table("relation", facts="right")
    most = max((count for _, count in found.relation_facts), default=1)
    for name, count in found.relation_facts[:limit]:
        relations.add_row(Text(name), f"{count:,}", ProgressBar(total=most, completed=count, width=24))
    degrees = _table(**{"facts of an entity": "right", "entities": "right"})
    most = max((count for *_, count in found.degrees), default=1)
    for least, greatest, count in found.degrees:
        span = f"{least:,}" if least == greatest else f"{least:,}-{greatest:,}"
        degrees.add_row(span, f"{count:,}", ProgressBar(total=most, completed=count, width=24))
    hubs = _table("entity", facts="right")
    for hub in found.hubs:
        hubs.add_row(Text(hub.text), f"{hub.facts:,}")
    more = len(found.relation_facts) - limit
    for title, table in (
        ("Sources", sources),
        (f"Relations, the first {limit} of {limit + more}" if more > 0 else "Relations", relations),
        (f"Degrees: mean {found.mean_degree:g}, median {found.median_degree:g}", degrees),
        ("Hubs", hubs),
    ):
        console.print()
        console.print(Text(title, style="bold"))
        console.print(table)


def show_matches(found: browse.Matches, console: Console) -> None:
    """Print entities that match a text."""
    if not found.matches:
        console.print(Text(f"no name contains {found.text!r}; try kvqa kb search, which goes by meaning"))
        return
    table = _table("entity", "match", facts="right", id="right")
    for match in found.matches:
        table.add_row(Text(match.entity.text), match.how, f"{match.entity.facts:,}", str(match.entity.id))
    console.print(table)
    if found.total > len(found.matches):
        console.print(Text(f"{found.total - len(found.matches):,} more; --limit shows them", style="dim"))


def show_portrait(found: browse.Portrait, console: Console) -> None:
    """Print the facts of an entity."""
    console.print(Text(f"{found.entity.text}: {found.entity.facts:,} facts", style="bold"))
    if found.other_names:
        console.print(Text(f"also {', '.join(found.other_names)}", style="dim"))
    for group in found.groups:
        ends = (found.entity.text, "…") if group.side == "head" else ("…", found.entity.text)
        shown = f"{len(group.facts):,} of {group.total:,}" if len(group.facts) < group.total else f"{group.total:,}"
        console.print()
        console.print(Text.assemble(f"{ends[0]} ", (group.relation, "bold cyan"), f" {ends[1]}  ", (shown, "dim")))
        table = Table.grid(padding=(0, 2, 0, 0))
        for fact in group.facts:
            table.add_row(Text(fact.tail if group.side == "head" else fact.head), Text(_origins(fact), style="dim"))
        console.print(Padding(table, (0, 0, 0, 2)))


def show_paths(found: browse.Paths, console: Console) -> None:
    """Print each path as a chain, and the sentences of its facts with their sources below it."""
    if not found.paths:
        ends = f"{found.source.text!r} and {found.target.text!r}"
        longer = "; --max-hops allows longer ones" if found.complete else " was found"
        console.print(Text(f"no path of at most {found.max_hops} facts between {ends}{longer}"))
    for number, steps in enumerate(found.paths):
        if number:
            console.print()
        console.print(chain(found.source.text, steps), soft_wrap=True)
        for step in steps:
            console.print(Padding(Text.assemble(f"{step.fact.text}  ", (_origins(step.fact), "dim")), (0, 0, 0, 2)))


def chain(start: str, steps: Sequence[browse.Step]) -> Text:
    """Return `cat —IsA→ animal ←IsA— dog`: arrows point from head to tail, whichever way the path goes."""
    text = Text(start, style="bold")
    for step in steps:
        relation = (step.fact.relation, "not bold cyan")
        signs = (" —", "→ ") if step.forward else (" ←", "— ")
        text.append_text(
            Text.assemble(signs[0], relation, signs[1], step.fact.tail if step.forward else step.fact.head)
        )
    return text


def show_hits(found: Sequence[browse.Hit], console: Console) -> None:
    """Print facts with their scores and sources."""
    table = _table(score="right", fact="left", source="left")
    for hit in found:
        table.add_row(f"{hit.score:.3f}", Text(hit.fact.text), Text(_origins(hit.fact), style="dim"))
    console.print(table)


def _open(folder: Path | None) -> KnowledgeBase:
    from kvqa.demo import default_kb_shown
    from retrieval.knowledge_base import KnowledgeBase

    return KnowledgeBase.open(folder or default_kb_shown(Console(stderr=True)))


def _table(*left: str, **columns: Any) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name, justify in {**dict.fromkeys(left, "left"), **columns}.items():
        table.add_column(name, justify=justify, overflow="fold")
    return table


def _origins(fact: Fact) -> str:
    places = [o.source if o.line is None else f"{o.source}:{o.line}" for o in fact.origins]
    return ", ".join(places)


def _print_json(found: object) -> None:
    typer.echo(json.dumps(found, indent=2, default=_fields))


def _fields(value: Any) -> dict[str, Any]:
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return fields | {"text": value.text} if hasattr(value, "text") else fields  # a fact's sentence is no field
