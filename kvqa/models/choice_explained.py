"""Why a choice: the text that a scorer chooses of an item, and the facts that it rests on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kvqa.data.choice_facts import NO_FACT
from kvqa.data.choices import ChoiceCollator, Item
from kvqa.errors import InputError
from kvqa.models.choose import learn_texts
from kvqa.models.task_heads import ChoiceScorer


@dataclass(frozen=True)
class ChoiceFact:
    """A fact of the chosen text.

    Attributes:
        fact_id: In the knowledge base.
        text: The fact as a sentence.
        sources: Where it was read, each source once.
        weight: Its share among the facts of the text; None from a scorer without a graph.
    """

    fact_id: int
    text: str
    sources: tuple[str, ...]
    weight: float | None


@dataclass(frozen=True)
class ChosenText:
    """The text that was chosen of an item, its probability among those offered, and its facts, heaviest first.

    Facts were retrieved for the text, so they speak of what was offered, not only of question and picture.
    """

    position: int
    text: str
    probability: float
    facts: tuple[ChoiceFact, ...]


@torch.inference_mode()
def explain_choice(model: ChoiceScorer, item: Item, collator: ChoiceCollator, *, facts: int = 3) -> ChosenText:
    """Return the chosen text of an item with at most `facts` of its facts.

    Without `graph_layers` the facts come as they were retrieved, nearest to the question first, and have no weights.

    Raises:
        InputError: if `facts` is less than 1.
    """
    if facts < 1:
        raise InputError(f"{facts} facts cannot be given; ask for 1 or more")
    model.eval()
    learn_texts([item], collator)
    batch = collator([item]).to(next(model.parameters()).device)
    said = model(batch)
    shares = said.logits[0].softmax(-1)
    best = int(shares.argmax())
    ids = batch.facts[best]
    order = torch.arange(len(ids)) if said.facts is None else said.facts[0, best].argsort(descending=True, stable=True)
    shown = [int(i) for i in order if ids[i] != NO_FACT][:facts]
    known = [] if collator.knowledge is None else collator.knowledge.kb.store.facts([int(ids[i]) for i in shown])
    found = tuple(
        ChoiceFact(
            fact.id,
            fact.text,
            tuple(dict.fromkeys(origin.source for origin in fact.origins)),
            None if said.facts is None else float(said.facts[0, best, i]),
        )
        for i, fact in zip(shown, known, strict=True)
    )
    return ChosenText(best, item.choices[best], float(shares[best]), found)
