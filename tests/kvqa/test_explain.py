import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from kvqa.answering import Alternative, Answer, AnswerFact, Step
from kvqa.errors import InputError
from kvqa.explain import MAX_SIDE, UNSUPPORTED, connectors, data_uri, percent, render_html, render_terminal
from kvqa.vision.regions import Region, Regions

FACT = AnswerFact(1, "cat", "CapableOf", "hunt mice", "A cat can hunt mice.", "everyday", 0.61, 0.72, 0.58, 0, "head")
OTHER = AnswerFact(2, "dog", "IsA", "animal", "A dog is an animal.", "other", 0.04, -0.1, 0.002, None, None)
ANSWER = Answer(
    image="cat.jpg",
    question="What can the animal in this image do?",
    answer="hunt mice",
    confidence=0.824,
    supported=True,
    answers=(Alternative("hunt mice", 0.824), Alternative("sleep", 0.11)),
    facts=(FACT, OTHER),
    path=(
        Step("region", "cat", 0),
        Step("entity", "cat"),
        Step("relation", "CapableOf"),
        Step("entity", "hunt mice"),
        Step("answer", "hunt mice"),
    ),
    regions=Regions("cat.jpg", 400, 300, (Region("cat", 0.9, (10, 40, 200, 280)), Region("home", 0.5, None, "tag"))),
    timings_ms={"detect": 41.2, "total": 98.8},
)
NOTHING = replace(
    ANSWER,
    answer="",
    confidence=0.0,
    supported=False,
    answers=(),
    facts=(),
    path=(),
    regions=Regions("", 400, 300, ()),
)


def terminal(answer: Answer, width: int = 100) -> str:
    stream = io.StringIO()
    render_terminal(answer, Console(file=stream, width=width))
    return stream.getvalue()


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(answer: Answer, folder: Path, image: Image.Image | None = None) -> Page:
    render_html(answer, image, folder / "page.html")
    return Page(folder / "page.html")


# --- terminal --------------------------------------------------------------------------------------------------------


def test_the_terminal_view_says_everything() -> None:
    shown = terminal(ANSWER)
    for text in ("What can the animal", "hunt mice", "82%", "sleep", "11%", "A cat can hunt mice.", "everyday", "61%"):
        assert text in shown
    assert "seen cat → cat — CapableOf → hunt mice → answer hunt mice" in shown
    assert "cat 0.90, home 0.50 (tag)" in shown and "detect 41 · total 99 ms" in shown
    assert UNSUPPORTED not in shown


def test_an_unsupported_answer_comes_with_a_remark() -> None:
    assert UNSUPPORTED in terminal(replace(ANSWER, supported=False))


def test_no_evidence_is_shown_as_no_answer() -> None:
    shown = terminal(NOTHING)
    assert "no answer" in shown and "Facts" not in shown and "Path" not in shown and "nothing" in shown


@pytest.mark.parametrize("width", [24, 40, 80, 200])
def test_the_terminal_view_fits_every_width(width: int) -> None:
    shown = terminal(ANSWER, width)
    assert max(map(len, shown.splitlines())) <= width
    assert "hunt mice" in " ".join(shown.split())


def test_texts_from_elsewhere_cannot_steer_the_terminal() -> None:
    shown = terminal(replace(ANSWER, question="[bold]What\x1b[2J?", facts=(replace(FACT, text="\x1b[31mred [/bold]"),)))
    assert "[bold]What" in shown and "[/bold]" in shown and "\x1b" not in shown


def test_connectors_follow_the_direction_of_the_fact() -> None:
    assert connectors(ANSWER) == ["→", "—", "→", "→"]
    kinds = (
        ("entity", "hunt mice"),
        ("relation", "CapableOf"),
        ("entity", "cat"),
        ("region", "cat"),
        ("answer", "cat"),
    )
    backwards = replace(ANSWER, path=tuple(Step(kind, text) for kind, text in kinds))
    assert connectors(backwards) == ["←", "—", "→", "→"]
    assert connectors(NOTHING) == []


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0%"), (0.001, "<1%"), (0.0051, "1%"), (0.824, "82%"), (1.0, "100%")]
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


# --- page ------------------------------------------------------------------------------------------------------------


def test_the_page_says_everything(tmp_path: Path) -> None:
    found = page(ANSWER, tmp_path, Image.new("RGB", (400, 300), "grey"))
    for text in (
        ANSWER.question,
        "hunt mice",
        "82%",
        "sleep",
        FACT.text,
        OTHER.text,
        "everyday",
        "CapableOf",
        "cat 0.90",
    ):
        assert text in found.text
    assert UNSUPPORTED not in found.text and "prefers-color-scheme: dark" in found.source
    assert UNSUPPORTED in page(replace(ANSWER, supported=False), tmp_path).text


def test_the_page_fetches_and_runs_nothing(tmp_path: Path) -> None:
    found = page(ANSWER, tmp_path, Image.new("RGB", (400, 300), "grey"))
    for tag, attributes in found.elements:
        assert tag not in ("script", "link", "iframe", "object", "embed")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href"):
                assert value is not None and value.startswith("data:image/jpeg;base64,")
    assert "http" not in found.source.replace("http-equiv", "") and "@import" not in found.source
    policy = next(a["content"] for t, a in found.elements if t == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'")


def test_texts_from_elsewhere_are_harmless_in_the_page(tmp_path: Path) -> None:
    evil = "</title><script>alert(1)</script>\"' onload=x <img src=x onerror=alert(1)>"
    hostile = replace(
        ANSWER,
        question=evil,
        answer=evil,
        answers=(Alternative(evil, 0.5), Alternative(evil, 0.4)),
        facts=(replace(FACT, head=evil, relation=evil, tail=evil, text=evil, source=evil),),
        path=tuple(replace(step, text=evil) for step in ANSWER.path),
        regions=Regions(
            evil, 400, 300, (Region(evil, 0.9, (0, 0, 90, 90)), Region(evil, 0.5, None, "caption")), detector=evil
        ),
        timings_ms={evil: 1.0},
    )
    found = page(hostile, tmp_path)
    assert "<script" not in found.source and "<img" not in found.source
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert evil in found.text


def test_the_photo_is_embedded_small_and_the_boxes_lie_over_it_in_its_own_pixels(tmp_path: Path) -> None:
    found = page(replace(ANSWER, regions=replace(ANSWER.regions, width=2000)), tmp_path, Image.new("RGB", (2000, 300)))
    image = next(attributes for tag, attributes in found.elements if tag == "image")
    assert image["width"] == "2000" and image["height"] == "300"
    content = base64.b64decode(str(image["href"]).partition("base64,")[2])
    with Image.open(io.BytesIO(content)) as embedded:
        assert embedded.format == "JPEG" and max(embedded.size) == MAX_SIDE
    box = next(attributes for _, attributes in found.elements if attributes.get("class") == "box path")
    assert (box["x"], box["y"], box["width"], box["height"]) == ("10", "40", "190", "240")


def test_a_small_photo_is_not_blown_up_and_any_mode_will_do() -> None:
    content = base64.b64decode(data_uri(Image.new("L", (40, 30))).partition("base64,")[2])
    with Image.open(io.BytesIO(content)) as embedded:
        assert embedded.size == (40, 30)


def test_bars_stay_inside_their_tracks(tmp_path: Path) -> None:
    odd = replace(OTHER, retrieval=-0.1, score=1.2)
    widths = [
        float(str(attributes["style"]).removeprefix("width: ").removesuffix("%"))
        for tag, attributes in page(replace(ANSWER, facts=(odd,)), tmp_path).elements
        if tag == "i"
    ]
    assert widths and all(0 <= width <= 100 for width in widths)


def test_a_page_without_evidence_or_photo_is_a_page(tmp_path: Path) -> None:
    found = page(NOTHING, tmp_path)
    assert "no answer" in found.text and "nothing" in found.text and "image" not in [tag for tag, _ in found.elements]


def test_the_folder_is_made_and_nothing_else_is_left_in_it(tmp_path: Path) -> None:
    render_html(ANSWER, None, tmp_path / "new" / "page.html")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_a_page_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"page .*file/page.html cannot be written .*; give another path"):
        render_html(ANSWER, None, tmp_path / "file" / "page.html")
