"""From image-text pairs to a batch with something to guess."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from kvqa.data.collate import Batch, Collator
from kvqa.data.example import Example
from kvqa.data.pretrain_pairs import Pair
from kvqa.training.masking import IGNORE, mask_regions, mask_words, swap_texts
from kvqa.training.pretrain_config import ObjectiveConfig


@dataclass(frozen=True)
class PretrainBatch:
    """B pairs; T word pieces, R region tokens (the first is the whole picture), K facts, U word pieces of sentences.

    Attributes:
        batch: What the encoder reads: masked words, masked label vectors.
        words: (B, T) int64, true ids of masked words, `IGNORE` elsewhere.
        features: (B, R, S) true label vectors.
        masked, real: (B, R) bool, masked regions, and regions that could have been.
        objects: (B, R) int64 classes, `IGNORE` for labels out of vocabulary; confidence: (B, R) scores.
        matched: (B,) int64, 0 where the text was swapped.
        answers: (B,) int64, `IGNORE` where there is none.
        facts: (K, S) unit vectors; belongs, counted: (B, K) bool, see `FactLoss`.
        sentence_ids, sentence_mask: (B, U) the unmasked texts by themselves, without names of what was seen.
        same: (B, B) bool, True where two rows have the same picture or the same text.
    """

    batch: Batch
    words: Tensor
    features: Tensor
    masked: Tensor
    real: Tensor
    objects: Tensor
    confidence: Tensor
    matched: Tensor
    answers: Tensor
    facts: Tensor
    belongs: Tensor
    counted: Tensor
    sentence_ids: Tensor
    sentence_mask: Tensor
    same: Tensor

    def to(self, device: torch.device | str) -> PretrainBatch:
        """Return the batch on another device."""
        return PretrainBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


class PairCollator:
    """Makes a `PretrainBatch` of some of `pairs`; everything random comes from the seed of the call.

    Where a label is masked, all regions that bear it are, and the language side does not name it either.

    Args:
        pairs: All pairs of this part; swapped texts and other facts are drawn from them.
        collator: Of the encoder.
        labels, answers: Vocabularies.
        settings: Rates; an objective that is switched off costs nothing.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        collator: Collator,
        labels: Sequence[str],
        answers: Sequence[str],
        settings: ObjectiveConfig,
    ) -> None:
        self.pairs, self.collator, self.settings = pairs, collator, settings
        self.labels = {label: number for number, label in enumerate(labels)}
        self.answers = {answer: number for number, answer in enumerate(answers)}
        self.texts = [pair.text for pair in pairs]
        self.pictures = [pair.picture for pair in pairs]
        self.facts = sorted({fact for pair in pairs for fact in pair.facts})
        self.mask_id = _special(collator, "[MASK]")
        self.special = torch.tensor([_special(collator, "[CLS]"), _special(collator, "[SEP]")])

    def __call__(self, rows: Sequence[int], seed: int) -> PretrainBatch:
        """Return the batch of the pairs at `rows`."""
        rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        settings = self.settings
        swap = settings.swap if settings.matching else 0.0
        told = swap_texts(self.texts, self.pictures, rows, rng, rate=swap)
        pairs = [self.pairs[row] for row in rows]
        examples = [
            Example(str(i), self.texts[text], pair.picture, pair.regions)
            for i, (text, pair) in enumerate(zip(told, pairs, strict=True))
        ]
        seen = self.collator(examples)
        real = seen.region_mask.clone()
        real[:, 0] = False
        rate = settings.region_rate if settings.features or settings.objects else 0.0
        shown = mask_regions(seen.labels, real, generator=generator, rate=rate, groups=_groups(examples, real))
        # What is masked must not be named by the language side: the text is made again without these labels.
        named = self.collator([_without(e, masked) for e, masked in zip(examples, shown.masked, strict=True)])
        allowed = named.mask & ~torch.isin(named.ids, self.special)
        words = mask_words(
            named.ids,
            allowed,
            mask_id=self.mask_id,
            vocabulary=self.collator.tokenizer.get_vocab_size(),
            generator=generator,
            rate=settings.word_rate if settings.words else 0.0,
        )
        matched = torch.tensor([int(text == row) for text, row in zip(told, rows, strict=True)])
        facts, belongs, counted = self._facts(pairs, matched, rng)
        sentence_ids, sentence_mask = self._sentences(pairs)
        return PretrainBatch(
            batch=replace(seen, ids=words.ids, segments=named.segments, mask=named.mask, labels=shown.vision),
            words=words.labels,
            features=seen.labels,
            masked=shown.masked,
            real=real,
            objects=self._objects(examples, real),
            confidence=seen.scores,
            matched=matched,
            answers=self._answers(pairs, matched, rng),
            facts=facts,
            belongs=belongs,
            counted=counted,
            sentence_ids=sentence_ids,
            sentence_mask=sentence_mask,
            same=same_names([p.picture for p in pairs]) | same_names([p.text for p in pairs]),
        )

    def _objects(self, examples: Sequence[Example], real: Tensor) -> Tensor:
        classes = torch.full(real.shape, IGNORE)
        for row, example in enumerate(examples):
            for place, region in enumerate(example.regions.regions[: real.shape[1] - 1], start=1):
                classes[row, place] = self.labels.get(region.label, IGNORE)
        return classes.masked_fill(~real, IGNORE)

    def _answers(self, pairs: Sequence[Pair], matched: Tensor, rng: random.Random) -> Tensor:
        """Return one answer of each matched question, drawn by its weight (LXMERT)."""
        found = torch.full((len(pairs),), IGNORE)
        for row, pair in enumerate(pairs):
            known = [(self.answers[a], weight) for a, weight in pair.answers if a in self.answers]
            if known and matched[row]:
                numbers, weights = zip(*known, strict=True)
                found[row] = rng.choices(numbers, weights)[0]
        return found

    def _facts(self, pairs: Sequence[Pair], matched: Tensor, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
        """Return vectors of facts: one of each pair that has any, and random others; who owns them, and who counts."""
        if not (self.settings.facts and self.facts):
            empty = torch.zeros(len(pairs), 0, dtype=torch.bool)
            return torch.zeros(0, self.collator.label_vectors(["image"]).shape[1]), empty, empty
        own = [rng.choice(pair.facts) for pair in pairs if pair.facts]
        texts = list(dict.fromkeys([*own, *rng.choices(self.facts, k=self.settings.negatives)]))
        sets = [frozenset(pair.facts) for pair in pairs]
        belongs = torch.tensor([[text in owned for text in texts] for owned in sets])
        # Facts of another text about the same picture may hold or not, and of a swapped text nobody knows.
        of_picture: Mapping[str, set[str]] = {pair.picture: set() for pair in pairs}
        for pair, owned in zip(pairs, sets, strict=True):
            of_picture[pair.picture].update(owned)
        open_ = [[text in of_picture[pair.picture] for text in texts] for pair in pairs]
        counted = (belongs | ~torch.tensor(open_)) & matched.bool()[:, None]
        return self.collator.label_vectors(texts), belongs, counted

    def _sentences(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        if not self.settings.contrastive:
            return torch.zeros(len(pairs), 0, dtype=torch.long), torch.zeros(len(pairs), 0, dtype=torch.bool)
        bare = self.collator([Example("", p.text, "", replace(p.regions, regions=())) for p in pairs])
        return bare.ids, bare.mask


def _special(collator: Collator, token: str) -> int:
    number = collator.tokenizer.token_to_id(token)
    if number is None:
        raise ValueError(f"the tokenizer has no {token}; pretraining masks words with it")
    return number


def _groups(examples: Sequence[Example], real: Tensor) -> Tensor:
    """Return (B, R) numbers, the same for the same label of a picture."""
    groups = torch.arange(real.shape[1]).repeat(len(examples), 1)
    for row, example in enumerate(examples):
        first: dict[str, int] = {}
        for place, region in enumerate(example.regions.regions[: real.shape[1] - 1], start=1):
            groups[row, place] = first.setdefault(region.label, place)
    return groups


def _without(example: Example, masked: Tensor) -> Example:
    """Return `example` without the labels of its masked regions; what is beyond the tensors goes by its label."""
    regions = example.regions.regions
    hidden = {regions[place - 1].label for place in masked.nonzero()[:, 0].tolist()}
    return replace(
        example, regions=replace(example.regions, regions=tuple(r for r in regions if r.label not in hidden))
    )


def same_names(names: Sequence[str]) -> Tensor:
    """Return (B, B) bool, True where two of B names are equal."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    column = torch.tensor([numbers[name] for name in names])
    return column[:, None] == column[None, :]
