"""How well can a gold fact of a test question be told from any other fact without seeing the question?

A logistic regression on fact vectors learns to tell the gold facts of training questions from random facts of the
knowledge base, and is tried on the gold facts of test questions that no training question uses. An area under the
ROC curve (AUC) of 0.5 would mean that the knowledge base gives nothing away; the higher it is, the more of a score
over this knowledge base may come from recognising the data set's own facts.

    python benchmarks/fvqa_confound.py --root FVQA --kb KB [--split 0] [--seed 0]

The last line is a JSON object: `fact_only_auc`, `unseen_gold`, `kb`, `split`, `seed`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from kvqa.data.fvqa import FvqaDataset
from kvqa.data.gold import gold_fact_ids
from retrieval.knowledge_base import KnowledgeBase


def fact_only_auc(kb: KnowledgeBase, train: set[int], unseen: set[int], *, seed: int, others: int = 20_000) -> float:
    """Return the AUC of telling `unseen` gold facts from facts that are gold for no question, by vector alone."""
    rng = np.random.default_rng(seed)
    gold = train | unseen
    rest = np.array([i for i in rng.permutation(kb.manifest.facts)[: 2 * others + len(gold)] if int(i) not in gold])
    learn, test = rest[:others], rest[others : 2 * others]
    positive = np.array(sorted(train))
    features = kb.index.vectors(np.concatenate([positive, learn]))
    labels = np.concatenate([np.ones(len(positive)), np.zeros(len(learn))])
    classifier = LogisticRegression(max_iter=1000, class_weight="balanced").fit(features, labels)
    tried = np.concatenate([np.array(sorted(unseen)), test])
    truth = np.concatenate([np.ones(len(unseen)), np.zeros(len(test))])
    return float(roc_auc_score(truth, classifier.decision_function(kb.index.vectors(tried))))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--kb", type=Path, required=True)
    parser.add_argument("--split", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kb = KnowledgeBase.open(options.kb)
    dataset = FvqaDataset(options.root)
    parts = [gold_fact_ids(dataset.examples(f"{part}{options.split}"), kb) for part in ("train", "test")]
    train, test = ({int(i) for i in ids if i >= 0} for ids in parts)
    result = {
        "fact_only_auc": round(fact_only_auc(kb, train, test - train, seed=options.seed), 3),
        "unseen_gold": len(test - train),
        "kb": kb.manifest.id,
        "split": options.split,
        "seed": options.seed,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
