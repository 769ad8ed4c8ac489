"""Print the tables of docs/results.md from the reports that scripts/reproduce_fvqa.sh leaves.

python scripts/fvqa_tables.py runs
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

SCORES = ("answer_top1", "answer_top3", "fact_top1", "fact_top3", "recall_1", "recall_10", "recall_100", "mrr", "ece")


def reports(folder: Path, runs: str, kb: str) -> list[dict[str, Any]]:
    """Return the reports over knowledge base `kb` of all runs whose names match the pattern `runs`."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{runs}/{kb}/report.json"))]


def row(name: str, found: list[dict[str, Any]], scores: tuple[str, ...] = SCORES) -> str:
    """Return a Markdown row: one figure, or mean ± standard deviation over several reports."""
    cells = []
    for score in scores:
        values = [report["scores"][score] for report in found]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):.1f}{spread}" if values else "")
    return f"| {name} | {len(found)} | " + " | ".join(cells) + " |"


def head(first: str, scores: tuple[str, ...] = SCORES) -> str:
    """Return the two head lines of a table."""
    return f"| {first} | runs | " + " | ".join(scores) + " |\n" + "|---" * (len(scores) + 2) + "|"


def main() -> None:
    """Run from the command line."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    print(head("knowledge base, split 0, seeds"))
    for kb in ("kb-s", "kb-s-no-test-gold", "kb-l", "kb-l-no-test-gold"):
        print(row(kb, reports(folder, "seed-*", kb)))
    print("\n" + head("split, seed 0"))
    splits = [reports(folder, "seed-0", "kb-s")] + [reports(folder, f"split-{i}", "kb-s") for i in range(1, 5)]
    for i, found in enumerate(splits):
        print(row(str(i), found))
    print(row("mean", [report for found in splits for report in found]))
    print("\n" + head("trained anew without, split 0, seed 0"))
    print(row("nothing left out", reports(folder, "seed-0", "kb-s")))
    for name in ("no-graph", "no-cross", "frozen-retriever", "no-image", "no-question"):
        print(row(name, reports(folder, name, "kb-s")))
    print("\nBy group, seed 0:")
    for report in reports(folder, "seed-0", "kb-s"):
        for group in ("answer_source", "visual_concept", "kb_source", "seen_answer"):
            for value, scores in report["by"][group].items():
                print(f"| {group} | {value} | " + " | ".join(str(x) for x in scores.values()) + " |")


if __name__ == "__main__":
    main()
