from dataclasses import replace
from itertools import combinations

import pytest

from kvqa.answering import Answer, AnswerFact, Step
from kvqa.drawing import GRAPH_FACTS, Node, Rect, draw_boxes, draw_graph, plain
from kvqa.vision.regions import Region, Regions


def fact(head: str, relation: str, tail: str, seen: int | None = None, side: str | None = None) -> AnswerFact:
    return AnswerFact(0, head, relation, tail, f"{head} {relation} {tail}", "made up", 0.5, 0.5, 0.5, seen, side)


REGIONS = Regions(
    "street.jpg",
    400,
    300,
    (
        Region("cat", 0.9, (10, 40, 200, 280)),
        Region("cat", 0.8, (12, 42, 198, 278)),
        Region("dog", 0.7, (220, 0, 400, 300)),
        Region("street", 0.5, None, "tag"),
    ),
)
FACTS = (
    fact("cat", "CapableOf", "hunt mice", 0, "head"),
    fact("cat", "IsA", "animal", 0, "head"),
    fact("dog", "IsA", "animal", 2, "head"),
    fact("wolf", "RelatedTo", "dog", 2, "tail"),
    fact("cup", "UsedFor", "drinking a very large amount of coffee on a cold winter morning"),
)
ANSWER = Answer(
    image="street.jpg",
    question="What can the animal do?",
    answer="hunt mice",
    confidence=0.6,
    supported=True,
    answers=(),
    facts=FACTS,
    path=(Step("region", "cat", 1), Step("entity", "cat"), Step("answer", "hunt mice")),
    regions=REGIONS,
    timings_ms={},
)


def rect(node: Node) -> Rect:
    return Rect(node.x - node.width / 2, node.y - node.height / 2, node.width, node.height)


def node(answer: Answer, kind: str, text: str) -> Node:
    graph = draw_graph(answer)
    assert graph is not None
    return next(n for n in graph.nodes if n.kind == kind and " ".join(n.lines) == text)


def test_only_regions_with_a_box_are_drawn_and_that_of_the_path_lies_on_top() -> None:
    drawn = draw_boxes(ANSWER)
    assert [box.text for box in drawn.boxes] == ["dog 0.70", "cat 0.90", "cat 0.80"]
    assert [box.on_path for box in drawn.boxes] == [False, False, True]
    assert drawn.boxes[-1].rect == Rect(12, 42, 186, 236)


def test_labels_lie_inside_the_photo_and_on_no_other_label() -> None:
    tags = [box.tag for box in draw_boxes(ANSWER).boxes]
    assert all(tag is not None for tag in tags)
    for tag in tags:
        assert tag.x >= 0 and tag.x + tag.width <= 400 and tag.y >= 0 and tag.y + tag.height <= 300
    assert not any(a.overlaps(b) for a, b in combinations(tags, 2))


def test_a_label_without_room_is_left_out_but_its_box_is_not() -> None:
    crowd = tuple(Region("person in a crowd", 0.5, (0, 0, 60, 40)) for _ in range(12))
    drawn = draw_boxes(replace(ANSWER, regions=Regions("", 60, 40, crowd), path=()))
    assert len(drawn.boxes) == 12 and any(box.tag is None for box in drawn.boxes)


def test_without_facts_there_is_no_graph() -> None:
    assert draw_graph(replace(ANSWER, facts=())) is None


def test_the_graph_holds_each_entity_once_each_fact_and_each_region_that_is_named() -> None:
    graph = draw_graph(ANSWER)
    assert graph is not None
    assert sorted(n.title for n in graph.nodes if n.kind == "entity") == sorted(
        {name for f in FACTS for name in (f.head, f.tail)}
    )
    assert len([n for n in graph.nodes if n.kind == "relation"]) == len(FACTS)
    assert [n.lines for n in graph.nodes if n.kind == "region"] == [["seen: cat"], ["seen: dog"]]
    assert [n.title for n in graph.nodes if n.strong] == ["hunt mice", "cat CapableOf hunt mice"]


def test_no_two_nodes_overlap_and_all_lie_in_view() -> None:
    graph = draw_graph(ANSWER)
    assert graph is not None
    rects = [rect(n) for n in graph.nodes]
    assert not any(a.overlaps(b) for a, b in combinations(rects, 2))
    view = graph.view
    assert all(view.x <= r.x and r.x + r.width <= view.x + view.width for r in rects)
    assert all(view.y <= r.y and r.y + r.height <= view.y + view.height for r in rects)


def test_seen_things_are_left_of_what_they_name_and_facts_lead_on_to_the_right() -> None:
    seen, cat, mice = (
        node(ANSWER, kind, text) for kind, text in (("region", "seen: cat"), ("entity", "cat"), ("entity", "hunt mice"))
    )
    assert seen.x < cat.x < node(ANSWER, "relation", "CapableOf").x < mice.x


def test_every_fact_is_an_arrow_from_head_to_tail() -> None:
    graph = draw_graph(ANSWER)
    assert graph is not None
    wolf, related, dog = (
        node(ANSWER, kind, text) for kind, text in (("entity", "wolf"), ("relation", "RelatedTo"), ("entity", "dog"))
    )
    out = next(e for e in graph.edges if e.kind == "out" and (e.x1, e.y1) == (wolf.x, wolf.y))
    arrow = next(e for e in graph.edges if e.kind == "in" and (e.x1, e.y1) == (related.x, related.y))
    assert abs(out.x2 - related.x) <= related.width / 2 + 0.01 and abs(out.y2 - related.y) <= related.height / 2 + 0.01
    # The tip stands two units off the rim of the tail.
    assert abs(arrow.x2 - dog.x) == pytest.approx(dog.width / 2 + 2) or abs(arrow.y2 - dog.y) == pytest.approx(
        dog.height / 2 + 2
    )
    assert [e.strong for e in graph.edges if e.kind == "in"][-1], "the fact of the path is drawn last"


def test_a_region_is_linked_to_the_side_that_it_names() -> None:
    graph = draw_graph(replace(ANSWER, facts=(fact("wolf", "RelatedTo", "Dog", 2, "tail"),)))
    assert graph is not None
    dog = next(n for n in graph.nodes if n.title == "Dog")
    link = next(e for e in graph.edges if e.kind == "seen")
    assert abs(link.x2 - dog.x) <= dog.width / 2 + 0.01 and abs(link.y2 - dog.y) <= dog.height / 2 + 0.01


@pytest.mark.parametrize(
    "facts",
    [
        (fact("cat", "RelatedTo", "cat", 0),),
        (fact("cat", "IsA", "animal"), fact("cat", "RelatedTo", "animal"), fact("animal", "HasA", "cat")),
        (fact("", "", ""),),
        tuple(fact("cat", "Desires", f"thing {n}", 0) for n in range(30)),
    ],
    ids=["loop", "parallel", "empty texts", "many"],
)
def test_odd_graphs_are_drawn(facts: tuple[AnswerFact, ...]) -> None:
    graph = draw_graph(replace(ANSWER, facts=facts))
    assert graph is not None
    assert len([n for n in graph.nodes if n.kind == "relation"]) == min(len(facts), GRAPH_FACTS)
    numbers = [v for e in graph.edges for v in (e.x1, e.y1, e.x2, e.y2)]
    assert all(abs(v) < 1e5 for v in numbers)


def test_the_same_answer_gives_the_same_picture() -> None:
    assert draw_graph(ANSWER) == draw_graph(ANSWER)


def test_plain_takes_away_what_a_terminal_would_obey() -> None:
    assert plain("a\x1b[31m red\n cat\x00 ") == "a [31m red cat"
