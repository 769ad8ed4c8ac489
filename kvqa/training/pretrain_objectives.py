"""The pretraining objectives. Each is a module with its head; calling it with states and targets gives its loss.

| objective | asks | learns from |
|---|---|---|
| `MaskedWordLoss` | which word was here | sentence and picture |
| `RegionFeatureLoss` | what the features of this region were | picture and sentence |
| `RegionLabelLoss` | what the detector called this region | the same |
| `MatchingLoss` | does the sentence belong to the picture | swapped sentences |
| `AnswerLoss` | what is the answer | questions |
| `PatchLoss` | what this square of the picture looks like | pixels |
| `ContrastiveLoss` | which of these pictures, which of these sentences | all other pairs of the batch |
| `FactLoss` | does this fact belong to the picture and question | facts |

The first five are LXMERT's (Tan and Bansal, EMNLP 2019), where region labels are two terms, objects and attributes.
All sum up without weights there. A loss without any target is 0, not NaN, and keeps the graph whole.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.models.heads import AnswerHead, MaskedWordHead, MatchingHead, VisualHeads
from kvqa.training.masking import IGNORE, RATE

Boxes = Literal["masked", "all"]
VISUAL_NORMALISER = 1 / RATE
"""LXMERT's factor of the visual terms, which makes a mean over all boxes one over the chosen ones."""


class MaskedWordLoss(nn.Module):
    """Masked-word modelling (Devlin et al., NAACL 2019), with a picture to look at.

    Use it always: of all objectives it carries most (METER, Dou et al., CVPR 2022). Only chosen positions go through
    the output map, which is the most expensive product of pretraining.

    Args:
        head: Scores of all words.
    """

    def __init__(self, head: MaskedWordHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, language: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy over chosen words.

        Args:
            language: (B, T, D) states of the masked sentence.
            labels: (B, T) int64, `IGNORE` where no word was chosen.
        """
        chosen = labels != IGNORE
        logits = self.head(language[chosen])  # (K, V)
        return _cross_entropy(logits, labels[chosen])


class RegionFeatureLoss(nn.Module):
    """Regression of the feature vectors of masked regions, SmoothL1 (LXMERT).

    Use it where features say more than a label: detector features, sentence vectors of names. Beside
    `RegionLabelLoss` it is the part that needs no labels. For pixels use `PatchLoss`.

    Args:
        heads: Their decoder `features`.
        normaliser: Factor, see `VISUAL_NORMALISER`.
    """

    def __init__(self, heads: VisualHeads, *, normaliser: float = VISUAL_NORMALISER) -> None:
        super().__init__()
        self.heads = heads
        self.normaliser = normaliser

    def forward(self, vision: Tensor, features: Tensor, masked: Tensor, real: Tensor) -> Tensor:
        """Return the loss.

        Args:
            vision: (B, R, D) states.
            features: (B, R, F) features before masking.
            masked: (B, R) bool, chosen regions.
            real: (B, R) bool, False for padding.
        """
        found = _decode(self.heads, "features", vision[masked])  # (K, F)
        each = F.smooth_l1_loss(found.float(), features[masked].float(), reduction="none").mean(-1)
        return each.sum() / real.sum().clamp(min=1) * self.normaliser


class RegionLabelLoss(nn.Module):
    """Classification of regions into the classes of the detector, weighted by how sure the detector was (LXMERT).

    Two of these make LXMERT's label task: `objects` (1,600 classes) and `attributes` (400).

    Args:
        heads: Their decoder `target`.
        target: `objects` or `attributes`.
        boxes: Which regions are asked about. `masked`, the default: the chosen ones. `all`, as the code of LXMERT and
            of `transformers` does: every one. The default differs because an unmasked region shows the very features
            that the detector made its label of, so that most of the gradient would train to copy them; take `all` to
            repeat published runs.
        normaliser: Factor, see `VISUAL_NORMALISER`; it stays with `all`, as published.
    """

    def __init__(
        self,
        heads: VisualHeads,
        target: str = "objects",
        *,
        boxes: Boxes = "masked",
        normaliser: float = VISUAL_NORMALISER,
    ) -> None:
        super().__init__()
        if target not in heads.decoders:
            raise ValueError(f"the heads have no {target!r}; they have {', '.join(heads.decoders)}")
        self.heads = heads
        self.target = target
        self.boxes = boxes
        self.normaliser = normaliser

    def forward(self, vision: Tensor, labels: Tensor, confidence: Tensor, masked: Tensor, real: Tensor) -> Tensor:
        """Return the loss.

        Args:
            vision: (B, R, D) states.
            labels: (B, R) int64 classes, `IGNORE` where there is none.
            confidence: (B, R) in [0, 1].
            masked: (B, R) bool, chosen regions.
            real: (B, R) bool, False for padding.
        """
        asked = (masked if self.boxes == "masked" else real) & (labels != IGNORE)
        logits = _decode(self.heads, self.target, vision[asked])  # (K, C)
        each = F.cross_entropy(logits.float(), labels[asked], reduction="none") * confidence[asked]
        return each.sum() / real.sum().clamp(min=1) * self.normaliser


class MatchingLoss(nn.Module):
    """Whether the sentence belongs to the picture; half of the sentences are another picture's (LXMERT).

    Use it with `MaskedWordLoss`. It reads the fused vector, so it learns fine differences, one pair at a time;
    `ContrastiveLoss` compares with a whole batch, but before words and regions meet.

    Args:
        head: Scores of no and yes.
    """

    def __init__(self, head: MatchingHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, pooled: Tensor, matched: Tensor) -> Tensor:
        """Return the mean cross-entropy.

        Args:
            pooled: (B, D).
            matched: (B,) int64, 1 where the sentence is the picture's own.
        """
        return _cross_entropy(self.head(pooled), matched)


class AnswerLoss(nn.Module):
    """Answers of a closed vocabulary (9,500 in LXMERT), by cross-entropy as there.

    Use it where questions with answers are at hand; it shortens fine-tuning on open questions. Fine-tuning itself has
    soft targets and binary cross-entropy.

    Args:
        head: Scores of all answers.
    """

    def __init__(self, head: AnswerHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, pooled: Tensor, answers: Tensor) -> Tensor:
        """Return the mean cross-entropy over the questions that have an answer.

        Args:
            pooled: (B, D).
            answers: (B,) int64, `IGNORE` for sentences, for answers out of vocabulary, and for swapped questions.
        """
        return _cross_entropy(self.head(pooled), answers)


class PatchLoss(nn.Module):
    """Pixels of blanked patches, each patch brought to mean 0 and variance 1, mean squared error.

    The loss is that of masked autoencoders (He et al., CVPR 2022), the masking that of SimMIM
    (`kvqa.training.masking.mask_patches`). Use it for encoders that read pixels; patches that a vision transformer
    has encoded are features, see `RegionFeatureLoss`.

    Args:
        width: Size D of vision states.
        patch: Side of a patch in pixels.
    """

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.decoder = nn.Linear(width, 3 * patch * patch)

    def forward(self, vision: Tensor, patches: Tensor, masked: Tensor) -> Tensor:
        """Return the loss.

        Args:
            vision: (I, N, D) states of the patches.
            patches: (I, N, 3 * patch * patch) true pixels.
            masked: (I, N) bool.
        """
        wanted = patches[masked].float()
        wanted = F.layer_norm(wanted, wanted.shape[-1:], eps=1e-6)
        found = self.decoder(vision[masked]).float()
        return ((found - wanted) ** 2).sum() / max(1, wanted.numel())


class ContrastiveLoss(nn.Module):
    """Sentences and pictures of a batch find each other: symmetric InfoNCE (CLIP, Radford et al., ICML 2021).

    Use it with large batches, and for search by vectors. The two vectors must be computed apart: states in which words
    and regions have met know their partner already.

    Args:
        language_width, vision_width: Sizes of the vectors.
        space: Size of the space in which they are compared.
        temperature: Where the learnt temperature starts; it never falls below 0.01.
    """

    def __init__(self, language_width: int, vision_width: int, *, space: int = 256, temperature: float = 0.07) -> None:
        super().__init__()
        self.language = nn.Linear(language_width, space, bias=False)
        self.vision = nn.Linear(vision_width, space, bias=False)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    def forward(self, sentences: Tensor, pictures: Tensor, same: Tensor | None = None) -> Tensor:
        """Return the mean of the cross-entropies in both directions.

        Args:
            sentences, pictures: (B, language width) and (B, vision width); row i belongs together.
            same: (B, B) bool, True where row and column are the same picture or sentence: neither right nor wrong.
        """
        left = F.normalize(self.language(sentences).float(), dim=-1)
        right = F.normalize(self.vision(pictures).float(), dim=-1)
        logits = self.scale.clamp(max=math.log(100)).exp() * left @ right.T  # (B, B)
        own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        if same is not None:
            logits = logits.masked_fill((same | same.T) & ~own, -torch.inf)
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class FactLoss(nn.Module):
    """Whether a fact belongs to this picture and question: a yes or no for each pair of example and fact.

    The other objectives say nothing of knowledge; this one leads picture and question to facts, as retrieval will.
    Facts keep the vectors of the frozen sentence encoder, so what is learnt holds for any knowledge base. Every fact of
    the batch is asked of every example; the sigmoid loss with learnt scale and bias is that of SigLIP (Zhai et al.,
    ICCV 2023), which stays sound with several right facts or none. Fine-tuning instead ranks one gold fact among *all*
    facts of the knowledge base (`kvqa.training.objectives.search_loss`).

    Args:
        scale, bias: Where they start; SigLIP has 10 and -10.
    """

    def __init__(self, *, scale: float = 10.0, bias: float = -10.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, queries: Tensor, facts: Tensor, belongs: Tensor, counted: Tensor | None = None) -> Tensor:
        """Return the binary cross-entropy, summed over facts and averaged over examples.

        Args:
            queries: (B, S) unit vectors of picture and question.
            facts: (K, S) unit vectors.
            belongs: (B, K) bool.
            counted: (B, K) bool, False where nobody knows; None counts all.
        """
        logits = self.scale.exp() * queries.float() @ facts.float().T + self.bias  # (B, K)
        each = F.binary_cross_entropy_with_logits(logits, belongs.float(), reduction="none")
        if counted is not None:
            each = each * counted
        return each.sum() / max(1, len(queries))


def _decode(heads: VisualHeads, target: str, states: Tensor) -> Tensor:
    decoder: nn.Module = heads.decoders[target]
    found: Tensor = decoder(heads.transform(states))
    return found


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    if not (targets != IGNORE).any():
        return logits.float().sum() * 0
    return F.cross_entropy(logits.float(), targets, ignore_index=IGNORE)
