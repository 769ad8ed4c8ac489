import pytest
import torch
from torch import Tensor

from kvqa.models.attention import Attention
from kvqa.models.fusion import CoAttention


def _streams() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    language, vision = torch.randn(2, 4, 8), torch.randn(2, 3, 8)
    return language, vision, torch.tensor([[True] * 4, [True, True, True, False]]), torch.ones(2, 3, dtype=torch.bool)


def _layer(*, shared: bool) -> CoAttention:
    torch.manual_seed(0)
    layer = CoAttention(8, 2, 12, shared=shared).eval()
    layer.vision.load_state_dict(layer.language.state_dict())
    return layer


def _sizes(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_shared_attention_is_one_set_of_parameters() -> None:
    shared, unshared = _layer(shared=True), _layer(shared=False)
    assert shared.to_vision is shared.to_language
    assert unshared.to_vision is not unshared.to_language
    assert _sizes(unshared) - _sizes(shared) == _sizes(Attention(8, 2))


@pytest.mark.parametrize("shared", [True, False])
def test_with_shared_weights_the_two_directions_are_one_function(shared: bool) -> None:
    layer = _layer(shared=shared)
    language, vision, language_mask, vision_mask = _streams()
    told, seen = layer(language, vision, language_mask, vision_mask)
    swapped_seen, swapped_told = layer(vision, language, vision_mask, language_mask)
    assert torch.allclose(told, swapped_told, atol=1e-6) == shared
    assert torch.allclose(seen, swapped_seen, atol=1e-6) == shared


def test_both_directions_read_the_inputs_of_the_layer() -> None:
    layer = _layer(shared=True)
    language, vision, language_mask, vision_mask = _streams()
    _, seen = layer(language, vision, language_mask, vision_mask)
    expected = layer.vision(layer.to_language(vision, language, language_mask), vision_mask)
    torch.testing.assert_close(seen, expected)


def test_padding_of_one_stream_is_silent_in_both() -> None:
    layer = _layer(shared=True)
    language, vision, language_mask, vision_mask = _streams()
    other = language.clone()
    other[1, 3] = 100.0
    first = layer(language, vision, language_mask, vision_mask)
    second = layer(other, vision, language_mask, vision_mask)
    torch.testing.assert_close(first[1], second[1], atol=1e-6, rtol=0)
    torch.testing.assert_close(first[0][1, :3], second[0][1, :3], atol=1e-6, rtol=0)
