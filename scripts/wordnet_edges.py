"""Writes the hypernyms of nouns and the parts of things of a WordNet as a table: KB-S of docs/results.md has no more.

python scripts/wordnet_edges.py oewn_synsets.jsonl.gz oewn_synsets.tsv
"""

import sys
from pathlib import Path

from kb.readers import Triple, read_source


def main(wordnet: Path, table: Path) -> None:
    partial = table.with_name(table.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write("head\trelation\ttail\n")
        for item in read_source(wordnet, format="wordnet-edges"):
            if isinstance(item, Triple):
                file.write(f"{item.head}\t{item.relation}\t{item.tail}\n")
    partial.replace(table)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
