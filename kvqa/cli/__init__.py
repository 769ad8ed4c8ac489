"""The command line: each command is a thin wrapper over a plain function, in a file of its own.

What a user did wrong ends in one line on stderr and exit code 2; Ctrl-C ends in exit code 130. Heavy libraries are
imported inside the commands, so that `kvqa --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from kb.errors import KnowledgeError
from kvqa.cli import (
    answer,
    attack,
    compare,
    contrast,
    data,
    evaluate,
    features,
    index_kb,
    knowledge,
    samples,
    score,
    train,
)
from kvqa.errors import InputError

COMMANDS = (
    answer.answer,
    index_kb.index_kb,
    train.train,
    evaluate.evaluate,
    compare.compare,
    score.score,
    attack.attack,
    samples.fetch_detector,
    samples.demo,
)
"""Every command, in the order of `kvqa --help`; a command is named after its function."""

GROUPS: dict[str, typer.Typer] = {
    "kb": knowledge.app,
    "contrast": contrast.app,
    "data": data.app,
    "features": features.app,
}
"""Groups of commands by name, such as `kvqa kb …`."""


class Commands(TyperGroup):
    """All commands, with the one policy for errors."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; typer has no options whose value may be left out, so `--ray` gets its value here."""
        if args[:1] == ["index-kb"]:
            args = index_kb.with_ray_here(args)
        return super().parse_args(ctx, args)

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


for _command in COMMANDS:
    app.command()(_command)
for _name, _group in GROUPS.items():
    app.add_typer(_group, name=_name)
