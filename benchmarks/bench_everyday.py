"""How often is a plain question about a seen thing answered with a fact that fits, over our own everyday facts?

    python benchmarks/bench_everyday.py [--model FOLDER] [--kb FOLDER] [--list]

`benchmarks/everyday_questions.tsv` has questions of the kind that people ask of their own photos: what is seen, the
question, and the head and relation of the facts that answer it. An answer is right if it is the tail of any of these
facts. The questions were written for this project, not by the people who wrote FVQA; no model is trained on them.

The last line is a JSON object: `top1` and `top3` in percent, `entity` and `relation` (the fact that carries the answer
is about the thing meant, with the relation meant), `questions`, `kb`, `model`.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np

from kb.triple import entity_key
from kvqa.answering import Answerer
from kvqa.data.graph_features import normal
from kvqa.demo import default_kb
from kvqa.models.checkpoint import RELEASED, load_model, read_manifest
from kvqa.vision.regions import Region, Regions

QUESTIONS = Path(__file__).with_name("everyday_questions.tsv")


def seen(names: str) -> Regions:
    """Return regions side by side with these labels, separated by commas."""
    regions = tuple(
        Region(label=name.strip(), score=0.8, box=(20.0 + 200 * i, 60.0, 200.0 + 200 * i, 400.0), kind="object")
        for i, name in enumerate(names.split(","))
    )
    return Regions("picture.jpg", 640, 480, regions)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=RELEASED)
    parser.add_argument("--kb", type=Path, help="knowledge base; the default is the packaged everyday facts")
    parser.add_argument("--list", action="store_true", help="print every question with its answers")
    options = parser.parse_args()
    answerer = Answerer.open(load_model(options.model), options.kb or default_kb())
    kb = answerer.retriever.kb
    hits: dict[str, list[bool]] = {name: [] for name in ("top1", "top3", "entity", "relation")}
    with QUESTIONS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            entities = list(kb.store.find_entities([entity_key(row["head"])]).values())
            around = kb.graph.facts_of(np.array(entities))
            meant = [
                f for f in kb.store.facts(around.tolist()) if (f.head, f.relation) == (row["head"], row["relation"])
            ]
            assert meant, f"no fact answers {row['question']}"
            right = {normal(fact.tail) for fact in meant}
            answer = answerer.answer(seen(row["seen"]), row["question"])
            said = [normal(other.answer) for other in answer.answers]
            carrier = answer.facts[0]
            hits["top1"].append(said[0] in right)
            hits["top3"].append(not right.isdisjoint(said[:3]))
            hits["entity"].append(row["head"] in (carrier.head, carrier.tail))
            hits["relation"].append(carrier.relation == row["relation"])
            if options.list:
                mark = "+" if hits["top1"][-1] else " "
                print(f"{mark} {row['question']}  {', '.join(a.answer for a in answer.answers[:3])}  [{carrier.text}]")
    scores = {name: round(100 * float(np.mean(found)), 1) for name, found in hits.items()}
    model = read_manifest(options.model).weights_sha256[:12]
    print(json.dumps({**scores, "questions": len(hits["top1"]), "kb": kb.manifest.id, "model": model}))


if __name__ == "__main__":
    main()
