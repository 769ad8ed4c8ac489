"""Items collated in memory or on disk: the same numbers, and memory that stays within its bounds."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kvqa.data.choices import ChoiceBatch, ChoiceCollator, Inputs, Item, join, take
from kvqa.errors import InputError
from kvqa.training.collated import collate_once
from kvqa.vision.regions import Regions

BLIND = Regions("a.jpg", 9, 9, ())


def _items(count: int) -> list[Item]:
    return [
        Item("answer", (f"q{i}",), tuple(f"a{i + j}" for j in range(4)), i % 4, BLIND, (frozenset(),) * 4)
        for i in range(count)
    ]


def _vectors(width: int) -> Callable[[Sequence[str]], np.ndarray]:  # type: ignore[type-arg]
    def vectors(texts: Sequence[str]) -> np.ndarray:  # type: ignore[type-arg]
        return np.stack([np.full(width, len(text) + ord(text[-1]), dtype=np.float32) for text in texts])

    return vectors


def _same(first: ChoiceBatch, second: ChoiceBatch) -> None:
    for field in fields(ChoiceBatch):
        assert torch.equal(getattr(first, field.name), getattr(second, field.name)), field.name
        assert getattr(first, field.name).dtype == getattr(second, field.name).dtype, field.name


@pytest.mark.parametrize("count", [1, 16, 37])
def test_disk_and_memory_hold_the_same(count: int, tmp_path: Path) -> None:
    items, collator = _items(count), ChoiceCollator(_vectors(5), Inputs(regions=2, facts=2))
    lines: list[str] = []
    held = collate_once(items, collator, folder=tmp_path, log=lines.append)
    assert not lines
    mapped = collate_once(items, collator, folder=tmp_path, budget=0, log=lines.append)
    assert len(lines) == 1 and "lie in" in lines[0]
    _same(held, join([collator([item]) for item in items]))
    _same(mapped, held)
    _same(take(mapped, [count - 1, 0]), take(held, [count - 1, 0]))
    assert not list(tmp_path.iterdir())  # files without names, which no run leaves behind


def test_a_full_disk_is_said_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10})())
    collator = ChoiceCollator(_vectors(5), Inputs(regions=2, facts=2))
    with pytest.raises(InputError, match=r"0\.0 GB free; give another --out"):
        collate_once(_items(3), collator, folder=tmp_path, budget=0)


def _anonymous() -> int:
    """Bytes of memory that is backed by no file."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from Linux's /proc")
def test_memory_stays_small_when_items_lie_on_disk(tmp_path: Path) -> None:
    items, collator = _items(512), ChoiceCollator(_vectors(2048), Inputs(regions=2, facts=1))
    one = collator(items[:1])
    before, most = _anonymous(), 0

    def watched(part: Sequence[Item]) -> ChoiceBatch:
        nonlocal most
        most = max(most, _anonymous() - before)
        return replace(one, right=torch.full((len(part),), -1)) if len(part) == 1 else join([one] * len(part))

    whole = collate_once(items, watched, folder=tmp_path, budget=1 << 20, log=lambda line: None)
    for start in range(0, len(items), 16):
        take(whole, range(start, start + 16))
        most = max(most, _anonymous() - before)
    size = sum(getattr(whole, field.name).nbytes for field in fields(ChoiceBatch))
    assert size > 100e6 and most < 40e6
