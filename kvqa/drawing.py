"""Where things stand in the pictures of a page: boxes and labels on the photo, and the graph of the facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # only for annotations, so that this module stays quick to import
    import networkx

    from kvqa.answering import Answer, AnswerFact
    from kvqa.vision.regions import Region, Regions

GRAPH_FACTS = 8
"""Facts that are drawn; more would be a tangle."""

LINE, CHARACTER = 16.0, 7.2
"""Height of a line and width of a character of the graph's text, in SVG units."""

ROW_GAP, COLUMN_GAP = 18.0, 70.0
"""Room between two nodes of a column, and between two columns beside that of the relations' names."""

Key: TypeAlias = tuple[str, str]
"""A node's kind and what tells it from others: an entity's name, a region's position, a fact's position."""


@dataclass(frozen=True)
class Rect:
    """A rectangle in SVG units: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Rect) -> bool:
        """Say whether the two share an area."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


def plain(text: str) -> str:
    """Return `text` on one line without control characters, which a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


# --- the photo -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DrawnBox:
    """A region on the photo; `tag` is where its label stands, None where there is no room for it."""

    rect: Rect
    text: str
    tag: Rect | None
    on_path: bool


@dataclass(frozen=True)
class DrawnBoxes:
    """All regions that have a box, in pixels of the photo; `font` is the size of their labels in pixels."""

    width: int
    height: int
    font: float
    boxes: tuple[DrawnBox, ...]


def draw_boxes(answer: Answer) -> DrawnBoxes:
    """Place the boxes and their labels on the photo; the box of the path comes last and so lies on top."""
    regions = answer.regions
    font = max(regions.width, regions.height) / 34
    on_path = {step.region for step in answer.path if step.kind == "region"}
    drawn: list[DrawnBox] = []
    for i in sorted(range(len(regions.regions)), key=lambda i: i not in on_path):
        region = regions.regions[i]
        if region.box is not None:
            x1, y1, x2, y2 = region.box
            tag = _place_tag(region, regions, font, [d.tag for d in drawn if d.tag is not None])
            drawn.append(DrawnBox(Rect(x1, y1, x2 - x1, y2 - y1), _tag_text(region), tag, i in on_path))
    return DrawnBoxes(regions.width, regions.height, round(font, 1), tuple(reversed(drawn)))


def _tag_text(region: Region) -> str:
    label = plain(region.label)
    return f"{label if len(label) <= 32 else label[:31] + '…'} {region.score:.2f}"


def _place_tag(region: Region, regions: Regions, font: float, taken: Sequence[Rect]) -> Rect | None:
    """Return the first free place for a label: above the box, in its upper corners, under it, in its lower corner."""
    assert region.box is not None
    x1, y1, x2, y2 = region.box
    width, height = font * (0.58 * len(_tag_text(region)) + 0.9), font * 1.5
    for x, y in ((x1, y1 - height), (x1, y1), (x2 - width, y1), (x1, y2), (x1, y2 - height)):
        rect = Rect(max(0.0, min(x, regions.width - width)), y, width, height)
        if 0 <= y <= regions.height - height and not any(rect.overlaps(other) for other in taken):
            return rect
    return None


# --- the graph -------------------------------------------------------------------------------------------------------


@dataclass
class Node:
    """A node: an entity, a region, or a relation, which is the label of an edge.

    Attributes:
        kind: `entity`, `region` or `relation`.
        lines: Its text.
        title: The text in full, shown under the mouse.
        strong: It is the answer or the relation of the path.
        x, y: Its centre in SVG units.
    """

    kind: str
    lines: list[str]
    title: str
    strong: bool = False
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        """Width in SVG units, by the number of characters."""
        return CHARACTER * max(map(len, self.lines)) + (10 if self.kind == "relation" else 24)

    @property
    def height(self) -> float:
        """Height in SVG units, by the number of lines."""
        return LINE * len(self.lines) + (2 if self.kind == "relation" else 14)


@dataclass(frozen=True)
class Edge:
    """A line from (x1, y1) to the rim of a node at (x2, y2).

    `kind` is `out` (entity to relation), `in` (relation to entity, with an arrow) or `seen` (region to entity).
    """

    x1: float
    y1: float
    x2: float
    y2: float
    kind: str
    strong: bool


@dataclass(frozen=True)
class DrawnGraph:
    """The graph of an answer's facts, and the rectangle that holds it."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    view: Rect


def draw_graph(answer: Answer) -> DrawnGraph | None:
    """Lay out the entities of the facts, the relations between them and the regions that name them.

    Columns stand for the distance from what was seen or, where nothing seen is named, from the answer; a relation
    stands on the line between its entities. (A force layout was tried: with wide labels it covers its own edges.)

    Returns:
        None if there are no facts.
    """
    import networkx  # takes a tenth of a second, and the terminal view does without

    facts = answer.facts[:GRAPH_FACTS]
    if not facts:
        return None
    graph = networkx.Graph()
    nodes: dict[Key, Node] = {}
    for fact in facts:
        for name in (fact.head, fact.tail):
            is_answer = name.casefold() == answer.answer.casefold()
            nodes.setdefault(("entity", name.casefold()), Node("entity", _lines(name), name, is_answer))
        graph.add_edge(*_ends(fact))
        if fact.seen is not None:
            name = answer.regions.regions[fact.seen].label
            seen = Node("region", _lines(f"seen: {name}"), f"seen in the picture: {name}")
            nodes.setdefault(("region", str(fact.seen)), seen)
            graph.add_edge(("region", str(fact.seen)), _ends(fact)[fact.seen_side == "tail"])
    labels = [
        Node("relation", _lines(fact.relation), fact.text, strong=number == 0) for number, fact in enumerate(facts)
    ]
    parts = _columns(graph, nodes)
    _place(graph, nodes, parts, _column_centres(nodes, parts, max(label.width for label in labels)))
    for fact, label in zip(facts, labels, strict=True):
        _place_label(label, *(nodes[end] for end in _ends(fact)))
    for _ in range(100):
        if not any([_push_apart(a, b) for a, b in combinations(labels, 2)]):
            break
    everything = (*nodes.values(), *labels)
    return DrawnGraph(everything, tuple(_edges(graph, nodes, facts, labels)), _around(everything))


def _lines(text: str) -> list[str]:
    return wrap(plain(text), 22, max_lines=2, placeholder=" …") or ["…"]


def _ends(fact: AnswerFact) -> tuple[Key, Key]:
    return ("entity", fact.head.casefold()), ("entity", fact.tail.casefold())


def _columns(graph: networkx.Graph[Key], nodes: Mapping[Key, Node]) -> list[list[list[Key]]]:
    """Return the columns of each part that hangs together; the first column holds regions only and may be empty."""
    import networkx

    parts = []
    for component in networkx.connected_components(graph):
        keys = [key for key in nodes if key in component]  # in the order of the facts
        seen = [key for key in keys if key[0] == "region"]
        starts = seen or [key for key in keys if nodes[key].strong] or keys[:1]
        layers = [sorted(layer, key=keys.index) for layer in networkx.bfs_layers(graph, starts)]
        parts.append(layers if seen else [[], *layers])
    return parts


def _column_centres(nodes: Mapping[Key, Node], parts: Sequence[list[list[Key]]], label_width: float) -> list[float]:
    """Return x of each column; the columns of all parts stand in line."""
    left, centres = 0.0, []
    for layers in zip_longest(*parts, fillvalue=[]):
        width = max((nodes[key].width for layer in layers for key in layer), default=0.0)
        centres.append(left + width / 2)
        left += width + COLUMN_GAP + label_width if left else (width + COLUMN_GAP if width else 0.0)
    return centres


def _place(
    graph: networkx.Graph[Key], nodes: Mapping[Key, Node], parts: Sequence[list[list[Key]]], centres: Sequence[float]
) -> None:
    """Give every node its place, the parts one below the other; each column is centred in the height of its part."""
    top = 0.0
    for layers in parts:
        heights = [sum(nodes[key].height + ROW_GAP for key in layer) for layer in layers]
        placed: set[Key] = set()
        for layer, height, centre in zip(layers, heights, centres, strict=False):
            y = top + (max(heights) - height) / 2
            # A node stands about as high as those before it that it hangs on.
            for key in sorted(layer, key=lambda key: _mean(nodes[k].y for k in graph[key] if k in placed)):
                nodes[key].x, nodes[key].y = centre, y + (nodes[key].height + ROW_GAP) / 2
                y += nodes[key].height + ROW_GAP
            placed.update(layer)
        top += max(heights) + ROW_GAP


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def _place_label(label: Node, head: Node, tail: Node) -> None:
    """Put a relation on the line between its entities, nearer to the right one, where lines have fanned out."""
    left, right = (head, tail) if head.x <= tail.x else (tail, head)
    if left.x == right.x:  # two of one column: beside them
        label.x = left.x + max(left.width, right.width) / 2 + label.width / 2 + ROW_GAP
        label.y = (left.y + right.y) / 2
        return
    start, end = left.x + left.width / 2, right.x - right.width / 2
    label.x = start + 0.6 * (end - start)
    label.y = left.y + (label.x - left.x) / (right.x - left.x) * (right.y - left.y)


def _push_apart(a: Node, b: Node) -> bool:
    """Move two nodes that overlap up and down until they do not; say whether they had to be moved."""
    lap = (a.height + b.height) / 2 + 2 - abs(a.y - b.y)
    if lap <= 0.01 or (a.width + b.width) / 2 <= abs(a.x - b.x):
        return False
    step = lap / 2 if a.y <= b.y else -lap / 2
    a.y, b.y = a.y - step, b.y + step
    return True


def _edges(
    graph: networkx.Graph[Key], nodes: Mapping[Key, Node], facts: Sequence[AnswerFact], labels: Sequence[Node]
) -> Iterator[Edge]:
    """Yield the two halves of each fact, the first fact last so that it lies on top, and what was seen before all."""
    for a, b in graph.edges:
        if "region" in (a[0], b[0]):
            region, entity = (a, b) if a[0] == "region" else (b, a)
            yield _edge(nodes[region], nodes[entity], "seen")
    for fact, label in reversed(list(zip(facts, labels, strict=True))):
        head, tail = _ends(fact)
        yield _edge(nodes[head], label, "out", strong=label.strong)
        yield _edge(label, nodes[tail], "in", strong=label.strong)


def _edge(a: Node, b: Node, kind: str, *, strong: bool = False) -> Edge:
    """Draw from the centre of `a`, which covers it, to the rim of `b`, a little off for the tip of an arrow."""
    dx, dy = b.x - a.x, b.y - a.y
    tip = 2.0 if kind == "in" else 0.0
    part = min((b.width / 2 + tip) / max(abs(dx), 1e-6), (b.height / 2 + tip) / max(abs(dy), 1e-6), 1.0)
    return Edge(a.x, a.y, b.x - part * dx, b.y - part * dy, kind, strong)


def _around(nodes: Sequence[Node], margin: float = 14.0) -> Rect:
    left = min(n.x - n.width / 2 for n in nodes) - margin
    top = min(n.y - n.height / 2 for n in nodes) - margin
    right = max(n.x + n.width / 2 for n in nodes) + margin
    bottom = max(n.y + n.height / 2 for n in nodes) + margin
    return Rect(left, top, right - left, bottom - top)
