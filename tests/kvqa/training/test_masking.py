import random

import torch

from kvqa.training.masking import IGNORE, mask_patches, mask_regions, mask_words, swap_texts


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_words_are_chosen_and_shown_in_the_shares_of_bert() -> None:
    ids = torch.arange(10, 60).repeat(400, 2)  # 40,000 words
    allowed = torch.ones_like(ids, dtype=torch.bool)
    allowed[:, 0] = False
    shown, labels = mask_words(ids, allowed, mask_id=4, vocabulary=1000, generator=_generator())
    chosen = labels != IGNORE
    assert not chosen[:, 0].any() and torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(shown[~chosen], ids[~chosen])
    total = chosen.sum().item()
    assert abs(total / allowed.sum().item() - 0.15) < 0.01
    assert abs((shown[chosen] == 4).sum().item() / total - 0.8) < 0.02
    assert abs((shown[chosen] == ids[chosen]).sum().item() / total - 0.1) < 0.02


def test_the_same_generator_masks_the_same_words() -> None:
    ids, allowed = torch.arange(40).view(2, 20), torch.ones(2, 20, dtype=torch.bool)
    first, second, other = (
        mask_words(ids, allowed, mask_id=4, vocabulary=50, generator=_generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.ids, second.ids) and torch.equal(first.labels, second.labels)
    assert not torch.equal(first.labels, other.labels)


def test_regions_are_zeros_replaced_or_kept() -> None:
    vision = torch.randn(300, 20, 3, generator=_generator())
    allowed = torch.rand(300, 20, generator=_generator(1)) < 0.9
    vision[~allowed] = 77.0  # padding is never drawn as a replacement
    shown, masked = mask_regions(vision, allowed, generator=_generator(2))
    assert not (masked & ~allowed).any() and torch.equal(shown[~masked], vision[~masked])
    assert not (shown[masked] == 77).any()
    total = masked.sum().item()
    assert abs(total / allowed.sum().item() - 0.15) < 0.02
    blank, kept = (shown[masked] == 0).all(-1), (shown[masked] == vision[masked]).all(-1)
    assert abs(blank.sum().item() / total - 0.8) < 0.05 and abs(kept.sum().item() / total - 0.1) < 0.04


def test_regions_of_a_group_are_hidden_together() -> None:
    groups = torch.tensor([0, 1, 0, 2, 1, 0]).repeat(200, 1)
    vision, allowed = torch.ones(200, 6, 2), torch.ones(200, 6, dtype=torch.bool)
    allowed[:, 5] = False
    shown, masked = mask_regions(vision, allowed, generator=_generator(), rate=0.5, replace=0.0, groups=groups)
    assert torch.equal(masked[:, 0], masked[:, 2]) and torch.equal(masked[:, 1], masked[:, 4])
    assert torch.equal(shown[:, 0], shown[:, 2]) and not masked[:, 5].any() and masked.any()


def test_nothing_to_mask_is_no_error() -> None:
    shown, masked = mask_regions(torch.ones(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool), generator=_generator())
    assert torch.equal(shown, torch.ones(1, 2, 3)) and not masked.any()


def test_patches_are_cut_row_by_row() -> None:
    pixels = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).reshape(2, 3, 4, 6) + 1
    found = mask_patches(pixels, patch=2, generator=_generator(3), rate=0.5)
    assert found.patches.shape == (2, 6, 12) and found.masked.any() and not found.masked.all()
    for image in range(2):
        for number in range(6):
            y, x = 2 * (number // 3), 2 * (number % 3)
            square = pixels[image, :, y : y + 2, x : x + 2]
            assert torch.equal(found.patches[image, number], square.flatten())
            shown = found.pixels[image, :, y : y + 2, x : x + 2]
            assert torch.equal(shown, torch.zeros_like(square) if found.masked[image, number] else square)


def test_swapped_texts_are_of_other_pictures_and_differ() -> None:
    texts, pictures = ["a cat", "a dog", "a cat", "a cup"], ["1", "1", "2", "3"]
    rows = [0, 1, 2, 3] * 200
    chosen = swap_texts(texts, pictures, rows, random.Random(0))
    swapped = [(row, other) for row, other in zip(rows, chosen, strict=True) if row != other]
    assert 0.4 < len(swapped) / len(rows) < 0.6
    assert all(pictures[a] != pictures[b] and texts[a] != texts[b] for a, b in swapped)
    assert swap_texts(texts, ["1"] * 4, rows, random.Random(0), rate=1.0) == rows
