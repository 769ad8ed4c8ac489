import pytest
import torch

from retrieval.precision import fast_bfloat16


@pytest.fixture(autouse=True)
def forget():
    fast_bfloat16.cache_clear()
    yield
    fast_bfloat16.cache_clear()


@pytest.mark.parametrize(("flags", "fast"), [((False, False), False), ((True, False), True), ((False, True), True)])
def test_a_cpu_is_fast_with_its_instructions_only(monkeypatch, flags, fast):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: flags[0], raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: flags[1], raising=False)
    assert fast_bfloat16() is fast


def test_a_torch_that_cannot_tell_counts_as_slow(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert fast_bfloat16() is False


def test_a_gpu_says_for_itself(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert fast_bfloat16("cuda") is True
