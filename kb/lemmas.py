"""Dictionary forms of words, so that "traffic lights" and "traffic light" meet.

The table is the English lookup table of spaCy (package `spacy-lookups-data`), the one that the pipeline component
`lemmatizer` of `spacy.blank("en")` uses in mode "lookup". It is read without spaCy itself, whose import takes seconds.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from kb.errors import KnowledgeError

ARTICLES = frozenset({"a", "an", "the"})

_TABLE_NAME = "en_lemma_lookup.json"
# Straight and typographic quotes, brackets, dashes and sentence marks; "#", "+" and "%" carry meaning ("c++", "50%").
_EDGE_PUNCTUATION = "\"'`.,;:!?()[]{}<>-_*/\\|~^=“”‘’„«»…–—¿¡"


@cache
def _table() -> Mapping[str, str]:
    try:
        folder = files("spacy_lookups_data") / "data"
    except ModuleNotFoundError as error:
        raise KnowledgeError(
            "the table of English lemmas is missing; install it with: pip install spacy-lookups-data"
        ) from error
    packed = folder / f"{_TABLE_NAME}.gz"  # version 1.0 ships the table packed, earlier ones did not
    content = gzip.decompress(packed.read_bytes()) if packed.is_file() else (folder / _TABLE_NAME).read_bytes()
    return {str(word): str(lemma) for word, lemma in json.loads(content).items()}


def _bare(token: str) -> str:
    word = token.strip(_EDGE_PUNCTUATION)
    return word.removesuffix("'s").removesuffix("’s") or word


def lemmas(text: str, *, drop_articles: bool = False) -> list[str]:
    """Return the lower-case dictionary form of each word of `text`, without edge punctuation and possessive "'s".

    Args:
        text: Any text; words are separated by white space or underscores.
        drop_articles: Leave out "a", "an" and "the". An article that is the whole text stays.

    Returns:
        One string a word, in order; empty when the text holds no word.

    Raises:
        KnowledgeError: if the package `spacy-lookups-data` is not installed.
    """
    table = _table()
    words = [word for token in text.lower().replace("_", " ").split() if (word := _bare(token))]
    kept = [word for word in words if word not in ARTICLES] if drop_articles else words
    return [table.get(word, word) for word in kept or words]


def lemmatise(text: str, *, drop_articles: bool = False) -> str:
    """Return `lemmas(text)` joined by single spaces: `"The Traffic Lights!"` gives `"the traffic light"`."""
    return " ".join(lemmas(text, drop_articles=drop_articles))
