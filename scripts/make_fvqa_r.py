"""Makes FVQA-R of FVQA: four answers and four reasons to each question, in VCR's form.

    python scripts/make_fvqa_r.py --fvqa data/fvqa --out data/fvqa_r [--seed 0]

Test questions are those of FVQA's test list, validation questions those of a share of the pictures of its training
list. The same seed gives the same files. Sentence vectors are kept in --vectors, so that a second run is quick.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kb.errors import KnowledgeError
from kvqa.data.fvqa import FvqaDataset
from kvqa.data.fvqa_r import Matching, divide, write_fvqa_r
from kvqa.errors import InputError
from kvqa.models.vectors import text_vectors


def main() -> int:
    parser = argparse.ArgumentParser(description="Make FVQA-R of FVQA.")
    parser.add_argument("--fvqa", type=Path, required=True, help="FVQA in its published layout")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vectors", type=Path, help="folder that keeps sentence vectors")
    parser.add_argument("--number", type=int, default=0, choices=range(5), help="which split of FVQA")
    parser.add_argument("--val", type=float, default=0.16, help="share of the training pictures for validation")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        fvqa = FvqaDataset(options.fvqa)
        training, validation = divide(
            [e for e in fvqa.examples(f"train{options.number}") if e.facts], share=options.val, seed=options.seed
        )
        test = [e for e in fvqa.examples(f"test{options.number}") if e.facts]
        parts = {"train": training, "val": validation, "test": test}
        counts = write_fvqa_r(parts, options.out, text_vectors(options.vectors), Matching(), seed=options.seed)
    except (InputError, KnowledgeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {', '.join(f'{count} {split}' for split, count in counts.items())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
