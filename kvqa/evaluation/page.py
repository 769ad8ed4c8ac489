"""`report.html`: a report as one page that needs nothing beside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvqa.errors import InputError
from kvqa.evaluation.plots import bar_plot, calibration_plot, curve_plot, interval_plot
from kvqa.evaluation.printed import PRINTED, REMARK
from kvqa.evaluation.records import Record, read_run
from retrieval.manifest import write_text_safely

if TYPE_CHECKING:  # only for annotations, so that this module stays quick to import
    import jinja2

PAGE = "report.html"
MISTAKES = 25
"""Confident mistakes that the page shows."""
GROUP_VALUES = 14
"""Values of a grouping that are drawn; the table in report.json has all."""

GROUPINGS = {
    "answer_source": "Answer seen in the picture, or named by the knowledge base",
    "visual_concept": "What the question is about",
    "kb_source": "Source of the gold fact",
    "relation": "Relation of the gold fact",
    "seen_answer": "Whether the answer occurs in training",
    "question_word": "Word that asks",
    "question_type": "Question type",
    "answer_type": "Answer type",
    "category": "Category of the question",
    "label": "Right label",
    "picture": "Whether anything is seen in the picture",
    "hop": "Facts needed (hops)",
    "gold_fact": "Retrieval: where the gold fact is",
    "answer_in_facts": "Retrieval: an accepted answer in the first ten facts",
    "answered_by": "What the answer rests on",
}
"""Headings; a grouping that is not named here goes by its own name."""


@dataclass(frozen=True)
class Plot:
    """A plot on a page: its heading, what it shows for who cannot see it, and its address."""

    title: str
    alt: str
    source: str

    @classmethod
    def of(cls, title: str, svg: str, alt: str = "") -> Plot:
        """Put an SVG into a `data:` address, where its names cannot clash with those of another."""
        return cls(title, alt or title, "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii"))


def write_report_page(folder: Path) -> Path:
    """Write `report.html` beside the report and the predictions in `folder`, and return its path.

    Raises:
        InputError: if the folder holds no finished run, or the page cannot be written.
    """
    report, records = read_run(folder)
    page = render("report.html.j2", **report_content(report, records))
    return write_page(folder / PAGE, page)


def write_page(path: Path, page: str) -> Path:
    """Write a page beside its place and rename it, and return its path.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_safely(path, page)
    except OSError as error:
        raise InputError(f"the page {path} cannot be written ({error.strerror}); give another path") from None
    return path


def write_comparison_page(result: Mapping[str, Any], path: Path) -> Path:
    """Write what `kvqa.evaluation.compare.compare` returns as a page, and return its path.

    Raises:
        InputError: if it cannot be written.
    """
    rows = [(plain(name), row["difference"], tuple(row["interval"])) for name, row in result["scores"].items()]
    plot = Plot.of("Differences", interval_plot(rows, label="percent, B − A", centre=0.0))
    return write_page(path, render("compare.html.j2", result=result, plot=plot))


def report_content(report: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Any]:
    """Return what the template of the report shows."""
    primary = report["primary"]
    return {
        "report": report,
        "warnings": _warnings(report),
        "scores": [(name, value, report["intervals"].get(name)) for name, value in report["scores"].items()],
        "main_plots": _main_plots(report),
        "group_plots": _group_plots(report, primary),
        "ablations": _ablations(report, primary),
        "printed": _printed(report),
        "mistakes": _mistakes(records),
        "origin": _origin(report),
        "printed_remark": REMARK,
    }


def _warnings(report: Mapping[str, Any]) -> list[str]:
    overlap = report.get("overlap", {})
    warnings = [overlap["remark"]] if overlap.get("remark") else []
    if overlap.get("questions") and not overlap.get("scores_without"):
        warnings[0] += " No question is left without them: these figures say nothing about new pictures."
    if report.get("with_labels", report["questions"]) < report["questions"]:
        without = report["questions"] - report["with_labels"]
        warnings.append(f"For {without:,} of {report['questions']:,} questions nothing was seen in the picture.")
    if report.get("unscored"):
        warnings.append(
            f"{report['unscored']:,} more questions have no label or are passed over by the official score."
        )
    if report.get("not_scored"):
        warnings.append(f"Not scored: {report['not_scored']}.")
    return warnings


def _main_plots(report: Mapping[str, Any]) -> list[Plot]:
    intervals = {name: tuple(ends) for name, ends in report["intervals"].items()}
    shown = [name for name in intervals if not re.match(r"(recall|prr)_", name)]
    rows = [(plain(name), report["scores"][name], intervals[name]) for name in shown]
    plots = [Plot.of("Scores with 95 % intervals", interval_plot(rows, label="percent"))]
    if any(bin["questions"] for bin in report["calibration"]):
        plots.append(Plot.of("Calibration: is it as sure as it is right?", calibration_plot(report["calibration"])))
    curves = {
        name: [(float(k), report["scores"][f"{stem}{k}"]) for k in ks]
        for name, stem, ks in (("gold fact", "recall_", (1, 3, 10, 100, 500)), ("answer", "prr_strict_", (5, 10)))
        if f"{stem}{ks[0]}" in report["scores"]
    }
    if curves:
        title = "Among the first k facts: the gold fact, a true answer as whole words"
        plots.append(Plot.of(title, curve_plot(curves, x_label="k", y_label="questions, %")))
    return plots


def _group_plots(report: Mapping[str, Any], primary: str) -> list[Plot]:
    plots = []
    for name, values in report["by"].items():
        if len(values) < 2:
            continue
        kept = list(values.items())[:GROUP_VALUES]
        rows = [(f"{_short(value)}  ({s['questions']:,})", s[primary], None) for value, s in kept if primary in s]
        title = GROUPINGS.get(name, plain(name))
        left = len(values) - len(kept)
        title += f" (the {len(kept)} most frequent of {len(values)})" if left else ""
        plots.append(Plot.of(title, bar_plot(rows, label=plain(primary), line=report["scores"][primary])))
    return plots


def _ablations(report: Mapping[str, Any], primary: str) -> dict[str, Any]:
    found = report.get("ablations", {})
    if not found:
        return {}
    whole = report["scores"][primary], tuple(report["intervals"][primary])
    rows = [("as evaluated", *whole)]
    rows += [(plain(n), f["scores"][primary], tuple(f["intervals"][primary])) for n, f in found.items()]
    names = list(next(iter(found.values()))["scores"])
    return {
        "plot": Plot.of("The same model with other evidence", bar_plot(rows, label=plain(primary), line=whole[0])),
        "columns": names,
        "rows": [("as evaluated", "", [report["scores"][name] for name in names])]
        + [(plain(n), f.get("about", ""), [f["scores"][name] for name in names]) for n, f in found.items()],
    }


def _printed(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of printed figures with our own row, nothing if there are none."""
    table = PRINTED.get(report["dataset"])
    if table is None or not set(table.columns.values()) <= report["scores"].keys():
        return {}
    ours = tuple(report["scores"][name] for name in table.columns.values())
    return {"columns": list(table.columns), "rows": [*table.rows.items()], "ours": ours}


def _mistakes(records: Sequence[Record]) -> list[Record]:
    """Return the wrong answers that the model was most sure of."""
    wrong = [{"facts": [], "answers": [], **record} for record in records if record["right"] == 0]
    return sorted(wrong, key=lambda record: -record["confidence"])[:MISTAKES]


def _origin(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return where the figures come from, line by line."""
    model, kb = report["model"], report.get("kb") or {}
    rows = [
        ("questions", f"{report['questions']:,} on {report['images']:,} pictures"),
        ("protocol", report["protocol"]),
        ("seed of bootstrap and random facts", str(report["seed"])),
        ("model", f"weights {model['weights_sha256'][:16]}, sentence encoder {model['text_sha256'][:16] or 'none'}"),
        ("trained on", report.get("overlap", {}).get("trained_on") or "not said"),
    ]
    if kb:
        sources = ", ".join(source["name"] for source in kb["sources"])
        rows.append(("knowledge base", f"{kb['id']}: {kb['facts']:,} facts of {sources}; index {kb['index']}"))
    if "hide_test_gold" in report:
        rows.append(("facts hidden", f"{report['hidden_facts']:,}"))
        rows.append(("gold facts in the knowledge base", f"{report['gold_in_kb']} %"))
    return [*rows, ("commit", report["commit"] or "not in a working copy"), ("seconds", f"{report['seconds']}")]


def plain(name: str) -> str:
    """Return the name of a score or ablation in words: `answer_top1` gives `answer top 1`."""
    return re.sub(r"(?<=[a-z])(?=\d)", " ", name.replace("_", " "))


def _short(text: str, limit: int = 34) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def render(template: str, **content: Any) -> str:
    """Return a template of this package, filled in."""
    return _environment().get_template(template).render(**content)


def _environment() -> jinja2.Environment:
    """Return the templates of this package; everything put into them is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kvqa", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:.2f}"
    environment.filters["sentence"] = lambda fact: " · ".join(part.replace("_", " ") for part in fact)
    return environment
