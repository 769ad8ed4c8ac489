"""How fast is a knowledge base built, against the script that one would write first? With the same neighbours?

    python benchmarks/bench_index.py [FILES…] [--large FILE…] [--facts N] [--questions N] [--fvqa DIR] [--work DIR]

FILES are the sources of KB-S: facts of FVQA, ConceptNet-100K and Open English WordNet, by default below
`$KVQA_DATA/data`. `--large` names further sources (KB-L). The script to beat: facts to a table of SQLite (by pandas
where it is installed), `SentenceTransformer.encode` in its defaults, `IndexFlatIP`. Reading the files is common to
all and not timed; storing, embedding and indexing the facts is, in one process, one after the other.

The last line is a JSON object:
`sentence_ratio`, `static_ratio`: how many times as fast as the script; distilling is part of the static time.
`sentence_recall10`: share of the script's ten nearest facts that ours finds, over questions and seen names.
`static_gold_recall_kept`: recall@100 of gold facts of FVQA's test0, static candidates ranked again with sentence
vectors, divided by that of the sentence encoder.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kb.readers import read_source
from kb.store import KnowledgeStore
from kb.triple import Triple
from kvqa.data.collate import distinct_concepts
from kvqa.data.fvqa import FvqaDataset
from retrieval.embedding import Encoder, SentenceEncoder, StaticEncoder
from retrieval.index import AUTO, FactIndex
from retrieval.reranking import LazyVectors, RerankedIndex

T = TypeVar("T")
DATA = Path(os.environ.get("KVQA_DATA", "."), "data")
SMALL = [
    DATA / "fvqa" / "facts.tsv.gz",
    *(DATA / "kg" / f"CN-100K.{part}.tsv.gz" for part in ("train", "valid", "test")),
    DATA / "kg" / "oewn_synsets.jsonl.gz",
]
FORMATS = {"oewn_synsets.jsonl.gz": "wordnet-edges"}
"""KB-S has of WordNet the hypernyms of nouns and the parts of things alone."""


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what `work` returns, and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def read_triples(files: Sequence[Path], limit: int | None) -> list[Triple]:
    """Return the distinct triples of `files`, in their order."""
    found: dict[tuple[str, str, str], Triple] = {}  # numbered as the store will number them
    for file in files:
        for record in read_source(file, format=FORMATS.get(file.name, "auto"), name=file.name):
            if isinstance(record, Triple):
                found.setdefault(record.key, record)
    return list(found.values())[:limit]


def obvious_script(rows: list[tuple[str, str, str, str]], model: Path, database: Path) -> NDArray[np.float32]:
    """Do what one would write first; return the vectors of the facts."""
    import faiss
    from sentence_transformers import SentenceTransformer

    names = ["head", "relation", "tail", "text"]
    with sqlite3.connect(database) as connection:
        try:
            import pandas
        except ImportError:
            connection.execute(f"create table facts ({', '.join(names)})")
            connection.executemany("insert into facts values (?, ?, ?, ?)", rows)
        else:
            pandas.DataFrame(rows, columns=names).to_sql("facts", connection, index=False)
    vectors: NDArray[np.float32] = SentenceTransformer(str(model)).encode([text for *_, text in rows])
    faiss.IndexFlatIP(vectors.shape[1]).add(vectors)
    return vectors


def ours(triples: list[Triple], encoder: Encoder, database: Path) -> tuple[FactIndex, NDArray[np.float16]]:
    """Store, embed and index the facts as `kvqa index-kb` does; return the index and the vectors."""
    with KnowledgeStore.create(database) as store:
        store.add(triples, store.add_source("benchmark", "benchmark", "0" * 64))
        vectors = encoder.encode(store.fact_texts())
    return FactIndex.build(vectors, factory=AUTO), vectors


def nearest(vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the rows (B, k) of the k largest products, by exact search."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    found: NDArray[np.int64] = index.search(queries, k)[1]
    return found


def recall10(index: FactIndex, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> float:
    """Return the share of the ten nearest of `vectors` that `index` finds; what scores as the tenth counts."""
    hits = 0
    for query, true, found in zip(queries, nearest(vectors, queries, 10), index.search(queries, 10)[0], strict=True):
        hits += int((vectors[found] @ query >= (vectors[true] @ query).min() - 1e-6).sum())
    return hits / (10 * len(queries))


def questions(root: Path, rows: dict[tuple[str, str, str], int], count: int) -> tuple[list[list[str]], list[int]]:
    """Return question and seen names of up to `count` questions of test0 whose gold fact is there, and that fact."""
    words, gold = [], []
    for example in FvqaDataset(root).examples("test0"):
        row = rows.get(example.facts[0], -1) if example.facts else -1
        if row >= 0:
            words.append([example.question, *(r.label for r in distinct_concepts(example.regions))])
            gold.append(row)
    chosen = np.random.default_rng(0).permutation(len(gold))[:count]
    return [words[i] for i in chosen], [gold[i] for i in chosen]


def kept_gold_recall(
    candidates: RerankedIndex,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    words: Sequence[Sequence[str]],
    gold: Sequence[int],
) -> tuple[float, float]:
    """Return recall@100 of the gold facts with the sentence encoder alone, and with static candidates."""
    exact = nearest(vectors, queries, 100)
    static = candidates.search(queries, 100, texts=words)[0]
    return (
        float(np.mean([fact in row for fact, row in zip(gold, exact, strict=True)])),
        float(np.mean([fact in row for fact, row in zip(gold, static, strict=True)])),
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", default=SMALL)
    parser.add_argument("--large", type=Path, action="append", default=[])
    parser.add_argument("--facts", type=int, default=None, help="take the first N facts only")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--fvqa", type=Path, default=DATA / "fvqa")
    parser.add_argument("--work", type=Path, default=None, help="folder for the stores; the default is temporary")
    options = parser.parse_args()
    triples = read_triples([*options.files, *options.large], options.facts)
    rows = {triple.key: i for i, triple in enumerate(triples)}
    words, gold = questions(options.fvqa, rows, options.questions)
    print(f"{len(triples):,} facts, {len(words)} questions", flush=True)

    sentence = SentenceEncoder()
    assert sentence.folder is not None
    _ = sentence.model, SentenceEncoder(dtype="float32").model  # the libraries are loaded before anything is timed
    with tempfile.TemporaryDirectory(dir=options.work) as temporary:
        folder = Path(temporary)
        with KnowledgeStore.create(folder / "texts.sqlite") as store:
            store.add(triples, store.add_source("benchmark", "benchmark", "0" * 64))
            texts = store.fact_texts()
        table = [(t.head, t.relation, t.tail, text) for t, text in zip(triples, texts, strict=True)]

        (index, _), sentence_s = timed(lambda: ours(triples, sentence, folder / "sentence.sqlite"))
        print(f"ours, sentence encoder: {sentence_s:.1f} s", flush=True)
        static = StaticEncoder(sentence)
        _, distil_s = timed(lambda: static.model)
        (static_index, _), static_s = timed(lambda: ours(triples, static, folder / "static.sqlite"))
        print(f"ours, static encoder: {static_s:.1f} s, and {distil_s:.1f} s for distilling it", flush=True)
        vectors, script_s = timed(lambda: obvious_script(table, sentence.folder or Path(), folder / "script.sqlite"))
        print(f"the script: {script_s:.1f} s", flush=True)

    queries = SentenceEncoder(dtype="float32").encode([" ".join(w) for w in words]).astype(np.float32)
    same = recall10(index, vectors, queries)
    sentences = LazyVectors(sentence, lambda ids: [texts[i] for i in ids], len(texts))
    reranked = RerankedIndex(static_index, static, sentences)
    (alone, kept), search_s = timed(lambda: kept_gold_recall(reranked, vectors, queries, words, gold))
    print(f"gold recall@100: sentence {alone:.3f}, static and ranked again {kept:.3f}", flush=True)
    print(f"{1000 * search_s / len(words):.0f} ms a question, first time asked", flush=True)
    result = {
        "sentence_ratio": round(script_s / sentence_s, 2),
        "sentence_recall10": round(same, 4),
        "static_ratio": round(script_s / (static_s + distil_s), 2),
        "static_gold_recall_kept": round(kept / alone, 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
