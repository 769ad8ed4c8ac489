import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from kvqa.data.collate import Collator
from kvqa.data.example import Example
from kvqa.models.crossmodal import Embeddings
from kvqa.models.encoder import QUERIES, EncoderConfig, QuestionImage, QuestionImageEncoder
from kvqa.models.text import TextEncoder, mean_pool, sentence_vector
from kvqa.vision.regions import Region, Regions

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ","]
WORDS = [*SPECIAL, "what", "is", "the", "animal", "in", "this", "picture", "cat", "dog", "mat", "used", "for"]
CONFIG = EncoderConfig(
    tuned_layers=1, width=8, heads=2, hidden=12, vision_layers=1, cross_layers=1, feature_width=4, answers=3
)


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def _label_vectors(labels: Sequence[str]) -> Tensor:
    rows = [np.random.default_rng(zlib.crc32(label.encode())).standard_normal(16) for label in labels]
    return torch.from_numpy(np.stack(rows)).float()


def _encoder(config: EncoderConfig = CONFIG, *, trained: bool = False) -> QuestionImageEncoder:
    """An encoder with random language weights; `trained` also gives its zero maps random weights."""
    torch.manual_seed(0)
    text = TextEncoder(vocabulary=len(WORDS), width=16, layers=2, heads=2, hidden=20, positions=40)
    encoder = QuestionImageEncoder(text, config)
    if trained:
        with torch.no_grad():
            for parameter in encoder.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return encoder.eval()


COLLATE = Collator(_tokenizer(), _label_vectors, feature_width=4)

NOTHING = Regions("nothing.jpg", 100, 100, ())
CAT = Region("cat", 0.9, (10, 10, 50, 60))
EXAMPLES = [
    Example("0", "What is this?", "a.jpg", NOTHING),
    Example("1", "What is the animal in this picture used for?", "b.jpg", replace(NOTHING, regions=(CAT,))),
    Example(
        "2",
        "What is the cat in?",
        "c.jpg",
        Regions(
            "c.jpg",
            80,
            60,
            (
                CAT,
                Region("dog", 0.5, (0, 0, 80, 60)),
                Region("mat", 0.4, None, "tag"),
                Region("the", 1, None, "caption"),
            ),
            image_feature=np.array([1, 2, 3, 4], dtype=np.float32),
        ),
    ),
    Example("3", "dog", "d.jpg", replace(NOTHING, regions=(Region("mat", 0.3, None, "tag"),))),
]


def test_before_training_the_queries_are_the_sentence_vector() -> None:
    encoder = _encoder()
    batch = COLLATE(EXAMPLES)
    out = encoder(batch)
    frozen = sentence_vector(encoder.base(batch.ids, batch.segments, batch.mask), batch.mask)
    for name in QUERIES:
        torch.testing.assert_close(getattr(out, name), frozen, atol=1e-5, rtol=0)
    plain = COLLATE(EXAMPLES[:1])  # nothing seen, so the text is the question alone
    torch.testing.assert_close(out.fact[:1], encoder.embed(plain.ids, plain.mask), atol=1e-5, rtol=0)


def test_shapes_and_unit_length() -> None:
    out = _encoder(trained=True)(COLLATE(EXAMPLES))
    assert out.language.shape[::2] == (4, 8) and out.vision.shape == (4, 5, 8) and out.pooled.shape == (4, 8)
    assert out.side.shape == (4, 2) and out.visible.shape == (4, 2) and out.vocabulary.shape == (4, 3)
    for name in QUERIES:
        torch.testing.assert_close(getattr(out, name).norm(dim=-1), torch.ones(4))
    assert not torch.allclose(out.fact, out.answer, atol=1e-2)


@pytest.mark.parametrize("gradient", [False, True])
def test_an_example_alone_and_in_a_ragged_batch_is_the_same(gradient: bool) -> None:
    encoder = _encoder(trained=True)
    with torch.set_grad_enabled(gradient):
        together = encoder(COLLATE(EXAMPLES))
        for row, example in enumerate(EXAMPLES):
            alone = encoder(COLLATE([example]))
            for name in (*QUERIES, "pooled", "side", "visible", "vocabulary"):
                value, expected = getattr(together, name)[row], getattr(alone, name)[0]
                torch.testing.assert_close(value, expected, atol=1e-5, rtol=0)


def test_the_frozen_encoder_gets_no_gradient_and_no_dropout() -> None:
    encoder = _encoder(trained=True).train()
    assert encoder.training and not any(m.training for m in encoder.base.modules())
    batch = COLLATE(EXAMPLES)
    before = encoder.embed(batch.ids, batch.mask)
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    out = encoder(batch)
    (out.fact[:, 0].sum() + out.side.sum()).backward()
    optimizer.step()
    assert all(p.grad is None for p in encoder.base.parameters())
    assert all(p.grad is not None for p in encoder.tuned.parameters())
    torch.testing.assert_close(encoder.embed(batch.ids, batch.mask), before, atol=0, rtol=0)


def _differ(first: QuestionImage, second: QuestionImage) -> bool:
    return any(
        not torch.allclose(getattr(first, name), getattr(second, name), atol=1e-6)
        for name in (*QUERIES, "pooled", "side", "visible", "vocabulary")
    )


@pytest.mark.parametrize(("cross_layers", "looks"), [(0, False), (1, True)])
def test_without_cross_layers_the_picture_is_not_looked_at(cross_layers: int, looks: bool) -> None:
    encoder = _encoder(replace(CONFIG, cross_layers=cross_layers), trained=True)
    example = EXAMPLES[2]
    cat, *others = example.regions.regions
    changes = [
        replace(example.regions, image_feature=None),
        replace(example.regions, regions=(replace(cat, box=(40, 40, 80, 60)), *others)),
        replace(example.regions, regions=(replace(cat, score=0.3), *others)),
    ]
    plain = encoder(COLLATE([example]))
    for regions in changes:  # none of which changes the names of what was seen, which are part of the text
        assert _differ(plain, encoder(COLLATE([replace(example, regions=regions)]))) == looks
    if not looks:
        assert not plain.pooled.any()


def test_a_feature_that_is_not_there_is_not_read() -> None:
    encoder = _encoder(trained=True)
    batch = COLLATE(EXAMPLES[:1])
    noise = replace(batch, image_feature=torch.full((1, 4), 9.0))
    assert not _differ(encoder(batch), encoder(noise))
    assert _differ(encoder(batch), encoder(replace(noise, has_image_feature=torch.tensor([True]))))


@pytest.mark.parametrize("tuned", [-1, 3])
def test_more_tuned_layers_than_there_are_is_an_error(tuned: int) -> None:
    with pytest.raises(ValueError, match=f"tuned_layers {tuned} is not between 0 and 2"):
        _encoder(replace(CONFIG, tuned_layers=tuned))


def test_without_tuned_layers_the_language_is_that_of_the_sentence_encoder() -> None:
    encoder = _encoder(replace(CONFIG, tuned_layers=0, cross_layers=0))
    batch = COLLATE(EXAMPLES)
    assert not list(encoder.tuned.parameters())
    expected = encoder.bridge(encoder.base(batch.ids, batch.segments, batch.mask))
    torch.testing.assert_close(encoder(batch).language, expected)


def test_the_encoder_is_its_parts_one_after_the_other() -> None:
    """What released checkpoints were trained as, written out."""
    encoder, batch = _encoder(trained=True), COLLATE(EXAMPLES)
    trunk = encoder.trunk
    words = encoder.base.embed(batch.ids, batch.segments)
    for layer in [encoder.base.layers[0], *encoder.tuned]:
        words = layer(words, batch.mask)
    language, vision = encoder.bridge(words), trunk.regions(batch.labels, batch)
    for layer in trunk.vision:
        vision = layer(vision, batch.region_mask)
    for layer in trunk.cross:
        language, vision = layer(language, vision, batch.mask, batch.region_mask)
    pooled = torch.tanh(trunk.pooler(torch.cat([language[:, 0], vision[:, 0]], dim=-1)))
    out = encoder(batch)
    torch.testing.assert_close(out.pooled, pooled, atol=0, rtol=0)
    torch.testing.assert_close(out.side, encoder.side(torch.cat([mean_pool(words, batch.mask), pooled], dim=-1)))


def test_embeddings_of_a_batch_can_be_perturbed() -> None:
    encoder, batch = _encoder(trained=True), COLLATE(EXAMPLES)
    clean = encoder.trunk.embed(batch)
    delta = torch.zeros_like(clean.words, requires_grad=True)
    seen = torch.zeros_like(clean.vision, requires_grad=True)
    out = encoder(batch, Embeddings(clean.words + delta, clean.vision + seen))
    assert not _differ(out, encoder(batch))
    out.fact.sum().backward()
    assert delta.grad is not None and delta.grad[batch.mask].any() and seen.grad is not None and seen.grad.any()


@pytest.mark.parametrize("change", [{"fusion": "merged"}, {"shared": False}, {"order": "self-first"}])
def test_the_streams_may_meet_in_other_ways(change: dict[str, Any]) -> None:
    encoder = _encoder(replace(CONFIG, **change), trained=True)
    assert _differ(encoder(COLLATE(EXAMPLES)), _encoder(trained=True)(COLLATE(EXAMPLES)))
    together, alone = encoder(COLLATE(EXAMPLES)), encoder(COLLATE(EXAMPLES[1:2]))
    torch.testing.assert_close(together.fact[1], alone.fact[0], atol=1e-5, rtol=0)


def test_an_unknown_way_to_meet_is_refused() -> None:
    with pytest.raises(ValueError, match="'late' is none of co-attention, merged"):
        _encoder(replace(CONFIG, fusion="late"))  # type: ignore[arg-type]
