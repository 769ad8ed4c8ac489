"""Showing an `Answer` to people: in the terminal, and as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kvqa.drawing import draw_boxes, draw_graph, plain
from kvqa.errors import InputError
from retrieval.manifest import write_text_safely

if TYPE_CHECKING:  # only for annotations, so that this module stays quick to import
    import jinja2
    from PIL import Image

    from kvqa.answering import Answer, AnswerFact
    from kvqa.vision.regions import Regions

UNSUPPORTED = "The knowledge base hardly supports an answer."
NO_EVIDENCE = "no answer"
MAX_SIDE = 900
"""Longest side in pixels of the photo inside a page."""
NARROW = 64
"""Columns under which the terminal view leaves the bars of facts out."""


def percent(share: float) -> str:
    """Return 0.8249 as `82%`, and small shares other than nothing as `<1%`."""
    return "<1%" if 0 < share < 0.005 else f"{100 * share:.0f}%"


def connectors(answer: Answer) -> list[str]:
    """Return what stands between the stations of the path: `—` to a relation, arrows elsewhere.

    Along a fact the arrow points from head to tail, also where the path walks from tail to head.
    """
    kinds = [step.kind for step in answer.path]
    entities = [step.text for step in answer.path if step.kind == "entity"]
    backwards = bool(answer.facts) and entities[:1] != [answer.facts[0].head]
    signs = []
    for before, after in pairwise(kinds):
        if after == "relation":
            signs.append("←" if backwards else "—")
        elif before == "relation":
            signs.append("—" if backwards else "→")
        else:
            signs.append("→")
    return signs


# --- the terminal ----------------------------------------------------------------------------------------------------


def render_terminal(answer: Answer, console: Console) -> None:
    """Print question, answer, alternatives, facts, path, what was seen, and timings, as wide as `console` is."""
    console.print()
    console.print(Text(plain(answer.question), style="bold"))
    console.print()
    console.print(_answers_table(answer, console.width))
    if not answer.supported:
        console.print(Padding(Text(UNSUPPORTED, style="yellow"), (1, 0, 0, 0)))
    if answer.facts:
        _heading("Facts", console)
        console.print(_facts_table(answer.facts, console.width))
    if answer.path:
        _heading("Path", console)
        console.print(Padding(path_line(answer), (0, 0, 0, 2)))
    _heading("Seen", console)
    console.print(Padding(Text(plain(seen_line(answer.regions))), (0, 0, 0, 2)))
    times = " · ".join(f"{name} {value:.0f}" for name, value in answer.timings_ms.items())
    console.print(Padding(Text(f"{times} ms", style="dim"), (1, 0, 1, 0)))


def path_line(answer: Answer) -> Text:
    """Return the path from picture to answer as one line with arrows."""
    styles = {"region": "cyan", "entity": "", "relation": "italic", "answer": "bold green"}
    words = {"region": "seen ", "answer": "answer "}
    line = Text()
    for step, sign in zip(answer.path, ["", *connectors(answer)], strict=False):
        line.append(f" {sign} " if sign else "", style="dim")
        line.append(words.get(step.kind, ""), style="dim")
        line.append(plain(step.text), style=styles[step.kind])
    return line


def seen_line(regions: Regions) -> str:
    """Return labels with scores; tags and captions are marked as such."""
    if not regions.regions:
        return "nothing"
    return ", ".join(
        f"{r.label} {r.score:.2f}" + ("" if r.kind == "object" else f" ({r.kind})") for r in regions.regions
    )


def _heading(title: str, console: Console) -> None:
    console.print(Padding(Text(title, style="bold"), (1, 0, 0, 0)))


def _answers_table(answer: Answer, width: int) -> Table:
    """Lay out the best answer and its alternatives, each with a bar."""
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", max_width=max(12, width - 26))
    table.add_column(width=max(6, min(30, width // 3)))
    table.add_column(justify="right")
    style = "bold green" if answer.supported else "bold yellow"
    best = Text(plain(answer.answer) or NO_EVIDENCE, style=style)
    table.add_row(best, _bar(answer.confidence, style), Text(percent(answer.confidence), style=style))
    for other in answer.answers[1:]:
        table.add_row(Text(plain(other.answer)), _bar(other.confidence, "blue"), percent(other.confidence))
    return table


def _facts_table(facts: Sequence[AnswerFact], width: int) -> Table:
    """Lay out the facts with source, score and share of the answer."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("  fact", overflow="fold", ratio=1)
    table.add_column("source", style="dim", overflow="fold", max_width=18)
    if width >= NARROW:
        table.add_column("", width=10)
    table.add_column("score", justify="right")
    table.add_column("share", justify="right")
    for fact in facts:
        bar = [_bar(fact.score, "magenta")] if width >= NARROW else []
        text = Padding(Text(plain(fact.text)), (0, 0, 0, 2))
        table.add_row(text, plain(fact.source), *bar, percent(fact.score), percent(fact.answer_share))
    return table


def _bar(share: float, style: str) -> ProgressBar:
    return ProgressBar(total=1.0, completed=min(1.0, max(0.0, share)), complete_style=style, finished_style=style)


# --- the page --------------------------------------------------------------------------------------------------------


def render_html(answer: Answer, image: Image.Image | None, path: Path) -> None:
    """Write one self-contained page to `path`: photo, boxes, facts, graph; nothing in it is fetched from elsewhere.

    Args:
        image: The photo in which `answer.regions` were seen; None draws the boxes on an empty field.

    Raises:
        InputError: if the page cannot be written.
    """
    template = _environment().get_template("answer.html.j2")
    page = template.render(
        answer=answer,
        unsupported=UNSUPPORTED,
        no_evidence=NO_EVIDENCE,
        photo=None if image is None else data_uri(image),
        boxes=draw_boxes(answer),
        steps=list(zip(["", *connectors(answer)], answer.path, strict=False)),
        graph=draw_graph(answer),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_safely(path, page)
    except OSError as error:
        raise InputError(f"the page {path} cannot be written ({error.strerror}); give another path") from None


def data_uri(image: Image.Image) -> str:
    """Return the picture as a JPEG of at most `MAX_SIDE` pixels a side, in a `data:` address."""
    small = image.convert("RGB")
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=86)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _environment() -> jinja2.Environment:
    """Return the templates of this package; everything put into them is escaped."""
    import jinja2

    loader = jinja2.PackageLoader("kvqa", "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = percent
    environment.filters["bar"] = lambda share: f"{100 * min(1.0, max(0.0, share)):.1f}"
    return environment
