import pytest
import torch
from torch import Tensor

from kvqa.models.attention import Attention, FeedForward, TransformerLayer


@pytest.fixture
def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(8, 2, context_width=6).eval()


def _inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Two rows, the second with two real positions of four."""
    torch.manual_seed(1)
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    return torch.randn(2, 3, 8), torch.randn(2, 4, 6), mask


def test_plain_products_and_the_fused_kernel_agree(attention: Attention) -> None:
    for mask in (None, _inputs()[2]):
        x, context, _ = _inputs()
        plain = attention(x, context, mask)
        with torch.no_grad():
            fused = attention(x, context, mask)
        assert plain.requires_grad and not fused.requires_grad
        torch.testing.assert_close(plain, fused, atol=1e-6, rtol=0)


@pytest.mark.parametrize("gradient", [False, True])
def test_padding_neither_speaks_nor_counts(attention: Attention, gradient: bool) -> None:
    x, context, mask = _inputs()
    with torch.set_grad_enabled(gradient):
        expected = attention(x[1:], context[1:, :2], mask[1:, :2])
        torch.testing.assert_close(attention(x, context, mask)[1:], expected, atol=1e-6, rtol=0)
        longer = torch.cat([context, torch.full((2, 5, 6), 1e4)], dim=1)
        longer_mask = torch.cat([mask, torch.zeros(2, 5, dtype=torch.bool)], dim=1)
        torch.testing.assert_close(attention(x, longer, longer_mask)[1:], expected, atol=1e-6, rtol=0)


def test_weights_are_shares_and_zero_on_padding(attention: Attention) -> None:
    x, context, mask = _inputs()
    weights = attention.weights(x, context, mask)
    assert weights.shape == (2, 2, 3, 4)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 3))
    assert (weights[1, :, :, 2:] == 0).all() and (weights[0] > 0).all()


def test_weights_are_those_that_mix_the_values(attention: Attention) -> None:
    x, context, mask = _inputs()
    weights = attention.weights(x, context, mask)
    values = attention.value(context).view(2, 4, 2, 4)  # (B, S, H, D / H)
    mixed = torch.einsum("bhls,bshd->blhd", weights, values).flatten(2)
    expected = attention.norm(x + attention.output(mixed))
    torch.testing.assert_close(attention(x, context, mask), expected)


@pytest.mark.parametrize("rates", [{"dropout": 0.5}, {"dropout": 0.0, "attention_dropout": 0.5}])
def test_dropout_is_for_training_only(rates: dict[str, float]) -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2, **rates)
    x = torch.randn(2, 3, 8)
    assert not torch.equal(attention(x, x), attention(x, x))
    attention.eval()
    torch.testing.assert_close(attention(x, x), attention(x, x), atol=0, rtol=0)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 8 is not a multiple of heads 3"):
        Attention(8, 3)


def test_a_layer_gives_real_positions_the_same_with_and_without_padding() -> None:
    torch.manual_seed(0)
    layer = TransformerLayer(8, 2, 12).eval()
    x = torch.randn(2, 4, 8)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    torch.testing.assert_close(layer(x, mask)[1, :2], layer(x[1:, :2])[0], atol=1e-6, rtol=0)


def test_feed_forward_works_on_each_position_by_itself() -> None:
    torch.manual_seed(0)
    block = FeedForward(8, 12).eval()
    x = torch.randn(2, 3, 8)
    torch.testing.assert_close(block(x)[1, 2], block(x[1, 2]), atol=1e-6, rtol=0)
