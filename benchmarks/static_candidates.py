"""How should tokens be weighted, and how many candidates ranked again, in a knowledge base of static vectors?

    python benchmarks/static_candidates.py --fvqa DIR --kb KB_DIR [--split train0] [--questions 600]

KB_DIR is embedded with the sentence encoder. For each weight of frequent tokens and each number of candidates the
table shows recall@100 of gold facts, static candidates ranked again with sentence vectors, divided by that of the
sentence encoder alone. Made to choose the defaults on training questions; searches are exact.
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kvqa.data.collate import distinct_concepts
from kvqa.data.fvqa import FvqaDataset
from kvqa.data.gold import gold_fact_ids
from retrieval.index import FactIndex
from retrieval.knowledge_base import KnowledgeBase
from retrieval.reranking import LazyVectors, RerankedIndex
from retrieval.sentence_encoder import SentenceEncoder
from retrieval.static_encoder import StaticEncoder, static_model

WEIGHTS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
CANDIDATES = (400, 600, 800, 1000, 1200)


def hits(found: NDArray[np.int64], gold: NDArray[np.int64]) -> float:
    """Return the share of rows of `found` (B, k) that hold their gold fact (B,)."""
    return float((found == gold[:, None]).any(axis=1).mean())


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fvqa", type=Path, required=True)
    parser.add_argument("--kb", type=Path, required=True)
    parser.add_argument("--split", default="train0")
    parser.add_argument("--questions", type=int, default=600)
    options = parser.parse_args()
    base = SentenceEncoder()
    kb = KnowledgeBase.open(options.kb, encoder_sha256=base.sha256)
    examples = FvqaDataset(options.fvqa).examples(options.split)
    gold = gold_fact_ids(examples, kb)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(gold >= 0))[: options.questions]
    gold = gold[chosen]
    words = [[examples[i].question, *(r.label for r in distinct_concepts(examples[i].regions))] for i in chosen]
    queries = base.encode([" ".join(asked) for asked in words]).astype(np.float32)
    alone = hits(kb.index.search(queries, 100)[0], gold)
    print(f"{len(gold)} questions of {options.split}; recall@100 of the sentence encoder {100 * alone:.1f}")
    print("weight  " + "".join(f"{count:>7}" for count in CANDIDATES), flush=True)

    texts, size = kb.store.fact_texts(), kb.manifest.facts
    ready = OrderedDict(enumerate(kb.index.vectors(np.arange(size)).astype(np.float16)))  # none is embedded again
    sentences = LazyVectors(base, lambda ids: [texts[i] for i in ids], size, cache=size, _kept=ready)
    tokens = base.token_vectors()
    for weight in WEIGHTS:
        static = StaticEncoder(base)
        static.model = static_model(base, tokens, sif=weight)
        index = FactIndex.build(static.encode(texts), factory="Flat")
        row = [
            hits(RerankedIndex(index, static, sentences, candidates).search(queries, 100, texts=words)[0], gold)
            for candidates in CANDIDATES
        ]
        print(f"{weight:<8g}" + "".join(f"{100 * kept / alone:7.1f}" for kept in row), flush=True)


if __name__ == "__main__":
    main()
