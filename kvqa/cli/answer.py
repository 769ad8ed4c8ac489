"""`kvqa answer`: a photo and a question to an answer with its facts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from PIL import Image

    from kvqa.answering import Answer
    from kvqa.vision.regions import Regions


def answer(
    image: Annotated[Path, typer.Option(help="The photo.")],
    question: Annotated[str, typer.Option(help="The question, in English.")],
    kb: Annotated[Path | None, typer.Option(help="Knowledge base; default: the packaged everyday facts.")] = None,
    model: Annotated[Path | None, typer.Option(help="Model folder; default: the released model.")] = None,
    detector: Annotated[Path | None, typer.Option(help="YOLOX detector in ONNX form.")] = None,
    regions: Annotated[Path | None, typer.Option(help="Region file of the photo, instead of a detector.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Answers and facts to show.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON on stdout.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write the answer as an HTML page to this file.")] = None,
) -> None:
    """Answer a question about a photo and show the facts that the answer rests on."""
    from kvqa.explain import render_html, render_terminal

    found, picture = answer_photo(image, question, kb=kb, model=model, detector=detector, regions=regions, top=top_k)
    if html is not None:
        render_html(found, picture, html)
        Console(stderr=True).print(Text(f"page: {html}"), soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        render_terminal(found, Console())


def answer_photo(
    image: Path,
    question: str,
    *,
    kb: Path | None = None,
    model: Path | None = None,
    detector: Path | None = None,
    regions: Path | None = None,
    top: int = 5,
) -> tuple[Answer, Image.Image]:
    """Answer `question` about the photo at `image`; also return the photo, upright and RGB.

    What can be checked quickly is checked first: question, photo, regions or detector, knowledge base, model.

    Args:
        kb: Knowledge-base folder; None is that of the packaged everyday facts, built on first use.
        model: Model folder; None is the released one.
        detector: ONNX file; None looks where `find_detector` says. Not used when `regions` are given.
        regions: Region file of this photo.
        top: Alternatives and facts to report.

    Raises:
        InputError, KnowledgeError: if any of these cannot be used.
    """
    from kvqa.data.example import check_question
    from retrieval.manifest import Manifest

    question = check_question(question)
    started = time.perf_counter()
    picture, seen = see(image, regions=regions, detector=detector)
    detecting = 1000 * (time.perf_counter() - started)
    if kb is not None:
        Manifest.read(kb).check_files(kb)  # before torch is loaded, which takes seconds

    from kvqa.answering import Answerer, Timer
    from kvqa.demo import default_kb_shown
    from kvqa.models.checkpoint import RELEASED, load_model, read_manifest

    read_manifest(model or RELEASED)  # before the minutes that a knowledge base may take
    folder = kb or default_kb_shown(Console(stderr=True))
    answerer = Answerer.open(load_model(model or RELEASED), folder, top=top)
    timer = Timer()
    timer.steps["detect"] = round(detecting, 1)
    return answerer.answer(seen, question, timer=timer), picture


def see(image: Path, *, regions: Path | None = None, detector: Path | None = None) -> tuple[Image.Image, Regions]:
    """Read the photo and what is to be seen in it: from a region file, or else by the detector.

    Raises:
        InputError: if the photo, the region file or the detector cannot be used, or regions are of another photo.
    """
    from kvqa.data.images import read_image
    from kvqa.vision.detector_file import find_detector
    from kvqa.vision.regions import read_regions

    picture = read_image(image)
    if regions is not None:
        return picture, read_regions(regions, picture.size)
    network = find_detector(detector)
    from kvqa.vision.detector import YoloxDetector

    return picture, YoloxDetector(network).detect(picture, name=image.name)
