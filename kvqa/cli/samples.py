"""`kvqa fetch-detector` and `kvqa demo`: what a first try needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def fetch_detector(
    sha256: Annotated[str | None, typer.Option(help="Hash that the file must have; default: of the release.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; default: the user's cache.")] = None,
) -> None:
    """Download the object detector (YOLOX-Nano, 3.7 MB)."""
    from kvqa.vision import detector_file

    path = detector_file.fetch_detector(out, sha256=sha256 or detector_file.OFFICIAL_SHA256)
    typer.echo(f"{path}: {detector_file.describe_file(path)}")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pages.")] = Path("demo"),
    kb: Annotated[Path | None, typer.Option(help="Knowledge base; default: the packaged everyday facts.")] = None,
    model: Annotated[Path | None, typer.Option(help="Model folder; default: the released model.")] = None,
) -> None:
    """Answer questions about sample photos; works offline."""
    from kvqa.demo import run_demo

    run_demo(out, Console(), kb=kb, model=model)
