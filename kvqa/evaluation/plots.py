"""Plots for pages, as SVG text. Each function takes numbers and knows nothing of runs."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # matplotlib takes a second to import; who draws nothing shall not wait for it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, GRID = "#1d2327", "#636c74", "#e2e0da"
ACCENT, BLUE, WARN = "#0e7a6d", "#3f6fb5", "#b5651d"
WIDTH = 6.6
"""Inches."""


def interval_plot(
    rows: Sequence[tuple[str, float, tuple[float, float] | None]], *, label: str, centre: float | None = None
) -> str:
    """Return a row for each (name, value, interval): a dot on a line from the low to the high end.

    Args:
        label: Of the horizontal axis.
        centre: Where a vertical line stands, such as 0 for differences.
    """
    figure, axes = _figure(0.9 + 0.3 * len(rows))
    for y, (_, value, interval) in enumerate(rows):
        colour = _side(interval, centre)
        if interval is not None:
            axes.plot(interval, [y, y], color=colour, linewidth=3, alpha=0.45, solid_capstyle="round")
        axes.plot([value], [y], marker="o", color=colour, markersize=6)
    if centre is not None:
        axes.axvline(centre, color=SOFT, linewidth=1)
    _name_rows(axes, [name for name, _, _ in rows])
    axes.set_xlabel(label)
    return _svg(figure)


def bar_plot(rows: Sequence[tuple[str, float, tuple[float, float] | None]], *, label: str, line: float | None) -> str:
    """Return a horizontal bar for each (name, value, interval), with the value behind it.

    Args:
        line: Where a dotted line stands, such as the score over everything; None is nowhere.
    """
    figure, axes = _figure(0.9 + 0.3 * len(rows))
    ends = [value if interval is None else max(value, interval[1]) for _, value, interval in rows]
    furthest = max(ends, default=0.0)
    for y, ((_, value, interval), end) in enumerate(zip(rows, ends, strict=True)):
        axes.barh(y, value, color=ACCENT, alpha=0.75, height=0.62)
        if interval is not None:
            axes.plot(interval, [y, y], color=INK, linewidth=1.2)
        axes.text(end + 0.012 * max(furthest, 1), y, f"{value:.1f}", va="center", fontsize=8, color=SOFT)
    if line is not None:
        axes.axvline(line, color=SOFT, linewidth=1, linestyle=":")
    axes.set_xlim(0, 1.13 * max(furthest, line or 0, 1))  # room for the number behind the longest bar
    _name_rows(axes, [name for name, _, _ in rows])
    axes.set_xlabel(label)
    return _svg(figure)


def calibration_plot(bins: Sequence[Mapping[str, Any]]) -> str:
    """Return accuracy over confidence, and below it how many questions each bar stands for.

    Args:
        bins: As `kvqa.evaluation.summary.calibration` returns them.
    """
    figure, axes = _figure(4.6, rows=(3, 1))
    top, below = axes
    filled = [b for b in bins if b["questions"]]
    width = bins[0]["to"] - bins[0]["from"]
    middles = [(b["from"] + b["to"]) / 2 for b in filled]
    top.plot([0, 100], [0, 100], color=SOFT, linewidth=1, linestyle=":")
    top.bar(middles, [b["accuracy"] for b in filled], width=0.9 * width, color=ACCENT, alpha=0.35)
    top.plot(
        [b["confidence"] for b in filled], [b["accuracy"] for b in filled], marker="o", color=ACCENT, linewidth=1.5
    )
    top.set_ylim(0, 100)
    top.set_ylabel("right, %")
    top.tick_params(labelbottom=False)
    below.bar(middles, [b["questions"] for b in filled], width=0.9 * width, color=BLUE, alpha=0.6)
    below.set_ylabel("questions")
    below.set_xlabel("confidence, %")
    for part in axes:
        part.set_xlim(0, 100)
    return _svg(figure)


def curve_plot(points: Mapping[str, Sequence[tuple[float, float]]], *, x_label: str, y_label: str) -> str:
    """Return a line for each of one or two names through its (x, y), over a logarithmic x axis."""
    figure, axes = _figure(2.9)
    for colour, above, (name, values) in zip((ACCENT, BLUE), (6, -13), points.items(), strict=False):
        xs, ys = zip(*values, strict=True)
        axes.plot(xs, ys, marker="o", color=colour, linewidth=1.5, label=name)
        for x, y in values:
            axes.annotate(
                f"{y:.1f}", (x, y), (0, above), textcoords="offset points", ha="center", fontsize=8, color=SOFT
            )
    axes.set_xscale("log")
    ticks = sorted({x for values in points.values() for x, _ in values})
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 108)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if len(points) > 1:
        axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def _side(interval: tuple[float, float] | None, centre: float | None) -> str:
    """Return the colour of a difference: grey where its interval holds the centre."""
    if centre is None or interval is None:
        return ACCENT
    return ACCENT if interval[0] > centre else WARN if interval[1] < centre else SOFT


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first row on top
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _figure(height: float, rows: tuple[int, ...] = (1,)) -> tuple[Figure, Any]:
    """Return a figure that belongs to no window, with one axes, or an array of them below each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(len(rows), 1, gridspec_kw={"height_ratios": rows})
    for part in [axes] if len(rows) == 1 else axes:
        part.spines[["top", "right"]].set_visible(False)
        part.spines[["left", "bottom"]].set_color(GRID)
        part.tick_params(colors=INK, labelsize=8.5, length=0)
        part.xaxis.label.set(color=SOFT, fontsize=8.5)
        part.yaxis.label.set(color=SOFT, fontsize=8.5)
    return figure, axes


def _svg(figure: Figure) -> str:
    """Return the figure as SVG; equal figures give equal text."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "kvqa", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
