"""How fast is the cross-modal encoder? Side by side with `LxmertModel` of `transformers`, same weights and inputs.

    python benchmarks/bench_encoder.py [--repeats 5] [--threads 2] [--batch 32] [--train-batch 32] [--cpu-time]

Base size (9, 5 and 5 layers of 768), random weights, 20 words and 36 regions. Times are medians; what is compared is
timed in turn; `--cpu-time` counts processor time, for machines that others use too.

The last line is a JSON object: `max_abs_diff` of all outputs in float32; `fp32_ratio`, `bf16_ratio`, `vcr_ratio` and
`train_ratio`, the peer's float32 time over ours; `bf16_cosine` of pooled vectors, the lowest; `ragged_ratio`, our
float32 time with padding over ours without. Where the processor has no bfloat16 products, `bf16` is false, the
bfloat16 figures come from two pairs at one repeat, and ours of VCR and of training are float32.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.data.pairs import Pairs
from kvqa.models.crossmodal import CrossModalEncoder
from kvqa.models.lxmert import from_transformers
from kvqa.training.memory import keep_freed_memory
from retrieval.precision import fast_bfloat16

WORDS, REGIONS, CANDIDATES = 20, 36, 20
Clock = Callable[[], float]
Timer = Callable[..., list[float]]


def make_pairs(words: Tensor, regions: Tensor) -> Pairs:
    """Random pairs with the given numbers of words and regions (B,), padded to the longest."""
    mask = torch.arange(int(words.max())) < words[:, None]
    region_mask = torch.arange(int(regions.max())) < regions[:, None]
    features = torch.randn(*region_mask.shape, 2048) * region_mask[..., None]
    return Pairs(
        torch.randint(1000, 30000, mask.shape) * mask, mask, features, torch.rand(*region_mask.shape, 4), region_mask
    )


def full(batch: int) -> Pairs:
    """Pairs without padding."""
    return make_pairs(torch.full((batch,), WORDS), torch.full((batch,), REGIONS))


def call_peer(peer: nn.Module, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Return language, vision and pooled output of `LxmertModel`, one picture a text."""
    assert pairs.region_mask is not None and pairs.boxes is not None
    rows = torch.arange(len(pairs.ids)) if pairs.picture is None else pairs.picture
    out = peer(
        input_ids=pairs.ids,
        attention_mask=pairs.mask.float(),
        visual_feats=pairs.vision[rows],
        visual_pos=pairs.boxes[rows],
        visual_attention_mask=pairs.region_mask[rows].float(),
    )
    return out.language_output, out.vision_output, out.pooled_output


def medians(repeats: int, clock: Clock, *calls: Callable[[], object]) -> list[float]:
    """Return the median seconds of each call, called in turn, after one round that does not count."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 1):
        for found, call in zip(times, calls, strict=True):
            start = clock()
            call()
            found.append(clock() - start)
    return [statistics.median(found[1:]) for found in times]


def largest_difference(peer: nn.Module, encoder: CrossModalEncoder, pairs: Pairs) -> float:
    """Return the largest absolute difference of any output at a real position."""
    ours, theirs = encoder(pairs), call_peer(peer, pairs)
    assert pairs.region_mask is not None
    parts = (
        (ours.language[pairs.mask] - theirs[0][pairs.mask]),
        (ours.vision[pairs.region_mask] - theirs[1][pairs.region_mask]),
        (ours.pooled - theirs[2]),
    )
    return max(part.abs().max().item() for part in parts)


def vcr_pairs() -> Pairs:
    """One picture with 4 answers and 16 rationales, word pieces as in VCR: 14 to 30, and 26 to 64."""
    words = torch.cat([torch.randint(14, 31, (4,)), torch.randint(26, 65, (16,))])
    pairs = make_pairs(words, torch.full((1,), REGIONS))
    return replace(pairs, picture=torch.zeros(CANDIDATES, dtype=torch.long))


def training_step(forward: Callable[[], tuple[Tensor, ...]], module: nn.Module) -> Callable[[], None]:
    """Return a step: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-6, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = sum((out.float().square().mean() for out in forward()), torch.zeros(()))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def kept_mib(forward: Callable[[], object], module: nn.Module) -> float:
    """Return the memory that `forward` keeps for the backward pass, parameters apart."""
    parameters = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = forward()
    del out
    return sum(kept.values()) / 2**20


def autocast_outputs(encoder: CrossModalEncoder, pairs: Pairs, *, bf16: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return our three outputs, products in bfloat16 if wanted."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        out = encoder(pairs)
    return out.language, out.vision, out.pooled


def time_forward(peer: nn.Module, encoder: CrossModalEncoder, batches: Sequence[int], timer: Timer) -> float:
    """Print milliseconds a pair in float32; return the ratio at the last of `batches`."""
    ratio = 0.0
    for batch in batches:
        pairs = full(batch)
        theirs, mine = timer(partial(call_peer, peer, pairs), partial(encoder, pairs))
        print(f"fp32, batch {batch}: peer {theirs / batch * 1e3:.1f} ms a pair, ours {mine / batch * 1e3:.1f}")
        ratio = theirs / mine
    return ratio


def time_ragged(encoder: CrossModalEncoder, pairs: Pairs, timer: Timer) -> float:
    """Return our time with padding over ours without."""
    assert pairs.region_mask is not None
    padded, packed = timer(partial(encoder, pairs), partial(encoder, pairs, packed=True))
    positions = torch.cat([pairs.mask, pairs.region_mask], dim=1).float().mean()
    print(f"ragged: padded {padded * 1e3:.0f} ms, packed {packed * 1e3:.0f}; {positions:.0%} of positions are real")
    return padded / packed


def time_half(peer: nn.Module, half: CrossModalEncoder, pairs: Pairs, timer: Timer) -> tuple[float, float]:
    """Return the peer's float32 time over our bfloat16 time, and the lowest cosine of pooled vectors."""
    halved = replace(pairs, vision=pairs.vision.bfloat16())
    theirs, mine = timer(partial(call_peer, peer, pairs), partial(half, halved))
    print(f"bf16, batch {len(pairs.ids)}: peer fp32 {theirs * 1e3:.0f} ms, ours bf16 {mine * 1e3:.0f}")
    cosine = F.cosine_similarity(half(halved).pooled.float(), call_peer(peer, pairs)[2], dim=-1)
    return theirs / mine, cosine.min().item()


def time_vcr(peer: nn.Module, encoder: CrossModalEncoder, timer: Timer) -> float:
    """Return the peer's padded float32 time over ours for the candidates of one question."""
    pairs = vcr_pairs()
    asked = replace(pairs, vision=pairs.vision.to(encoder.pooler.weight.dtype))
    theirs, mine = timer(partial(call_peer, peer, pairs), partial(encoder.pooled, asked, packed=True))
    print(f"VCR, {CANDIDATES} candidates: peer fp32 {theirs * 1e3:.0f} ms, ours {mine * 1e3:.0f}")
    return theirs / mine


def time_training(peer: nn.Module, encoder: CrossModalEncoder, batch: int, timer: Timer) -> float:
    """Return the peer's float32 time of a training step over ours, in bfloat16 where that is fast."""
    pairs = full(batch)
    forward = partial(autocast_outputs, encoder.train(), pairs, bf16=fast_bfloat16())
    peer_forward = partial(call_peer, peer.train(), pairs)
    theirs, mine = timer(training_step(peer_forward, peer), training_step(forward, encoder))
    print(f"training step, batch {batch}: peer fp32 {theirs * 1e3:.0f} ms, ours {mine * 1e3:.0f}")
    theirs_mib, mine_mib = kept_mib(peer_forward, peer), kept_mib(forward, encoder)
    print(f"kept for the backward pass: peer {theirs_mib:.0f} MiB, ours {mine_mib:.0f}")
    return theirs / mine


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--train-batch", type=int, default=32)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--layers", type=int, nargs=3, default=(9, 5, 5), help="language, vision, cross-modality")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # for both sides: what the system takes to find pages is not what is compared
    torch.manual_seed(0)
    from transformers import LxmertConfig, LxmertModel

    language, vision, cross = options.layers
    peer = LxmertModel(LxmertConfig(l_layers=language, r_layers=vision, x_layers=cross)).eval()

    def ours() -> CrossModalEncoder:
        return from_transformers(peer.config.to_dict(), peer.state_dict(), source="the peer").encoder

    bf16 = fast_bfloat16()
    clock = time.process_time if options.cpu_time else time.perf_counter
    timer = partial(medians, options.repeats, clock)
    words, regions = torch.randint(5, WORDS + 1, (options.batch,)), torch.randint(10, REGIONS + 1, (options.batch,))
    ragged = make_pairs(words, regions)
    result: dict[str, float | bool] = {"bf16": bf16}
    print(f"{platform.processor() or platform.machine()}, {options.threads} threads, torch {torch.__version__}")
    with torch.inference_mode():
        encoder = ours().prepare_for_inference()
        half = ours().to(torch.bfloat16).prepare_for_inference()
        result["max_abs_diff"] = largest_difference(peer, encoder, ragged)
        result["fp32_ratio"] = time_forward(peer, encoder, sorted({1, 8, options.batch}), timer)
        result["ragged_ratio"] = time_ragged(encoder, ragged, timer)
        pairs, half_timer = (full(options.batch), timer) if bf16 else (full(2), partial(medians, 1, clock))
        result["bf16_ratio"], result["bf16_cosine"] = time_half(peer, half, pairs, half_timer)
        result["vcr_ratio"] = time_vcr(peer, half if bf16 else encoder, timer)
        del half
    result["train_ratio"] = time_training(
        peer, ours(), options.train_batch, partial(medians, max(1, options.repeats // 2), clock)
    )
    print(json.dumps({name: v if isinstance(v, bool) else round(v, 7) for name, v in result.items()}))


if __name__ == "__main__":
    main()
