"""`quicken` against the same models as `transformers` runs them."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from retrieval.sentence_encoder import MOST_TOKENS, like_lengths
from retrieval.short_texts import ATTENTION, KNOWN, quicken

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    # DistilBERT's names of the same
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 64,
}
MASK = torch.arange(9) < torch.tensor([[9], [4], [1]])


def small(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return AutoModel.from_config(AutoConfig.for_model(kind, **SIZES)).eval()


def states(model: nn.Module) -> torch.Tensor:
    """What `model` says of the real positions of three texts, (14, D)."""
    ids = torch.arange(27).view(3, 9) % 50 + 5
    with torch.inference_mode():
        return model(input_ids=ids * MASK, attention_mask=MASK.long()).last_hidden_state[MASK]


@pytest.mark.parametrize("kind", KNOWN)
def test_float32_says_the_same(kind: str) -> None:
    model = small(kind)
    before = states(model)
    quicken(model, bfloat16=False)
    assert model.config._attn_implementation == ATTENTION
    torch.testing.assert_close(states(model), before, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KNOWN)
def test_only_products_are_in_bfloat16(kind: str) -> None:
    model = small(kind)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = states(model)
    quicken(model, bfloat16=True)
    after = states(model)
    assert after.dtype == torch.float32  # the residual stream
    assert 0 < (after - before).abs().max() < 0.04
    assert torch.cosine_similarity(after, before).min() > 0.9999
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_products_alone_lose_less_than_everything_in_bfloat16() -> None:
    exact, half, mixed = (states(model) for model in (small("bert"), small("bert").bfloat16(), quick_bert()))
    assert (mixed - exact).square().mean() < 0.5 * (half.float() - exact).square().mean()


def quick_bert() -> nn.Module:
    model = small("bert")
    quicken(model, bfloat16=True)
    return model


@pytest.mark.parametrize("bfloat16", [False, True])
def test_another_kind_of_model_is_left_to_transformers(bfloat16: bool) -> None:
    model = small("mpnet")
    attention, before = model.config._attn_implementation, states(model)
    quicken(model, bfloat16=bfloat16)
    assert model.config._attn_implementation == attention
    assert torch.equal(states(model), before)


def test_long_texts_go_in_small_batches() -> None:
    rows = [(1,) * length for length in (3, *[4000] * 5, MOST_TOKENS + 1, MOST_TOKENS + 1)]
    batches = list(like_lengths(rows, 256))
    assert [row for batch in batches for row in batch] == rows
    assert [len(batch) for batch in batches] == [4, 2, 1, 1]
