"""The demo: questions about photos that are at hand, answered with the packaged everyday facts; works offline."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kb.errors import KnowledgeError
from kvqa.cache import cache_folder
from kvqa.data.demo import DEMO, demo_photo_path, demo_regions_path
from kvqa.errors import InputError
from kvqa.progress import build_progress
from retrieval.manifest import Manifest, file_sha256

if TYPE_CHECKING:
    from kvqa.answering import Answer

Progress = Callable[[str, int, int], None]


def run_demo(out: Path, console: Console, *, kb: Path | None = None, model: Path | None = None) -> list[Answer]:
    """Answer every question of the demo: the first in full, all in one table, and an HTML page each under `out`.

    Args:
        kb: Knowledge base; None is that of the packaged everyday facts, built on first use.
        model: Model folder; None is the released one.

    Raises:
        InputError, KnowledgeError: if photos, model or knowledge base are missing or damaged, or `out` cannot be
            written.
    """
    # Imported here: they bring torch, and `kvqa --help` knows this module.
    from kvqa.answering import Answerer, Timer
    from kvqa.data.images import read_image
    from kvqa.explain import render_html, render_terminal
    from kvqa.models.checkpoint import RELEASED, load_model, read_manifest
    from kvqa.vision.regions import read_regions

    photos = [demo_photo_path(item.name) for item in DEMO]
    read_manifest(model or RELEASED)  # before the minutes that a knowledge base may take
    folder = kb or default_kb_shown(console)
    answerer = Answerer.open(load_model(model or RELEASED), folder)
    answers, pages = [], []
    for number, (item, photo) in enumerate(zip(DEMO, photos, strict=True), 1):
        timer = Timer()
        with timer.step("detect"):
            image = read_image(photo)
            regions = read_regions(demo_regions_path(item.name), image.size)
        answers.append(answerer.answer(regions, item.question, timer=timer))
        pages.append(out / f"{number}-{item.name}.html")
        render_html(answers[-1], image, pages[-1])
        if number == 1:
            render_terminal(answers[-1], console)
    console.print(Text("All questions", style="bold"))
    console.print(overview([item.name for item in DEMO], answers))
    console.print()
    console.print(Text(f"Pages with photo, facts and graph: {out}{os.sep}"))
    for page in pages:
        console.print(Text(f"  {page.name}"))
    return answers


def overview(names: list[str], answers: list[Answer]) -> Table:
    """Return one row for each answer: name of the photo, question, answer, confidence, the fact that carries it."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("photo", "question", "answer"):
        table.add_column(name, overflow="fold")
    table.add_column("sure", justify="right")
    table.add_column("because", overflow="fold", style="dim")
    for name, answer in zip(names, answers, strict=True):
        style = "bold green" if answer.supported else "yellow"
        table.add_row(
            name,
            Text(answer.question),
            Text(answer.answer or "no answer", style=style),
            f"{100 * answer.confidence:.0f}%",
            Text(answer.facts[0].text if answer.facts else ""),
        )
    return table


def default_kb_shown(console: Console) -> Path:
    """Return the everyday knowledge base; where it has to be built first, show how far that is."""
    found = _sound(default_kb_folder())
    if found is not None:
        return found
    console.print(Text("Building the knowledge base of everyday facts, once; it is kept in"))
    console.print(Text(f"  {default_kb_folder()}"))
    with build_progress(console) as progress:
        return default_kb(progress=progress)


def default_kb(*, progress: Progress = lambda step, done, total: None) -> Path:
    """Return the folder of the everyday knowledge base in the user's cache; build it if it is missing or damaged.

    Its name holds the checksums of facts and sentence encoder, so new facts or another encoder make a new folder.

    Raises:
        InputError: if the cache cannot be written.
        KnowledgeError: if the facts or the sentence encoder cannot be read.
    """
    from retrieval.builder import build_kb  # brings faiss and SQLAlchemy

    folder = default_kb_folder()
    if _sound(folder) is not None:
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Built under a name of its own, so that two first runs at the same time do not meet.
        with tempfile.TemporaryDirectory(prefix=".building-", dir=folder.parent) as workplace:
            fresh = Path(workplace, "kb")
            build_kb([everyday_facts()], fresh, progress=progress)
            if _sound(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)
                fresh.rename(folder)
    except OSError as error:
        raise InputError(
            f"the knowledge base cannot be kept in {folder.parent} ({error.strerror}); set KVQA_CACHE to another folder"
        ) from None
    return folder


def default_kb_folder() -> Path:
    """Return where the everyday knowledge base lies or will lie: named after its facts and its sentence encoder."""
    from retrieval.embedding import SentenceEncoder

    return cache_folder() / f"everyday-{file_sha256(everyday_facts())[:12]}-{SentenceEncoder().sha256[:12]}"


def everyday_facts() -> Path:
    """Return the packaged table of everyday facts."""
    return Path(str(files("kb") / "data" / "everyday.tsv"))


def _sound(folder: Path) -> Path | None:
    """Return `folder` if a complete knowledge base lies there, else None."""
    try:
        Manifest.read(folder).check_files(folder)
    except KnowledgeError:
        return None
    return folder
