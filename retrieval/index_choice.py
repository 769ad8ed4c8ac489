"""Which kind of FAISS index suits how many facts.

docs/knowledge-base.md has measurements of the kinds. Nothing is compressed as long as the whole knowledge base can be
searched in a few hundredths of a second. Beyond, cells (IVF) keep the search short, and eight bits a number (SQ8) keep
the file at a quarter of full precision while costing less recall than the cells do. From half a million facts on, codes
of two bits a number (PQ…x4fs) are compared so fast that a search can visit four times as many cells; their finds are
scored again by full vectors.
"""

from __future__ import annotations

import math

AUTO = "auto"
FLAT = "Flat"
FLAT_FACTS = 250_000
SQ8_FACTS = 500_000
LEAST_CELLS, MOST_CELLS = 256, 4096


def choose_index(num_facts: int, dimension: int) -> str:
    """Return the FAISS factory string for `num_facts` vectors of `dimension` numbers.

    Up to `FLAT_FACTS` facts (of 384 numbers; in proportion for others) it is the exact search. Beyond, cells with
    codes: two to four times the square root of the number of facts, a power of two, and at most `MOST_CELLS`,
    because each fact is compared with every cell once at building.
    """
    if num_facts * dimension <= FLAT_FACTS * 384:
        return FLAT
    cells = 2 ** math.ceil(math.log2(2 * math.sqrt(num_facts)))
    codes = "SQ8" if num_facts <= SQ8_FACTS or dimension % 2 else f"PQ{dimension // 2}x4fs"
    return f"IVF{min(max(cells, LEAST_CELLS), MOST_CELLS)},{codes}"
