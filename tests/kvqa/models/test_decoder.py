import itertools

import pytest
import torch
from torch import Tensor

from kvqa.errors import InputError
from kvqa.models.crossmodal import CrossModal
from kvqa.models.decoder import IGNORED, AnswerDecoder, fused_sequence

START, END = 0, 1


def _decoder(**sizes: int) -> AnswerDecoder:
    torch.manual_seed(0)
    given = {"vocabulary": 12, "width": 16, "heads": 2, "hidden": 24, "layers": 2, "max_length": 6, **sizes}
    return AnswerDecoder(**given).eval()


def _states(size: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(size, 5, 16), torch.arange(5) < torch.tensor([[5], [3], [1]])[:size]


@torch.no_grad()
def _log_probability(decoder: AnswerDecoder, states: Tensor, mask: Tensor, ids: list[int]) -> float:
    logits = decoder(states, mask, torch.tensor([[START, *ids[:-1]]])).log_softmax(-1)[0]
    return float(logits[range(len(ids)), ids].sum())


def test_a_word_sees_only_what_is_before_it() -> None:
    decoder, (states, mask) = _decoder(), _states()
    ids = torch.randint(2, 12, (3, 6))
    changed = ids.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 12
    for gradient in (False, True):
        with torch.set_grad_enabled(gradient):
            before, after = decoder(states, mask, ids), decoder(states, mask, changed)
        torch.testing.assert_close(before[:, :4], after[:, :4], atol=1e-6, rtol=0)
        assert not torch.allclose(before[:, 4:], after[:, 4:], atol=1e-3)


def test_word_by_word_with_what_is_kept_gives_the_same_as_all_at_once() -> None:
    decoder, (states, mask) = _decoder(), _states()
    for row, written in enumerate(decoder.write(states, mask, start=START, end=END)):
        ids = [*written.ids, END][:5]
        one, real = states[row : row + 1], mask[row : row + 1]
        assert written.score == pytest.approx(_log_probability(decoder, one, real, ids) / len(ids), abs=1e-5)
        logits = decoder(one, real, torch.tensor([[START, *ids[:-1]]]))
        assert logits.argmax(-1)[0].tolist() == ids


def test_an_answer_does_not_depend_on_padding_or_company() -> None:
    decoder, (states, mask) = _decoder(), _states()
    for beams in (1, 3):
        together = decoder.write(states, mask, start=START, end=END, beams=beams)
        for row in range(3):
            real = int(mask[row].sum())
            (alone,) = decoder.write(
                states[row : row + 1, :real], mask[row : row + 1, :real], start=0, end=1, beams=beams
            )
            assert alone.ids == together[row].ids and alone.score == pytest.approx(together[row].score, abs=1e-5)


def test_many_beams_find_the_best_of_all_answers() -> None:
    decoder, (states, mask) = _decoder(vocabulary=4, max_length=4), _states(1)
    with torch.no_grad():
        decoder.words.weight.mul_(3)
    (found,) = decoder.write(states, mask, start=START, end=END, beams=64)
    answers = [list(a) for n in range(3) for a in itertools.product((0, 2, 3), repeat=n)]
    every = [[*a, END] for a in answers] + [list(a) for a in itertools.product((0, 2, 3), repeat=3)]
    scores = {tuple(ids): _log_probability(decoder, states, mask, ids) / len(ids) for ids in every}
    best = max(scores, key=scores.__getitem__)
    assert [*found.ids, END][:3] == list(best)[:3] and found.score == pytest.approx(scores[best], abs=1e-5)
    (greedy,) = decoder.write(states, mask, start=START, end=END)
    assert greedy.score <= found.score + 1e-6


def test_it_learns_to_write_what_it_sees() -> None:
    """Answers of two or three word pieces, read off the fused sequence: nearly all are right after training."""
    torch.manual_seed(0)
    decoder = _decoder(vocabulary=14, max_length=6)
    meaning = torch.randn(14, 16)

    def examples(count: int) -> tuple[Tensor, Tensor, Tensor]:
        words = torch.randint(2, 14, (count, 3))
        mask = torch.ones(count, 3, dtype=torch.bool)
        mask[:, 2] = torch.rand(count) < 0.5
        places = 2 * torch.eye(3, 16)
        end, rest = torch.full((count, 1), END), torch.full((count, 1), IGNORED)
        third = torch.where(mask[:, 2:], words[:, 2:], end)
        fourth = torch.where(mask[:, 2:], end, rest)
        return meaning[words] + places, mask, torch.cat([torch.full((count, 1), START), words[:, :2], third, fourth], 1)

    optimizer = torch.optim.AdamW(decoder.parameters(), lr=5e-3)
    decoder.train()
    for _ in range(200):
        optimizer.zero_grad()
        decoder.loss(*examples(64)).backward()
        optimizer.step()
    states, mask, ids = examples(100)
    for beams in (1, 3):
        written = decoder.eval().write(states, mask, start=START, end=END, beams=beams)
        right = [
            w.ids == [i for i in row[1:] if i not in (END, IGNORED)]
            for w, row in zip(written, ids.tolist(), strict=True)
        ]
        assert sum(right) >= 97


def test_the_fused_sequence_is_words_then_regions() -> None:
    language, vision = torch.zeros(2, 3, 4), torch.ones(2, 2, 4)
    mask, seen = torch.tensor([[True, True, False]] * 2), torch.tensor([[True, False]] * 2)
    states, real = fused_sequence(CrossModal(language, vision, language[:, 0], language, seen), mask)
    assert states[0, :, 0].tolist() == [0, 0, 0, 1, 1] and real[0].tolist() == [True, True, False, True, False]


def test_what_is_too_long_or_too_few_is_refused() -> None:
    decoder, (states, mask) = _decoder(), _states()
    with pytest.raises(InputError, match="an answer has 7 word pieces, the decoder allows 6"):
        decoder(states, mask, torch.zeros(3, 7, dtype=torch.long))
    with pytest.raises(ValueError, match="beams 0 is not positive"):
        decoder.write(states, mask, start=START, end=END, beams=0)
