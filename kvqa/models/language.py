"""Language encoders for the cross-modal encoder: our own BERT form, or whatever `transformers.AutoModel` loads.

All have the same interface: `width`, `max_tokens`, `embed_words(ids)` (word vectors before positions and
normalisation, where adversarial training adds its perturbation) and `encode(words, segments, rows)`.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kvqa.errors import InputError
from kvqa.models.rows import Rows
from kvqa.models.text import TextEncoder, TextFolder


@dataclass(frozen=True)
class LanguageConfig:
    """Which language encoder.

    Attributes:
        model: Folder, installed package or hub id of a model that `transformers.AutoModel` loads; empty for BERT's
            form with random weights and the sizes that follow, which otherwise have no meaning.
        vocabulary, width, layers, heads, hidden, positions, segments: Sizes of BERT's form.
        dropout, attention_dropout: Rates.
        padding_index: Row of the embeddings that gets no gradient (LXMERT: 0), None for none.
    """

    model: str = ""
    vocabulary: int = 30522
    width: int = 768
    layers: int = 9
    heads: int = 12
    hidden: int = 3072
    positions: int = 512
    segments: int = 2
    dropout: float = 0.1
    attention_dropout: float = 0.1
    padding_index: int | None = None


def build_language(config: LanguageConfig) -> TextEncoder | AutoText:
    """Build the language encoder of `config`, with weights if it names a model.

    Raises:
        InputError: if the named model is not there or not of a form that can be used.
    """
    if config.model:
        return load_language(config.model)
    return TextEncoder(
        vocabulary=config.vocabulary,
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        hidden=config.hidden,
        positions=config.positions,
        segments=config.segments,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        padding_index=config.padding_index,
    )


def load_language(name: str) -> TextEncoder | AutoText:
    """Load a text encoder by folder, installed package or hub id.

    A folder of BERT's form (BERT, MiniLM) becomes our own `TextEncoder`, all others stay what `transformers` makes
    of them. A hub id is downloaded by `transformers` the first time.

    Raises:
        InputError: if it cannot be found or loaded.
    """
    if Path(name).is_dir() or name.isidentifier():
        folder = TextFolder.find(name)
        if folder.model_type == "bert":
            return TextEncoder.from_folder(folder)
        name = str(folder.path)
    return AutoText(_auto_model(name))


def _auto_model(name: str) -> Any:
    from transformers import AutoModel

    try:
        model = AutoModel.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"text encoder {name} cannot be loaded ({reason}); give a folder or hub id that"
            " transformers.AutoModel.from_pretrained loads"
        ) from None
    return model


class AutoText(nn.Module):
    """A text encoder of `transformers` behind the interface that ours has.

    Differences among the families are dealt with here: RoBERTa counts positions from its padding index and has one
    segment, DeBERTa and DistilBERT have none, ELECTRA and ALBERT have word vectors of another size than states.

    Args:
        model: Any encoder that takes `inputs_embeds` and gives `last_hidden_state`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        takes = inspect.signature(model.forward).parameters
        if "inputs_embeds" not in takes or getattr(model.config, "is_encoder_decoder", False):
            raise InputError(
                f"a {model.config.model_type} model is no text encoder that takes word vectors (inputs_embeds);"
                " give one of the kind of BERT, RoBERTa, ELECTRA, ALBERT or DeBERTa"
            )
        self.model = model
        self.width: int = model.config.hidden_size
        self.takes_segments = "token_type_ids" in takes
        self.segments: int = getattr(model.config, "type_vocab_size", 0) or 0

    @property
    def max_tokens(self) -> int:
        """The longest text that has positions."""
        config = self.model.config
        reserved = (config.pad_token_id or 0) + 1 if _counts_from_padding(config.model_type) else 0
        return int(config.max_position_embeddings) - reserved

    def embed_words(self, ids: Tensor) -> Tensor:
        """Return the word vectors (B, T, E) of `ids` (B, T), before positions and normalisation."""
        found: Tensor = self.model.get_input_embeddings()(ids)
        return found

    def encode(self, words: Tensor, segments: Tensor, rows: Rows, *, keep: list[Tensor] | None = None) -> Tensor:
        """Return hidden states of word vectors (B, T, E) in the form of `rows`: (B, T, width), or packed.

        Raises:
            InputError: if the text is longer than there are positions.
        """
        if words.shape[1] > self.max_tokens:
            raise InputError(
                f"a text has {words.shape[1]} tokens, the text encoder allows {self.max_tokens}; cut it first"
            )
        arguments: dict[str, Any] = {"inputs_embeds": words, "attention_mask": rows.mask.long()}
        if self.takes_segments:
            arguments["token_type_ids"] = segments.clamp(max=max(self.segments - 1, 0))
        if keep is None:
            return rows.pack(self.model(**arguments).last_hidden_state)
        fused = self.model.config._attn_implementation
        self.model.set_attn_implementation("eager")  # fused kernels do not give weights
        try:
            out = self.model(**arguments, output_attentions=True)
        finally:
            self.model.set_attn_implementation(fused)
        keep.extend(out.attentions)
        return rows.pack(out.last_hidden_state)


def _counts_from_padding(model_type: str) -> bool:
    return model_type in {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "ibert", "data2vec-text"}


class TunedText(nn.Module):
    """A frozen text encoder whose upper layers are copied for training, while the original stays as loaded.

    So one set of weights serves as the language encoder that is trained and as the space in which facts were
    embedded, which must not move.

    Args:
        base: The encoder; it is frozen and never in training mode.
        tuned_layers: How many of its upper layers are copied.

    Raises:
        ValueError: if there are not as many layers.
    """

    def __init__(self, base: TextEncoder, tuned_layers: int) -> None:
        super().__init__()
        if not 0 <= tuned_layers <= len(base.layers):
            raise ValueError(f"tuned_layers {tuned_layers} is not between 0 and {len(base.layers)}")
        self.base = base.requires_grad_(False)
        self.lower = len(base.layers) - tuned_layers
        self.tuned = nn.ModuleList(copy.deepcopy(layer).requires_grad_(True) for layer in base.layers[self.lower :])
        self.width = base.width

    @property
    def max_tokens(self) -> int:
        """The longest text that has positions."""
        return self.base.max_tokens

    def train(self, mode: bool = True) -> TunedText:
        """Switch to training, in which the frozen encoder still runs without dropout."""
        super().train(mode)
        self.base.eval()
        return self

    def embed_words(self, ids: Tensor) -> Tensor:
        """Return the word vectors (B, T, width) of `ids` (B, T), before positions and normalisation."""
        return self.base.embed_words(ids)

    def encode(self, words: Tensor, segments: Tensor, rows: Rows, *, keep: list[Tensor] | None = None) -> Tensor:
        """Return hidden states of word vectors (B, T, width): lower layers as loaded, upper layers as trained."""
        x = rows.pack(self.base.place(words, segments))
        for layer in [*self.base.layers[: self.lower], *self.tuned]:
            x = layer(x, rows, keep=keep)
        return x
