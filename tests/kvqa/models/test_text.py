import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.nn import functional as F

from kvqa.errors import InputError
from kvqa.models.encoder import EncoderConfig, QuestionImageEncoder
from kvqa.models.text import TextEncoder, TextFolder, mean_pool, sentence_vector

SENTENCES = [
    "What is the animal on the mat?",
    "cat",
    "A bicycle has two wheels.",
    "Which of the things in this picture is used for drinking coffee, and who would drink it in the dark?",
    "whiskers, mouse; cheese - and an umlaut: Müsli",
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A tiny BERT with random weights, as a folder and as the model of `transformers`."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=36,
        max_position_embeddings=20,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.5, 0.5)
    folder = tmp_path_factory.mktemp("bert")
    model.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "cat": 1, "dog": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=7)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder, model


@pytest.mark.parametrize("gradient", [False, True], ids=["fused attention", "plain attention"])
def test_hidden_states_are_those_of_transformers(bert: tuple[Path, Any], gradient: bool) -> None:
    folder, reference = bert
    encoder = TextEncoder.from_folder(TextFolder(folder)).eval()
    ids, segments = torch.randint(0, 40, (4, 9)), torch.randint(0, 2, (4, 9))
    mask = torch.ones(4, 9, dtype=torch.bool)
    mask[1, 5:] = False
    mask[2, 1:] = False
    mask[3, [0, 4, 6]] = False
    with torch.no_grad():
        expected = reference(ids, attention_mask=mask.long(), token_type_ids=segments).last_hidden_state
    with torch.set_grad_enabled(gradient):
        states = encoder(ids, segments, mask)
    assert states.requires_grad == gradient
    assert (states - expected).abs().max().item() <= 1e-5


def test_weights_under_the_prefix_of_a_larger_model_are_found(bert: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = bert
    weights = load_file(folder / "model.safetensors")
    save_file({f"bert.{name}": value for name, value in weights.items()}, tmp_path / "model.safetensors")
    assert TextFolder(tmp_path).weights().keys() == weights.keys()


def test_the_tokenizer_neither_cuts_nor_pads(bert: tuple[Path, Any]) -> None:
    assert TextFolder(bert[0]).tokenizer().encode("cat dog cat dog").ids == [1, 2, 1, 2]


def test_the_checksum_is_that_of_the_weights(bert: tuple[Path, Any]) -> None:
    expected = hashlib.sha256((bert[0] / "model.safetensors").read_bytes()).hexdigest()
    assert TextFolder.find(bert[0]).sha256 == expected


def test_sentence_vectors_are_those_of_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer

    folder = TextFolder.find()
    tokenizer = folder.tokenizer()
    encoder = QuestionImageEncoder(
        TextEncoder.from_folder(folder), EncoderConfig(tuned_layers=0, width=8, heads=1, hidden=8)
    )
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(SENTENCES)
    ids = torch.tensor([e.ids for e in encoded])
    mask = torch.tensor([e.attention_mask for e in encoded], dtype=torch.bool)
    vectors = encoder.eval().embed(ids, mask)
    reference = SentenceTransformer(str(folder.path), device="cpu").encode(SENTENCES, convert_to_tensor=True)
    assert F.cosine_similarity(vectors, reference.float(), dim=-1).min().item() >= 0.9999
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(5))


def test_mean_pool_counts_real_positions_only() -> None:
    states = torch.tensor([[[1.0, 0.0], [3.0, 4.0], [9.0, 9.0]], [[7.0, 7.0], [1.0, 2.0], [5.0, 5.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    torch.testing.assert_close(mean_pool(states, mask), torch.tensor([[2.0, 2.0], [0.0, 0.0]]))
    torch.testing.assert_close(sentence_vector(states, mask)[0], torch.tensor([0.5**0.5, 0.5**0.5]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for use in (lambda f: f.config, lambda f: f.sha256, TextFolder.weights, TextFolder.tokenizer):
        with pytest.raises(InputError, match=r"lacks (config\.json|model\.safetensors|tokenizer\.json)"):
            use(TextFolder(tmp_path))


def test_another_form_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "roberta"}), encoding="utf-8")
    with pytest.raises(InputError, match="holds a 'roberta' model; allowed: 'bert'"):
        TextEncoder.from_folder(TextFolder(tmp_path))


@pytest.mark.parametrize("name", ["no_such_package", "no/such/folder"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is neither a folder nor an installed package"):
        TextFolder.find(name)
