"""LXMERT from and to the form of `transformers`: `LxmertModel`, `LxmertForPreTraining`, `LxmertForQuestionAnswering`.

Only names change; a loaded model gives the numbers that `transformers` gives, attention weights and gradients
included. The folder is read here, without `transformers`, and nothing but safetensors is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kvqa.errors import InputError
from kvqa.models.attention import TransformerLayer
from kvqa.models.crossmodal import CrossModalConfig, CrossModalEncoder, build_encoder
from kvqa.models.heads import AnswerHead, MaskedWordHead, MatchingHead, PretrainingHeads, VisualHeads
from kvqa.models.language import LanguageConfig
from kvqa.models.text import LAYER_NAMES, TextEncoder
from kvqa.models.vision_embedding import RegionFeatures, VisionConfig
from retrieval.manifest import write_text_safely

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


@dataclass
class Lxmert:
    """A pretrained LXMERT.

    Attributes:
        encoder: The cross-modal encoder.
        heads: Those that the checkpoint has.
        settings: Its `config.json`.
    """

    encoder: CrossModalEncoder
    heads: PretrainingHeads = field(default_factory=PretrainingHeads)
    settings: dict[str, Any] = field(default_factory=dict)


def load_lxmert(name: str | Path) -> Lxmert:
    """Load a checkpoint by folder or hub id, in float32 and evaluation mode.

    Raises:
        InputError: if it is missing, damaged, no LXMERT, or its weights do not fit its config.
    """
    folder = _folder(name)
    return from_transformers(_settings(folder), _weights(folder), source=str(folder))


def from_transformers(settings: Mapping[str, Any], weights: Mapping[str, Tensor], *, source: str) -> Lxmert:
    """Make our encoder of the config and state of a model of `transformers`; float32 weights are shared, not copied.

    Args:
        settings: `model.config.to_dict()`, or the content of `config.json`.
        weights: `model.state_dict()`, or the content of `model.safetensors`.
        source: Where it comes from, for messages.

    Raises:
        InputError: if the weights do not fit the settings.
    """
    weights = {k.removeprefix("lxmert."): v.float() for k, v in weights.items()}
    with torch.device("meta"):  # no random weights for what is replaced anyway
        encoder = build_encoder(lxmert_config(settings))
        heads = _heads(settings, weights)
    _fill(encoder, _encoder_names(encoder), weights, source)
    _fill(heads, _head_names(heads), weights, source)
    if heads.words is not None and "cls.predictions.decoder.weight" not in weights:
        heads.words.tie(_text(encoder).words)
    return Lxmert(encoder.eval(), heads.eval(), dict(settings))


def save_lxmert(lxmert: Lxmert, folder: str | Path) -> None:
    """Save in the form of `transformers`; which of its three classes, the heads decide.

    Raises:
        InputError: if the encoder is not of LXMERT's form.
    """
    folder = Path(folder)
    encoder, heads = lxmert.encoder, lxmert.heads
    _check_form(encoder)
    architecture = _architecture(heads)
    prefix = "" if architecture == "LxmertModel" else "lxmert."
    ours = dict(encoder.named_parameters())
    tensors = {prefix + theirs: ours[name] for name, theirs in _encoder_names(encoder).items() if name in ours}
    tied = heads.words is not None and heads.words.decoder.weight is _text(encoder).words.weight
    ours = dict(heads.named_parameters())
    names = {name: theirs for name, theirs in _head_names(heads).items() if not (tied and "decoder.weight" in theirs)}
    tensors |= {theirs: ours[name] for name, theirs in names.items()}
    settings = {**lxmert.settings, **_sizes(encoder, heads), "tie_word_embeddings": tied or heads.words is None}
    settings |= {"architectures": [architecture], "model_type": "lxmert"}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (WEIGHTS + ".partial")
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, partial, metadata={"format": "pt"})
    partial.replace(folder / WEIGHTS)
    write_text_safely(folder / CONFIG, json.dumps(settings, indent=2, sort_keys=True) + "\n")


def lxmert_config(settings: Mapping[str, Any]) -> CrossModalConfig:
    """Return our config for the `config.json` of an LXMERT.

    Raises:
        InputError: if it has an activation other than GELU.
    """
    get = {**DEFAULTS, **settings}
    if get["hidden_act"] != "gelu":
        raise InputError(f"LXMERT with activation {get['hidden_act']!r} is not supported; allowed: 'gelu'")
    rates = {"dropout": get["hidden_dropout_prob"], "attention_dropout": get["attention_probs_dropout_prob"]}
    sizes = {"width": get["hidden_size"], "heads": get["num_attention_heads"], "hidden": get["intermediate_size"]}
    language = LanguageConfig(
        vocabulary=get["vocab_size"],
        layers=get["l_layers"],
        positions=get["max_position_embeddings"],
        segments=get["type_vocab_size"],
        padding_index=0,
        **sizes,
        **rates,
    )
    vision = VisionConfig(feature_width=get["visual_feat_dim"], box_width=get["visual_pos_dim"], layers=get["r_layers"])
    return CrossModalConfig(
        language=language,
        vision=vision,
        cross_layers=get["x_layers"],
        init_std=get["initializer_range"],
        **sizes,
        **rates,
    )


DEFAULTS: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "l_layers": 9,
    "x_layers": 5,
    "r_layers": 5,
    "visual_feat_dim": 2048,
    "visual_pos_dim": 4,
    "num_qa_labels": 9500,
    "num_object_labels": 1600,
    "num_attr_labels": 400,
}
"""What `transformers` takes for a setting that a `config.json` does not name."""


def _heads(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> PretrainingHeads:
    """Return empty heads for those that `weights` has."""
    get = {**DEFAULTS, **settings}
    width = get["hidden_size"]
    visual = {"objects": "obj", "attributes": "attr", "features": "feat"}
    there = {ours: f"obj_predict_head.decoder_dict.{theirs}.weight" for ours, theirs in visual.items()}
    sizes = {ours: weights[name].shape[0] if name in weights else 0 for ours, name in there.items()}
    return PretrainingHeads(
        words=MaskedWordHead(width, get["vocab_size"]) if "cls.predictions.bias" in weights else None,
        matching=MatchingHead(width) if "cls.seq_relationship.weight" in weights else None,
        visual=VisualHeads(width, **sizes) if any(sizes.values()) else None,
        answer=AnswerHead(width, get["num_qa_labels"]) if "answer_head.logit_fc.0.weight" in weights else None,
    )


def _fill(module: nn.Module, names: Mapping[str, str], weights: Mapping[str, Tensor], source: str) -> None:
    expected = module.state_dict()
    state = {}
    for ours, tensor in expected.items():
        theirs = names[ours]
        if theirs.endswith("predictions.decoder.weight") and theirs not in weights:
            state[ours] = torch.empty(tensor.shape, device="cpu")  # tied by the caller
            continue
        if theirs not in weights:
            raise InputError(f"{source} lacks {theirs}; give a complete LXMERT checkpoint")
        if weights[theirs].shape != tensor.shape:
            raise InputError(
                f"{source} does not fit its {CONFIG}: {theirs} is {tuple(weights[theirs].shape)},"
                f" {tuple(tensor.shape)} was expected"
            )
        state[ours] = weights[theirs]
    module.load_state_dict(state, assign=True)


def _encoder_names(encoder: CrossModalEncoder) -> dict[str, str]:
    """Return every name in the encoder's state with its name in `transformers`."""
    names = {
        "language.words.weight": "embeddings.word_embeddings.weight",
        "language.positions.weight": "embeddings.position_embeddings.weight",
        "language.segments.weight": "embeddings.token_type_embeddings.weight",
    }
    modules = {
        "language.norm": "embeddings.LayerNorm",
        "regions.feature": "encoder.visn_fc.visn_fc",
        "regions.feature_norm": "encoder.visn_fc.visn_layer_norm",
        "regions.box": "encoder.visn_fc.box_fc",
        "regions.box_norm": "encoder.visn_fc.box_layer_norm",
        "pooler": "pooler.dense",
    }
    for index in range(len(_text(encoder).layers)):
        modules |= _layer(f"language.layers.{index}", f"encoder.layer.{index}")
    for index in range(len(encoder.vision)):
        modules |= _layer(f"vision.{index}", f"encoder.r_layers.{index}")
    for index in range(len(encoder.cross)):
        modules |= _cross_layer(f"cross.{index}", f"encoder.x_layers.{index}")
    return names | _with_parts(modules)


def _layer(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{a}": f"{theirs}.{b}" for a, b in LAYER_NAMES.items()}


def _cross_layer(ours: str, theirs: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for direction in ("to_vision", "to_language"):  # one module under two names
        names |= _attention(f"{ours}.{direction}", f"{theirs}.visual_attention", "att")
    for stream, short in (("language", "lang"), ("vision", "visn")):
        names |= _attention(f"{ours}.{stream}.attention", f"{theirs}.{short}_self_att", "self")
        names[f"{ours}.{stream}.feed_forward.expand"] = f"{theirs}.{short}_inter.dense"
        names[f"{ours}.{stream}.feed_forward.contract"] = f"{theirs}.{short}_output.dense"
        names[f"{ours}.{stream}.feed_forward.norm"] = f"{theirs}.{short}_output.LayerNorm"
    return names


def _attention(ours: str, theirs: str, inner: str) -> dict[str, str]:
    names = {f"{ours}.{part}": f"{theirs}.{inner}.{part}" for part in ("query", "key", "value")}
    return names | {f"{ours}.output": f"{theirs}.output.dense", f"{ours}.norm": f"{theirs}.output.LayerNorm"}


def _head_names(heads: PretrainingHeads) -> dict[str, str]:
    names: dict[str, str] = {}
    modules: dict[str, str] = {}
    if heads.words is not None:
        names["words.decoder.weight"] = "cls.predictions.decoder.weight"
        names["words.decoder.bias"] = "cls.predictions.bias"
        modules["words.transform.dense"] = "cls.predictions.transform.dense"
        modules["words.transform.norm"] = "cls.predictions.transform.LayerNorm"
    if heads.matching is not None:
        modules["matching.score"] = "cls.seq_relationship"
    if heads.visual is not None:
        modules["visual.transform.dense"] = "obj_predict_head.transform.dense"
        modules["visual.transform.norm"] = "obj_predict_head.transform.LayerNorm"
        short = {"objects": "obj", "attributes": "attr", "features": "feat"}
        for target in heads.visual.decoders:
            modules[f"visual.decoders.{target}"] = f"obj_predict_head.decoder_dict.{short[target]}"
    if heads.answer is not None:
        for ours, number in (("dense", 0), ("norm", 2), ("score", 3)):
            modules[f"answer.{ours}"] = f"answer_head.logit_fc.{number}"
    return names | _with_parts(modules)


def _with_parts(modules: Mapping[str, str]) -> dict[str, str]:
    return {f"{a}.{part}": f"{b}.{part}" for a, b in modules.items() for part in ("weight", "bias")}


def _architecture(heads: PretrainingHeads) -> str:
    if heads.words is None and heads.matching is None and heads.visual is None:
        return "LxmertModel" if heads.answer is None else "LxmertForQuestionAnswering"
    if heads.words is None or heads.matching is None:
        raise InputError("LxmertForPreTraining needs both the masked-word and the matching head; add the missing one")
    return "LxmertForPreTraining"


def _sizes(encoder: CrossModalEncoder, heads: PretrainingHeads) -> dict[str, Any]:
    text = _text(encoder)
    regions, cross = encoder.regions, encoder.cross
    assert isinstance(regions, RegionFeatures)
    first = next(layer for layer in encoder.modules() if isinstance(layer, TransformerLayer))
    sizes: dict[str, Any] = {
        "vocab_size": text.words.num_embeddings,
        "hidden_size": text.width,
        "num_attention_heads": first.attention.heads,
        "intermediate_size": first.feed_forward.expand.out_features,
        "hidden_dropout_prob": first.feed_forward.dropout.p,
        "attention_probs_dropout_prob": first.attention.attention_dropout,
        "max_position_embeddings": text.positions.num_embeddings,
        "type_vocab_size": text.segments.num_embeddings,
        "l_layers": len(text.layers),
        "r_layers": len(encoder.vision),
        "x_layers": len(cross),
        "visual_feat_dim": regions.feature.in_features,
        "visual_pos_dim": regions.box.in_features,
        "task_obj_predict": heads.visual is not None,
        "task_qa": heads.answer is not None,
    }
    if heads.answer is not None:
        sizes["num_qa_labels"] = heads.answer.score.out_features
    if heads.visual is not None:
        kept = heads.visual.decoders
        sizes |= {
            f"visual_{s}_loss": t in kept for s, t in (("obj", "objects"), ("attr", "attributes"), ("feat", "features"))
        }
        for setting, target in (("num_object_labels", "objects"), ("num_attr_labels", "attributes")):
            if target in kept:
                sizes[setting] = kept[target].out_features
    return sizes


def _check_form(encoder: CrossModalEncoder) -> None:
    wrong = []
    if not isinstance(encoder.language, TextEncoder):
        wrong.append("its language encoder is not of BERT's form")
    if not isinstance(encoder.regions, RegionFeatures):
        wrong.append("it does not read region features with boxes")
    if encoder.fusion != "co-attention" or any(x.to_vision is not x.to_language for x in encoder.cross):
        wrong.append("its cross-attention is not co-attention with shared weights")
    elif any(x.order != "cross-first" for x in encoder.cross):
        wrong.append("its layers attend to themselves first")
    if encoder.pool != "language" or encoder.modality is not None:
        wrong.append("it pools both streams or has modality vectors")
    if not isinstance(encoder.bridge, nn.Identity) or not isinstance(encoder.vision_bridge, nn.Identity):
        wrong.append("its streams have different widths")
    if wrong:
        raise InputError("the encoder cannot be saved as LXMERT: " + "; ".join(wrong))


def _text(encoder: CrossModalEncoder) -> TextEncoder:
    assert isinstance(encoder.language, TextEncoder)
    return encoder.language


def _folder(name: str | Path) -> Path:
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name), allow_patterns=[CONFIG, "*.safetensors", "*.safetensors.index.json"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"LXMERT {name} is no folder and cannot be fetched from the hub ({reason})") from None


def _settings(folder: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / CONFIG} cannot be read ({error}); give the folder of an LXMERT") from None
    if settings.get("model_type") != "lxmert":
        raise InputError(f"{folder} holds a {settings.get('model_type')!r} model; allowed: 'lxmert'")
    return settings


def _weights(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise InputError(
            f"{folder} has no {WEIGHTS}; load it once with transformers and call save_pretrained, which writes it"
        )
    try:
        return {name: tensor for file in files for name, tensor in load_file(file).items()}
    except SafetensorError as error:
        raise InputError(f"the weights in {folder} are damaged ({error}); copy the folder again") from None
