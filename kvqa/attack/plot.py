"""The plot of an attack report."""

from __future__ import annotations

from pathlib import Path

from kvqa.attack.curves import AttackReport

LOOKS = {"random": ("#7f7f7f", ":", "s"), "fgsm": ("#1f77b4", "--", "o"), "ifgsm": ("#2ca02c", "-.", "^")}
OTHER = ("#d62728", "-", "D")


def plot_curves(report: AttackReport, path: Path) -> None:
    """Write accuracy against the size of each attack as a picture, in the form that the suffix of `path` says.

    Raises:
        ValueError: if matplotlib does not know the suffix.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for method, points in report.curves.items():
        colour, line, marker = LOOKS.get(method, OTHER)
        axes.errorbar(
            [p.eps for p in points],
            [p.accuracy for p in points],
            yerr=[p.error for p in points],
            label=method,
            color=colour,
            linestyle=line,
            marker=marker,
            markersize=4,
            capsize=2,
        )
    axes.set_xlabel(f"ε ({report.eps_unit}, {report.norm})")
    axes.set_ylabel(f"{report.target}, %")
    axes.set_ylim(0, None)
    axes.set_title(f"{report.on} attacked, {report.examples:,} examples, ± standard error", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend()
    partial = path.with_name(f".partial-{path.name}")
    figure.savefig(partial, dpi=150)
    partial.replace(path)
