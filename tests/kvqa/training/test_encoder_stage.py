import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn import functional as F

from kvqa.data.collate import Collator
from kvqa.data.example import Example
from kvqa.errors import InputError
from kvqa.models.encoder import EncoderConfig, QuestionImage, QuestionImageEncoder
from kvqa.models.text import TextEncoder
from kvqa.training.adversarial import AdversarialSettings
from kvqa.training.encoder_stage import (
    EncoderStage,
    SearchSpace,
    backward,
    encoder_loss,
    like_lengths,
    train_encoder,
)
from kvqa.training.objectives import class_loss, search_loss
from kvqa.training.targets import Targets
from kvqa.vision.regions import Region, Regions
from retrieval.knowledge_base import KnowledgeBase

WIDTH = 16
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "what", "is", "the", "animal", "thing", "hunts", "mice", "?", "cat", "dog"]
SEEN = Regions("a.jpg", 100, 100, tuple(Region(name, 0.9, (0, 0, 50, 50)) for name in ("cat", "dog", "cup")))
EXAMPLES = [
    Example(str(i), question, f"{i}.jpg", SEEN if i % 2 else replace(SEEN, regions=()))
    for i, question in enumerate(
        ["what is the animal ?", "what ?", "the thing hunts mice ?", "what is the thing ?", "what hunts cat ?"]
    )
]


def _label_vectors(labels: Sequence[str]) -> Tensor:
    rows = [np.random.default_rng(zlib.crc32(label.encode())).standard_normal(WIDTH) for label in labels]
    return torch.from_numpy(np.stack(rows)).float()


def _collator() -> Collator:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return Collator(tokenizer, _label_vectors, feature_width=4)


def _encoder() -> QuestionImageEncoder:
    torch.manual_seed(0)
    text = TextEncoder(vocabulary=len(WORDS), width=WIDTH, layers=2, heads=2, hidden=20, positions=40)
    config = EncoderConfig(tuned_layers=1, width=8, heads=2, hidden=12, cross_layers=1, feature_width=4, answers=3)
    return QuestionImageEncoder(text, config)


def _space() -> SearchSpace:
    torch.manual_seed(1)
    facts, entities, relations = (F.normalize(torch.randn(n, WIDTH), dim=-1).bfloat16() for n in (9, 6, 4))
    return SearchSpace(facts, entities, np.array([0, 1, -1, 2, 3, 4, 5]), relations)


def _targets() -> Targets:
    return Targets(
        fact=np.array([0, 3, -1, 8, 2]),
        answer=np.array([0, 3, -1, 6, 1]),
        anchor=np.array([1, 4, -1, 5, 0]),
        relation=np.array([0, 1, -1, 3, 2]),
        side=np.array([0, 1, -1, 1, 0]),
        visible=np.array([0, 1, 0, 1, 0]),
        vocabulary=np.array([-1, 2, 0, -1, 1]),
    )


class StoppedError(Exception):
    """Raised from the log, as if the machine went down."""


def _train(
    state: Path, *, stop_after: int = 99, collator: Collator | None = None, **settings: Any
) -> tuple[QuestionImageEncoder, list[str]]:
    encoder = _encoder()
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        if len(lines) == stop_after:
            raise StoppedError

    train_encoder(
        encoder,
        collator or _collator(),
        EXAMPLES,
        _targets(),
        _space(),
        replace(EncoderStage(epochs=2, batch=2, region_dropout=0.3), **settings),
        seed=3,
        name="encoder",
        state=state,
        log=log,
    )
    return encoder, lines


def test_a_stopped_run_goes_on_with_the_same_result(tmp_path: Path) -> None:
    straight, lines = _train(tmp_path / "straight.state")
    assert len(lines) == 2 and not straight.training
    with pytest.raises(StoppedError):
        _train(tmp_path / "stopped.state", stop_after=1)
    torch.rand(7)  # another process has drawn other numbers
    again, rest = _train(tmp_path / "stopped.state")
    assert [line.split(" loss")[0] for line in rest] == ["encoder: epoch 2/2"]
    for name, value in straight.named_parameters():
        torch.testing.assert_close(again.get_parameter(name), value, atol=0, rtol=0)


@pytest.mark.parametrize("settings", [{"tau": 0.1}, {"epochs": 3}, {"region_dropout": 0.0}])
def test_a_state_of_other_settings_is_refused(tmp_path: Path, settings: dict[str, float]) -> None:
    with pytest.raises(StoppedError):
        _train(tmp_path / "a.state", stop_after=1)
    with pytest.raises(InputError, match="was made with other settings or data"):
        _train(tmp_path / "a.state", **settings)


@pytest.mark.parametrize("change", [{"use_image": False}, {"use_question": False}, {"max_tokens": 6}])
def test_a_state_of_other_inputs_is_refused(tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(StoppedError):
        _train(tmp_path / "a.state", stop_after=1)
    with pytest.raises(InputError, match="was made with other settings or data"):
        _train(tmp_path / "a.state", collator=replace(_collator(), **change))


def test_adversarial_training_goes_on_after_a_stop_as_well(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"adversarial": AdversarialSettings(lr=0.1, kl=0.5), "tau": 0.1}
    straight, _ = _train(tmp_path / "straight.state", **settings)
    with pytest.raises(StoppedError):
        _train(tmp_path / "stopped.state", stop_after=1, **settings)
    again, _ = _train(tmp_path / "stopped.state", **settings)
    plain, _ = _train(tmp_path / "plain.state", tau=0.1)
    for name, value in straight.named_parameters():
        torch.testing.assert_close(again.get_parameter(name), value, atol=0, rtol=0)
    assert any(not torch.equal(value, plain.get_parameter(name)) for name, value in straight.named_parameters())
    with pytest.raises(InputError, match="was made with other settings or data"):
        _train(tmp_path / "straight.state", tau=0.1)


def test_an_adversarial_step_of_no_length_is_a_plain_step() -> None:
    def gradients(adversarial: AdversarialSettings | None) -> dict[str, Tensor]:
        encoder = _encoder().eval()
        stage = EncoderStage(tau=0.1, adversarial=adversarial)
        backward(encoder, _collator()(EXAMPLES), _space(), _targets(), stage)
        return {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}

    plain, none = gradients(None), gradients(AdversarialSettings(lr=1e-9))
    moved = gradients(AdversarialSettings(lr=0.5, kl=0.0))
    assert plain.keys() == none.keys()
    for name, value in plain.items():
        torch.testing.assert_close(none[name], value, atol=2e-3, rtol=2e-2)  # products may be in bfloat16
    assert any((moved[name] - value).abs().max() > 2e-2 for name, value in plain.items())


def test_training_changes_what_it_should_and_lowers_the_loss(tmp_path: Path) -> None:
    before = dict(_encoder().named_parameters())
    after, lines = _train(tmp_path / "a.state", epochs=12, region_dropout=0.0, tau=0.1, lr=3e-3)
    for name, parameter in after.named_parameters():
        idle = not parameter.requires_grad or name == "trunk.regions.feature.bias"  # no picture here has a feature
        assert torch.equal(parameter, before[name]) == idle, name
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines]
    assert losses[-1] < 0.7 * losses[0]


def test_the_loss_is_the_weighted_sum_of_what_is_switched_on() -> None:
    torch.manual_seed(2)
    queries = [F.normalize(torch.randn(5, WIDTH), dim=-1) for _ in range(4)]
    heads = [torch.randn(5, n) for n in (2, 2, 3)]
    out = QuestionImage(torch.zeros(0), torch.zeros(0), torch.zeros(0), *queries, *heads)
    space, targets = _space(), _targets()

    def wanted(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values)

    terms = {
        "fact": search_loss(queries[0], space.facts, wanted(targets.fact), tau=0.1),
        "answer": search_loss(queries[1], space.entities, torch.tensor([0, 2, -1, 5, 1]), tau=0.1),
        "anchor": search_loss(queries[2], space.entities, torch.tensor([1, 3, -1, 4, 0]), tau=0.1),
        "relation": search_loss(queries[3], space.relations, wanted(targets.relation), tau=0.1),
        "side": class_loss(heads[0], wanted(targets.side)),
        "visible": class_loss(heads[1], wanted(targets.visible)),
        "vocabulary": class_loss(heads[2], wanted(targets.vocabulary)),
    }
    off = EncoderStage(tau=0.1, **dict.fromkeys(terms, 0.0))
    for name, expected in terms.items():
        loss = encoder_loss(out, space, targets, replace(off, **{name: 2.0}))
        torch.testing.assert_close(loss, 2 * expected)
    everything = encoder_loss(out, space, targets, EncoderStage(tau=0.1, **dict.fromkeys(terms, 1.0)))
    torch.testing.assert_close(everything, torch.stack(list(terms.values())).sum())
    assert encoder_loss(out, space, targets, off) == 0


@pytest.fixture(scope="module")
def kb(small_kb: Path) -> Iterator[KnowledgeBase]:
    opened = KnowledgeBase.open(small_kb)
    yield opened
    opened.store.close()


def _no_targets(size: int) -> Targets:
    return Targets(**{name: np.full(size, -1) for name in vars(_targets())})


def test_hidden_facts_are_zeros_and_their_entities_are_not_drawn(kb: KnowledgeBase) -> None:
    allowed = np.ones(kb.manifest.facts, dtype=bool)
    allowed[[3, 9]] = False  # cats desire zorbal biscuits; mice desire cheese
    space = SearchSpace.of(kb, allowed, _no_targets(1), seed=0)
    norms = space.facts.float().norm(dim=-1)
    assert (norms == 0).tolist() == (~allowed).tolist()
    torch.testing.assert_close(norms[allowed], torch.ones(8), atol=0.01, rtol=0)
    ids = kb.store.find_entities(["zorbal biscuits", "mouse", "cheese", "cat", "dog"])
    rows = {name: int(space.entity_rows[i]) for name, i in ids.items()}
    assert rows["zorbal biscuits"] == rows["mouse"] == rows["cheese"] == -1
    assert len({rows["cat"], rows["dog"], -1}) == 3
    vector = torch.from_numpy(np.array(kb.entity_vectors[ids["dog"]])).to(space.entities.dtype)
    assert torch.equal(space.entities[rows["dog"]], vector)


def test_a_sample_always_holds_the_gold_entities(kb: KnowledgeBase) -> None:
    ids = kb.store.find_entities(["cheese", "cup"])
    targets = replace(_no_targets(2), answer=np.array([ids["cheese"], -1]), anchor=np.array([-1, ids["cup"]]))
    space = SearchSpace.of(kb, np.ones(kb.manifest.facts, dtype=bool), targets, seed=0, sample=3)
    assert len(space.entities) == len(set(space.entity_rows) - {-1}) <= 5
    rows = space.rows(np.array([ids["cheese"], -1, ids["cup"]]))
    assert rows[1] == -1 and (rows[[0, 2]] >= 0).all()
    assert torch.equal(space.to(torch.device("cpu")).entities, space.entities)


@pytest.mark.parametrize(("size", "batch"), [(0, 4), (1, 4), (37, 4), (64, 32)])
def test_batches_of_like_length_hold_every_row_once(size: int, batch: int) -> None:
    lengths = random.Random(0)
    examples = [Example(str(i), "x" * lengths.randint(1, 60), "a.jpg", SEEN) for i in range(size)]
    batches = like_lengths(examples, batch, random.Random(1))
    assert sorted(i for rows in batches for i in rows) == list(range(size))
    assert all(1 <= len(rows) <= batch for rows in batches) and len(batches) == -(-size // batch)
    assert batches == like_lengths(examples, batch, random.Random(1))
    if size == 37:
        spread = [max(v) - min(v) for rows in batches if (v := [len(examples[i].question) for i in rows])]
        assert np.mean(spread) < 15 and batches != like_lengths(examples, batch, random.Random(2))
