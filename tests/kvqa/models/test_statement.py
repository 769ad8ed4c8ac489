"""Judging statements: the head counts, padding does not matter."""

import torch

from kvqa.data.pairs import Pairs
from kvqa.models.statement import CountingHead, StatementConfig, StatementModel

SMALL = StatementConfig(width=16, heads=2, hidden=16, language_layers=1, vision_layers=1, cross_layers=1, votes=4)


def _pairs(regions: int, words: int, *, real_regions: int, real_words: int) -> tuple[Pairs, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    vision = torch.randn(2, regions, 5, generator=generator)
    boxes = torch.rand(2, regions, 4, generator=generator)
    ids = torch.arange(2 * words).reshape(2, words) % 7 + 1
    mask = (torch.arange(words) < real_words).expand(2, -1)
    region_mask = (torch.arange(regions) < real_regions).expand(2, -1)
    member = torch.nn.functional.one_hot(torch.arange(regions) % 3, 3).float() * region_mask[..., None]
    return Pairs(ids, mask, vision, boxes=boxes, region_mask=region_mask), member


def test_sums_are_of_votes_in_each_group() -> None:
    head = CountingHead(2, 1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.ask.weight.copy_(torch.eye(2) * 2**0.5)
        head.key.weight.copy_(torch.eye(2) * 100)
        head.bias.fill_(-50.0)  # an object votes if its first number is the word's
        head.decide.weight[0, 0] = 1.0  # the number of all votes, nothing else
        head.score.weight[1, 0] = 1.0
    objects = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    words = torch.tensor([[[1.0, 0.0], [9.0, 9.0]]])  # the second is padding
    member = torch.tensor([[[1.0, 0], [0, 1.0], [0, 1.0], [0, 0]]])  # so is the last object
    judged = head(objects, words, torch.tensor([[True, False]]), torch.zeros(1, 2), member)
    torch.testing.assert_close(judged.logits, torch.tensor([[0.0, torch.nn.functional.gelu(torch.tensor(2.0))]]))
    torch.testing.assert_close(judged.objects, torch.tensor([[50.0, 50.0, -50.0, 50.0]]))


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = StatementModel(SMALL, vocabulary=9, features=5).eval()
    pairs, member = _pairs(7, 6, real_regions=5, real_words=4)
    short = Pairs(
        pairs.ids[:, :4],
        pairs.mask[:, :4],
        pairs.vision[:, :5],
        boxes=None if pairs.boxes is None else pairs.boxes[:, :5],
        region_mask=None if pairs.region_mask is None else pairs.region_mask[:, :5],
    )
    torch.testing.assert_close(model(pairs, member).logits, model(short, member[:, :5]).logits, rtol=1e-4, atol=1e-5)


def test_without_votes_the_pooled_vector_decides() -> None:
    torch.manual_seed(0)
    model = StatementModel(StatementConfig(width=16, heads=2, hidden=16, votes=0), vocabulary=9, features=5)
    pairs, member = _pairs(5, 4, real_regions=5, real_words=4)
    assert model(pairs, member).logits.shape == (2, 2)
    assert model.head is None
