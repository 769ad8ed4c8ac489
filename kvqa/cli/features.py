"""`kvqa features`: features of other programs, or made here, in a folder that is read memory-mapped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from kvqa.data.features import FeatureManifest

app = typer.Typer(no_args_is_help=True, help="Features of images: convert, make and check them.")

SHOWN = 5


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A .tsv, .h5 or .npz file, or a folder of .npz files.")],
    out: Annotated[Path, typer.Option(help="Folder of the features.")],
    sizes: Annotated[
        Path | None, typer.Option(help="JSON of image id to [width, height], where the source lacks it.")
    ] = None,
    ids: Annotated[Path | None, typer.Option(help="JSON of image ids by row, where an HDF5 file lacks them.")] = None,
    max_regions: Annotated[int | None, typer.Option(help="Refuse images with more regions.")] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out and list what is broken.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing feature folder.")] = False,
    quiet: Annotated[bool, typer.Option(help="Print nothing but errors.")] = False,
) -> None:
    """Convert region features into a folder that opens at once and is read memory-mapped."""
    from kvqa.data.feature_files import write_features
    from kvqa.data.feature_formats import read_features
    from kvqa.progress import build_progress

    started = time.perf_counter()
    items = read_features(source, sizes=sizes, ids=ids)
    with build_progress(Console(stderr=True, quiet=quiet)) as advance:
        manifest = write_features(
            items,
            out,
            source=source.name,
            max_regions=max_regions,
            skip_broken=skip_broken,
            overwrite=overwrite,
            advance=advance,
        )
    show_written(manifest, out, started, Console(quiet=quiet))


@app.command()
def extract(
    photos: Annotated[Path, typer.Argument(help="Folder of photos, searched to any depth.")],
    model: Annotated[str, typer.Option(help="Vision model of transformers, such as a MobileNet or ViT: folder or id.")],
    out: Annotated[Path, typer.Option(help="Folder of the features.")],
    short: Annotated[int, typer.Option(help="Pixels that the shorter side of a photo is brought to.")] = 256,
    size: Annotated[int, typer.Option(help="Side of the square that is cut out of the middle.")] = 224,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out and list damaged photos.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing feature folder.")] = False,
    quiet: Annotated[bool, typer.Option(help="Print nothing but errors.")] = False,
) -> None:
    """Make grid features of your own photos: what a vision model sees in each cell of the picture."""
    from kvqa.data.feature_files import write_features
    from kvqa.models.grid import grid_features, photo_paths
    from kvqa.progress import build_progress

    started = time.perf_counter()
    paths = photo_paths(photos)
    with build_progress(Console(stderr=True, quiet=quiet)) as advance:
        manifest = write_features(
            grid_features(paths, model, short=short, size=size),
            out,
            source=f"{photos.name}, {model}",
            skip_broken=skip_broken,
            overwrite=overwrite,
            advance=advance,
        )
    show_written(manifest, out, started, Console(quiet=quiet))


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of features.")],
    max_regions: Annotated[int | None, typer.Option(help="Refuse images with more regions.")] = None,
    quiet: Annotated[bool, typer.Option(help="Print nothing but errors.")] = False,
) -> None:
    """Check every file and every row of a feature folder."""
    from kvqa.data.feature_files import check_folder
    from kvqa.progress import build_progress

    with build_progress(Console(stderr=True, quiet=quiet)) as advance:
        manifest = check_folder(folder, max_regions=max_regions, advance=advance)
    counts = f"{manifest.images:,} images, {manifest.regions:,} regions of width {manifest.width}"
    Console(quiet=quiet).print(Text(f"{folder} is sound: {counts}", style="bold"), soft_wrap=True)


def show_written(manifest: FeatureManifest, out: Path, started: float, console: Console) -> None:
    """Print what was written and what was left out."""
    for reason in list(manifest.left_out.values())[:SHOWN]:
        console.print(Text(f"left out: {reason}", style="yellow"), soft_wrap=True)
    if manifest.left_out:
        console.print(Text(f"{len(manifest.left_out):,} left out, all named in {out / 'manifest.json'}"))
    counts = f"{manifest.images:,} images, {manifest.regions:,} regions of width {manifest.width}"
    console.print(Text(f"{out}: {counts}, {time.perf_counter() - started:.1f} s", style="bold"), soft_wrap=True)
