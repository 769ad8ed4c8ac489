"""Linking phrases of the question, and names of what was seen, to entities of the knowledge base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from kb.lemmas import lemmas
from kb.store import KnowledgeStore

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

MAX_WORDS = 4
"""Longest phrase that is looked up, as in QA-GNN's grounding."""


@dataclass(frozen=True)
class Links:
    """Entities of the knowledge base that question and picture name.

    Attributes:
        question: Entity id to the words of the question that name it.
        visual: Entity id to the position of the seen concept that names it.
    """

    question: dict[int, str]
    visual: dict[int, int]

    @property
    def entities(self) -> list[int]:
        """All linked entities, those of the picture first."""
        return list(dict.fromkeys([*self.visual, *self.question]))


class Linker:
    """Exact linking by word forms and lemmas; soft matches are the business of the embeddings.

    The store is asked which of a question's few phrases it knows, and only these become patterns of spaCy's
    PhraseMatcher: building a matcher over all entities would make start-up grow with the knowledge base.
    """

    def __init__(self, store: KnowledgeStore) -> None:
        self.store = store

    def link(self, question: str, concepts: Sequence[str]) -> Links:
        """Link the phrases of `question` and the `concepts` seen."""
        return Links(self._question(question), self._visual(concepts))

    def _question(self, question: str) -> dict[int, str]:
        from spacy.matcher import PhraseMatcher
        from spacy.util import filter_spans

        language = _language()
        doc = _with_lemmas(language, question)
        phrases = {form for span in _spans(doc) for form in (span.text.lower(), span.lemma_) if _telling(span.text)}
        known = self.store.find_entities(phrases)
        matcher = PhraseMatcher(language.vocab, attr="LEMMA")
        matcher.add("ENTITY", [_with_lemmas(language, phrase) for phrase in known])
        longest = filter_spans(matcher(doc, as_spans=True))
        links = {}
        for span in longest:
            for form in (span.text.lower(), span.lemma_):
                if form in known:
                    links[known[form]] = span.text
        return links

    def _visual(self, concepts: Sequence[str]) -> dict[int, int]:
        forms: dict[str, int] = {}
        for position, concept in enumerate(concepts):
            forms.setdefault(concept.lower(), position)
            forms.setdefault(" ".join(lemmas(concept)), position)
        return {entity: forms[form] for form, entity in self.store.find_entities(forms).items()}


@cache
def _language() -> Language:
    import spacy

    return spacy.blank("en")


@cache
def stop_words() -> frozenset[str]:
    """Words that name nothing, of spaCy's English list, and the words with which one points at a picture."""
    from spacy.lang.en.stop_words import STOP_WORDS

    return frozenset(STOP_WORDS) | {"image", "picture", "photo", "photograph", "object", "thing", "kind", "type", "?"}


def _telling(phrase: str) -> bool:
    return any(word not in stop_words() and any(map(str.isalnum, word)) for word in phrase.lower().split())


def _with_lemmas(language: Language, text: str) -> Doc:
    doc = language.make_doc(text)
    for token in doc:
        token.lemma_ = (lemmas(token.text) or [token.text.lower()])[0]
    return doc


def _spans(doc: Doc) -> list:  # type: ignore[type-arg]
    return [doc[i:j] for i in range(len(doc)) for j in range(i + 1, min(i + MAX_WORDS, len(doc)) + 1)]
