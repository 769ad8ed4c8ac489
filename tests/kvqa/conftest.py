"""A tiny sentence encoder, for tests of whole training runs."""

import json
from pathlib import Path

import pytest

WORDS = ["a", "the", "cat", "dog", "cup", "sits", "on", "table", "runs", "red", "what", "is", "this", ",", "?", "."]


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of BERT with random weights: width 16, two layers, words split at spaces."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    from kvqa.models.text import LAYER_NAMES, TextEncoder

    folder = tmp_path_factory.mktemp("text") / "tiny"
    folder.mkdir()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    sizes = {"vocab_size": len(vocabulary), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 24, "max_position_embeddings": 48, "type_vocab_size": 2}
    config = {"model_type": "bert", "hidden_dropout_prob": 0.1, "layer_norm_eps": 1e-12, **sizes}
    (folder / "config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = TextEncoder(vocabulary=len(vocabulary), width=16, layers=2, heads=2, hidden=24, positions=48)
    embeddings = {"words": "word_embeddings", "positions": "position_embeddings", "segments": "token_type_embeddings"}
    names = {f"{ours}.weight": f"embeddings.{theirs}.weight" for ours, theirs in embeddings.items()}
    names |= {f"norm.{part}": f"embeddings.LayerNorm.{part}" for part in ("weight", "bias")}
    for index in range(2):
        for ours, theirs in LAYER_NAMES.items():
            for part in ("weight", "bias"):
                names[f"layers.{index}.{ours}.{part}"] = f"encoder.layer.{index}.{theirs}.{part}"
    save_file({names[n]: t.detach() for n, t in encoder.named_parameters()}, folder / "model.safetensors")
    return folder
