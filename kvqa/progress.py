"""How far the building of a knowledge base is, as bars in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class Rate(ProgressColumn):
    """Records a second."""

    def render(self, task: Task) -> Text:
        """Return the rate of `task`, nothing while it is not known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s", style="dim")


@contextmanager
def build_progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar for each step, and give the function to call with step, what is done, and the total or 0.

    A step counts as finished when the next one begins. On a console that is no terminal only the end is printed.
    """
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=28), MofNCompleteColumn(), Rate())
    progress = Progress(*columns, TimeRemainingColumn(), console=console)
    steps: dict[str, Task] = {}

    def finish() -> None:
        for task in steps.values():
            if not task.finished:
                done = max(1, int(task.completed))
                progress.update(task.id, total=done, completed=done)

    def advance(step: str, done: int, total: int) -> None:
        if not steps:
            progress.start()  # only now: an error before the first step shall be all that is printed
        if step not in steps:
            finish()
            number = progress.add_task(step, total=None)
            steps[step] = next(task for task in progress.tasks if task.id == number)
        progress.update(steps[step].id, completed=done, total=total or None)

    try:
        yield advance
        finish()
    finally:
        if steps:
            progress.stop()
