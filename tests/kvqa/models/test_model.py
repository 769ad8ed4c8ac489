from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kvqa.data.example import Example
from kvqa.models.checkpoint import load_model
from kvqa.models.model import KvqaModel, LabelMemory, embed_texts
from kvqa.vision.regions import Region, Regions

CAT = Regions("a.jpg", 100, 100, (Region("cat", 0.9, (0, 0, 50, 50)),), image_feature=np.ones(300, dtype=np.float32))
EXAMPLES = [
    Example("0", "Which of these animals is the one that hunts mice in the dark?", "a.jpg", CAT),
    Example("1", "Why?", "b.jpg", replace(CAT, regions=())),
    Example("2", "What is this?", "c.jpg", CAT),
]


@pytest.fixture(scope="module")
def model(small_model: Path) -> KvqaModel:
    return load_model(small_model)


def test_each_label_is_embedded_once(model: KvqaModel, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[str] = []

    def embed(encoder: object, tokenizer: object, texts: Sequence[str]) -> Tensor:
        embedded.extend(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    monkeypatch.setattr("kvqa.models.model.embed_texts", embed)
    memory = LabelMemory(model.encoder, model.tokenizer)
    assert memory(["cat", "mouse", "cat"]).tolist() == [[3.0], [5.0], [3.0]]
    assert memory(["dog", "cat"]).tolist() == [[3.0], [3.0]]
    assert embedded == ["cat", "mouse", "dog"]


def test_a_label_vector_does_not_depend_on_its_company(model: KvqaModel) -> None:
    labels = [
        "cat",
        "a cat that sleeps on the mat in the sun beside a cup of coffee",
        "two dogs",
        "mat",
        "indoor scene",
    ]
    together = LabelMemory(model.encoder, model.tokenizer)(labels)
    for row, label in enumerate(labels):
        alone = LabelMemory(model.encoder, model.tokenizer)([label])
        torch.testing.assert_close(together[row], alone[0], atol=1e-6, rtol=0)


def test_embedded_texts_are_unit_vectors_however_long(model: KvqaModel) -> None:
    vectors = embed_texts(model.encoder, model.tokenizer, ["cat", "cat " * 900, ""])
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
    assert vectors.dtype == torch.float32


def test_views_come_in_the_order_of_the_examples(model: KvqaModel) -> None:
    views = model.views(EXAMPLES, batch=2)
    (alone,) = model.views(EXAMPLES[:1])
    np.testing.assert_allclose(views[0].fact, alone.fact, atol=0.02)  # products are computed in bfloat16
    np.testing.assert_allclose(views[0].question, alone.question, atol=0.02)
    questions = embed_texts(model.encoder, model.tokenizer, [e.question for e in EXAMPLES]).numpy()
    np.testing.assert_allclose([view.question for view in views], questions, atol=0.02)
    assert model.views([]) == []


def test_a_view_holds_vectors_and_log_probabilities(model: KvqaModel) -> None:
    view = model.views(EXAMPLES[:1])[0]
    for name in ("fact", "answer", "anchor", "relation", "question", "described"):
        np.testing.assert_allclose(np.linalg.norm(getattr(view, name)), 1, atol=1e-3)
    for name, size in (("side", 2), ("visible", 2), ("vocabulary", 2)):
        assert getattr(view, name).shape == (size,)
        np.testing.assert_allclose(np.exp(getattr(view, name)).sum(), 1, atol=1e-5)


def test_the_plain_vectors_are_of_question_and_of_question_with_names(model: KvqaModel) -> None:
    view = model.views(EXAMPLES[2:])[0]
    question, described = embed_texts(model.encoder, model.tokenizer, ["What is this?", "What is this? cat"]).numpy()
    np.testing.assert_allclose(view.question, question, atol=0.02)
    np.testing.assert_allclose(view.described, described, atol=0.02)


def test_another_encoder_can_be_asked(model: KvqaModel) -> None:
    other = deepcopy(model.encoder).train()
    with torch.no_grad():
        other.get_submodule("sentence.fact").get_parameter("weight").neg_()
        other.get_submodule("picture.fact").get_parameter("weight").neg_()
    turned = model.views(EXAMPLES[:1], encoder=other)[0]
    np.testing.assert_allclose(turned.fact, -model.views(EXAMPLES[:1])[0].fact, atol=1e-6)


@pytest.mark.parametrize(("use_question", "use_image"), [(True, True), (False, True), (True, False)])
def test_ablations_blank_one_side(
    model: KvqaModel, use_question: bool, use_image: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = replace(model.config.inputs, use_question=use_question, use_image=use_image)
    monkeypatch.setattr(model, "config", replace(model.config, inputs=inputs))
    seen = model.seen(EXAMPLES[0])
    assert seen.question == (EXAMPLES[0].question if use_question else "")
    assert bool(seen.regions.regions) == use_image and (seen.regions.image_feature is not None) == use_image
    views = model.views([EXAMPLES[0], EXAMPLES[2]])  # another question about the same picture
    assert np.allclose(views[0].fact, views[1].fact, atol=0.01) == (not use_question)
