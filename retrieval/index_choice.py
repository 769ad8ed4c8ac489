"""Which kind of FAISS index suits how many facts.

docs/knowledge-base.md has measurements of the kinds. Nothing is compressed as long as the whole knowledge base can be
searched in a few hundredths of a second; beyond, cells (IVF) keep the search short, and eight bits a number (SQ8) keep
the file at a quarter of full precision while costing less recall than the cells do.
"""

from __future__ import annotations

import math

AUTO = "auto"
FLAT = "Flat"
FLAT_FACTS = 250_000
LEAST_CELLS, MOST_CELLS = 256, 4096


def choose_index(num_facts: int, dimension: int) -> str:
    """Return the FAISS factory string for `num_facts` vectors of `dimension` numbers.

    Up to `FLAT_FACTS` facts (of 384 numbers; in proportion for others) it is the exact search. Beyond, cells with
    SQ8 codes: two to four times the square root of the number of facts, a power of two, and at most `MOST_CELLS`,
    because each fact is compared with every cell once at building.
    """
    if num_facts * dimension <= FLAT_FACTS * 384:
        return FLAT
    cells = 2 ** math.ceil(math.log2(2 * math.sqrt(num_facts)))
    return f"IVF{min(max(cells, LEAST_CELLS), MOST_CELLS)},SQ8"
