"""The terms of LXMERT against `transformers`; the others against their definition."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kvqa.data.pairs import Pairs
from kvqa.models.heads import AnswerHead, MaskedWordHead, MatchingHead, VisualHeads
from kvqa.models.lxmert import Lxmert, from_transformers
from kvqa.training.masking import IGNORE
from kvqa.training.pretrain_objectives import (
    AnswerLoss,
    ContrastiveLoss,
    FactLoss,
    MaskedWordLoss,
    MatchingLoss,
    PatchLoss,
    RegionFeatureLoss,
    RegionLabelLoss,
)

B, T, R, F_ = 4, 7, 5, 10
NONE = torch.zeros(B, R)


@pytest.fixture(scope="module")
def both() -> tuple[Any, Lxmert]:
    """A small random `LxmertForPreTraining` and the same in our form."""
    import transformers

    config = transformers.LxmertConfig(
        vocab_size=40,
        hidden_size=24,
        num_attention_heads=3,
        intermediate_size=32,
        max_position_embeddings=12,
        l_layers=1,
        r_layers=1,
        x_layers=1,
        visual_feat_dim=F_,
        num_qa_labels=7,
        num_object_labels=6,
        num_attr_labels=5,
    )
    torch.manual_seed(0)
    theirs = transformers.LxmertForPreTraining(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.uniform_(-0.4, 0.4)
    return theirs, from_transformers(config.to_dict(), theirs.state_dict(), source="test")


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    torch.manual_seed(1)
    words = torch.randint(0, 40, (B, T))
    return {
        "ids": torch.randint(0, 40, (B, T)),
        "features": torch.randn(B, R, F_),
        "boxes": torch.rand(B, R, 4),
        "words": words.masked_fill(torch.rand(B, T) < 0.6, IGNORE),
        "matched": torch.tensor([1, 0, 0, 1]),
        "answers": torch.tensor([3, IGNORE, IGNORE, 0]),
        "objects": torch.randint(0, 6, (B, R)),
        "attributes": torch.randint(0, 5, (B, R)),
        "confidence": torch.rand(B, R),
        "true": 2 * torch.randn(B, R, F_),
        "masked": torch.rand(B, R) < 0.5,
        "real": torch.ones(B, R, dtype=torch.bool),
    }


def _theirs(model: Any, b: dict[str, Tensor], **targets: Any) -> Tensor:
    with torch.no_grad():
        loss: Tensor = model(
            input_ids=b["ids"],
            visual_feats=b["features"],
            visual_pos=b["boxes"],
            attention_mask=torch.ones(B, T),
            token_type_ids=torch.zeros_like(b["ids"]),
            **targets,
        ).loss
    return loss


def _visual(b: dict[str, Tensor], **confidence: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """All three visual targets; those without a confidence count nothing."""
    labels = {"obj": b["objects"], "attr": b["attributes"], "feat": b["true"]}
    return {key: (label, confidence.get(key, NONE)) for key, label in labels.items()}


def test_each_term_of_lxmert_is_that_of_transformers(both: tuple[Any, Lxmert], batch: dict[str, Tensor]) -> None:
    theirs, ours = both
    heads, b = ours.heads, batch
    assert isinstance(heads.words, MaskedWordHead) and isinstance(heads.matching, MatchingHead)
    assert isinstance(heads.visual, VisualHeads) and isinstance(heads.answer, AnswerHead)
    visual = heads.visual
    with torch.no_grad():
        mask = torch.ones(B, T, dtype=torch.bool)
        out = ours.encoder(Pairs(b["ids"], mask, b["features"], b["boxes"], b["real"], torch.zeros_like(b["ids"])))
        regions = (b["masked"], b["real"])

        def label(target: str, labels: Tensor) -> Tensor:
            loss: Tensor = RegionLabelLoss(visual, target, boxes="all", normaliser=6.67)(
                out.vision, labels, b["confidence"], *regions
            )
            return loss

        found = {
            "words": MaskedWordLoss(heads.words)(out.language, b["words"]),
            "matching": MatchingLoss(heads.matching)(out.pooled, b["matched"]),
            "answer": AnswerLoss(heads.answer)(out.pooled, b["answers"]),
            "objects": label("objects", b["objects"]),
            "attributes": label("attributes", b["attributes"]),
            "features": RegionFeatureLoss(visual, normaliser=6.67)(out.vision, b["true"], *regions),
        }
    wanted = {
        "words": _theirs(theirs, b, labels=b["words"]),
        "matching": _theirs(theirs, b, matched_label=b["matched"]),
        "answer": _theirs(theirs, b, ans=b["answers"]),
        "objects": _theirs(theirs, b, obj_labels=_visual(b, obj=b["confidence"])),
        "attributes": _theirs(theirs, b, obj_labels=_visual(b, attr=b["confidence"])),
        "features": _theirs(theirs, b, obj_labels=_visual(b, feat=b["masked"].float())),
    }
    assert min(value.item() for value in wanted.values()) > 0.1
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0, msg=lambda m, name=name: f"{name}: {m}")
    everything = _theirs(
        theirs,
        b,
        labels=b["words"],
        matched_label=b["matched"],
        ans=b["answers"],
        obj_labels=_visual(b, obj=b["confidence"], attr=b["confidence"], feat=b["masked"].float()),
    )
    torch.testing.assert_close(torch.stack(list(found.values())).sum(), everything, atol=5e-5, rtol=0)


def test_masked_boxes_are_the_default_and_padding_counts_nothing() -> None:
    torch.manual_seed(0)
    heads = VisualHeads(8, objects=4, attributes=0, features=3)
    vision, labels, confidence = torch.randn(2, 3, 8), torch.tensor([[0, 1, 2], [3, IGNORE, 0]]), torch.rand(2, 3)
    masked = torch.tensor([[True, False, False], [True, True, False]])
    real = torch.tensor([[True, True, True], [True, True, False]])
    each = F.cross_entropy(heads(vision)["objects"].flatten(0, 1), labels.flatten(), reduction="none").view(2, 3)
    found = RegionLabelLoss(heads, normaliser=2.0)(vision, labels, confidence, masked, real)
    wanted = 2 * (each[0, 0] * confidence[0, 0] + each[1, 0] * confidence[1, 0]) / 5
    torch.testing.assert_close(found, wanted)
    everywhere = RegionLabelLoss(heads, boxes="all", normaliser=1.0)(vision, labels, confidence, masked, real)
    torch.testing.assert_close(everywhere, (each * confidence * real).sum() / 5)
    with pytest.raises(ValueError, match="no 'attributes'; they have objects, features"):
        RegionLabelLoss(heads, "attributes")


def test_without_targets_a_loss_is_zero_and_has_gradients() -> None:
    states, none, real = torch.randn(2, 3, 8, requires_grad=True), torch.zeros(2, 3).bool(), torch.ones(2, 3).bool()
    visual, nothing = VisualHeads(8, objects=4, attributes=0, features=3), torch.full((2, 3), IGNORE)
    terms = [
        MaskedWordLoss(MaskedWordHead(8, 5))(states, nothing),
        RegionFeatureLoss(visual)(states, torch.randn(2, 3, 3), none, real),
        RegionLabelLoss(visual)(states, nothing, torch.rand(2, 3), none, real),
        MatchingLoss(MatchingHead(8))(states[:, 0], nothing[:, 0]),
        AnswerLoss(AnswerHead(8, 4))(states[:, 0], nothing[:, 0]),
        PatchLoss(8, 2)(states, torch.randn(2, 3, 12), none),
    ]
    assert [term.item() for term in terms] == [0.0] * 6
    torch.stack(terms).sum().backward()
    assert states.grad is not None and not states.grad.any()


def test_patches_are_compared_after_normalisation() -> None:
    torch.manual_seed(0)
    loss, vision, patches = PatchLoss(8, 2), torch.randn(1, 3, 8), torch.rand(1, 3, 12)
    masked = torch.tensor([[True, False, True]])
    wanted = F.mse_loss(loss.decoder(vision[masked]), F.layer_norm(patches[masked], (12,), eps=1e-6))
    torch.testing.assert_close(loss(vision, patches, masked), wanted)
    torch.testing.assert_close(loss(vision, 5 * patches + 3, masked), wanted, atol=1e-4, rtol=0)


def test_contrastive_loss_is_cross_entropy_both_ways_and_skips_twins() -> None:
    torch.manual_seed(0)
    loss = ContrastiveLoss(6, 5, space=4, temperature=0.5)
    sentences, pictures = torch.randn(3, 6), torch.randn(3, 5)
    left = F.normalize(sentences @ loss.language.weight.T, dim=-1)
    logits = 2 * left @ F.normalize(pictures @ loss.vision.weight.T, dim=-1).T
    rows = -logits.diag() + logits.exp().sum(1).log()
    columns = -logits.diag() + logits.exp().sum(0).log()
    torch.testing.assert_close(loss(sentences, pictures), (rows.mean() + columns.mean()) / 2)
    same = torch.zeros(3, 3, dtype=torch.bool)
    same[0, 2] = True
    pushed = pictures.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(sentences[:1].expand(3, 6), pushed, same | torch.eye(3).bool()), pushed)
    assert gradient[1].any()
    alone = loss(sentences[[0, 2]], pictures[[0, 2]], torch.ones(2, 2, dtype=torch.bool))
    assert alone.item() == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        loss.scale.fill_(99.0)
    assert loss(sentences, pictures).isfinite()


def test_fact_loss_is_the_sigmoid_loss() -> None:
    queries, facts = F.normalize(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), dim=-1), torch.eye(2)
    belongs = torch.tensor([[True, False], [True, True]])
    loss = FactLoss(scale=2.0, bias=-1.0)
    logits = [[2 * 0.6 - 1, 2 * 0.8 - 1], [2 * 1.0 - 1, -1.0]]

    def cost(row: int, column: int) -> float:
        sign = 1 if belongs[row, column] else -1
        return math.log(1 + math.exp(-sign * logits[row][column]))

    wanted = sum(cost(i, j) for i in range(2) for j in range(2)) / 2
    assert loss(queries, facts, belongs).item() == pytest.approx(wanted, rel=1e-5)
    counted = torch.tensor([[True, True], [True, False]])
    assert loss(queries, facts, belongs, counted).item() == pytest.approx(wanted - cost(1, 1) / 2, rel=1e-5)
