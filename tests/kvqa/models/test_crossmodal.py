"""Every combination of the design space: shapes, and that neither padding nor company changes an example."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kvqa.data.pairs import Pairs
from kvqa.errors import InputError
from kvqa.models.crossmodal import CrossModalConfig, CrossModalEncoder, Embeddings, build_encoder
from kvqa.models.encoder_folder import load_encoder, save_encoder
from kvqa.models.language import LanguageConfig
from kvqa.models.rows import Rows
from kvqa.models.vision_embedding import VisionConfig, grid_boxes, sine_positions

TINY = {"vocab_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TINY |= {"hidden_size": 16, "max_position_embeddings": 20}
TEXTS: dict[str, dict[str, Any]] = {
    "Bert": {},
    "Roberta": {"pad_token_id": 1, "type_vocab_size": 1},
    "Electra": {"embedding_size": 8},
    "Albert": {"embedding_size": 8},
    "DebertaV2": {"type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "MPNet": {"pad_token_id": 1},
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
}
BERT = LanguageConfig(vocabulary=40, width=16, layers=1, heads=2, hidden=20, positions=20)
REGIONS = VisionConfig(feature_width=6, layers=1)
BASE = CrossModalConfig(BERT, REGIONS, width=16, heads=2, hidden=20, cross_layers=2, init_std=0.3)
FUSIONS: dict[str, dict[str, Any]] = {
    "lxmert": {},
    "unshared": {"shared": False, "pool": "both"},
    "meter": {"shared": False, "order": "self-first", "modality": True, "pool": "both"},
    "merged": {"fusion": "merged", "modality": True},
    "bridged": {"width": 24, "heads": 3, "vision": replace(REGIONS, width=12, heads=2, hidden=16)},
    "no cross-modality layers": {"cross_layers": 0},
}


def _transformers_model(name: str, folder: Path, sizes: dict[str, Any]) -> str:
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes))
    model.save_pretrained(folder)
    return str(folder)


def _save_text(name: str, folder: Path) -> str:
    return _transformers_model(name, folder, {**TINY, **TEXTS[name]})


def _build(config: CrossModalConfig) -> CrossModalEncoder:
    torch.manual_seed(0)
    return build_encoder(config).eval()


def _pairs(vision: str = "regions") -> Pairs:
    """Three texts of 7, 4 and 1 words with 5, 2 and 1 regions or cells, or with pictures of 8 x 12 pixels."""
    torch.manual_seed(1)
    mask = torch.arange(7) < torch.tensor([[7], [4], [1]])
    ids, segments = torch.randint(2, 40, (3, 7)) * mask, (torch.arange(7) > 2).long().expand(3, 7) * mask
    if vision in ("pixels", "backbone"):
        return Pairs(ids, mask, torch.randn(3, 3, 8, 12), segments=segments)
    region_mask = torch.arange(5) < torch.tensor([[5], [2], [1]])
    boxes = None if vision == "patches" else torch.rand(3, 5, 4) * region_mask[..., None]
    return Pairs(ids, mask, torch.randn(3, 5, 6) * region_mask[..., None], boxes, region_mask, segments)


def _longer(pairs: Pairs, more: int) -> Pairs:
    """The same pairs with more padding, of words and, where the form has a mask, of regions, filled with rubbish."""

    def extend(x: Tensor | None, value: float) -> Tensor | None:
        return None if x is None else torch.cat([x, torch.full((len(x), more, *x.shape[2:]), value).to(x.dtype)], dim=1)

    words = {name: extend(getattr(pairs, name), value) for name, value in (("ids", 3), ("mask", 0), ("segments", 1))}
    if pairs.region_mask is None:
        return replace(pairs, **words)
    seen = {name: extend(getattr(pairs, name), v) for name, v in (("vision", 9), ("boxes", 1), ("region_mask", 0))}
    return replace(pairs, **words, **seen)


def _one(pairs: Pairs, row: int) -> Pairs:
    """One pair alone, without padding."""
    length = int(pairs.mask[row].sum())
    count = None if pairs.region_mask is None else int(pairs.region_mask[row].sum())
    part = slice(row, row + 1)
    assert pairs.segments is not None
    boxes = None if pairs.boxes is None else pairs.boxes[part, :count]
    vision = pairs.vision[part] if count is None else pairs.vision[part, :count]
    return Pairs(
        pairs.ids[part, :length], pairs.mask[part, :length], vision, boxes, segments=pairs.segments[part, :length]
    )


def _check_independence(encoder: CrossModalEncoder, pairs: Pairs, *, packs: bool = True) -> None:
    """Padding, company and packing leave what is said of each pair as it is."""
    with torch.no_grad():
        together = encoder(pairs)
        others = [encoder(_longer(pairs, 4)), *([encoder(_longer(pairs, 4), packed=True)] if packs else [])]
        for row in range(3):
            alone = encoder(_one(pairs, row))
            words, regions = alone.language.shape[1], alone.vision.shape[1]
            for out in (together, *others):
                for name, kept in (("language", words), ("vision", regions), ("words", words)):
                    value = getattr(out, name)[row, :kept]
                    torch.testing.assert_close(value, getattr(alone, name)[0], atol=1e-5, rtol=0)
                torch.testing.assert_close(out.pooled[row], alone.pooled[0], atol=1e-5, rtol=0)
    plain = encoder(pairs)  # with gradients, so by plain products
    assert (plain.pooled - together.pooled).abs().max().item() <= 1e-5
    assert together.pooled.abs().max().item() > 1e-3


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("vision", ["regions", "grid", "patches", "pixels"])
def test_fusions_and_vision_inputs(vision: str, fusion: str) -> None:
    changes = dict(FUSIONS[fusion])
    side = replace(changes.pop("vision", REGIONS), kind=vision, patch=4)
    _check_independence(_build(replace(BASE, vision=side, **changes)), _pairs(vision))


@pytest.mark.parametrize("fusion", ["lxmert", "merged"])
@pytest.mark.parametrize("text", TEXTS)
def test_text_encoders_of_transformers(text: str, fusion: str, tmp_path: Path) -> None:
    config = replace(BASE, language=LanguageConfig(_save_text(text, tmp_path)), **FUSIONS[fusion])
    _check_independence(_build(config), _pairs())


@pytest.mark.parametrize("text", TEXTS)
def test_text_encoders_give_the_numbers_of_transformers(text: str, tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = _save_text(text, tmp_path)
    reference, pairs = AutoModel.from_pretrained(folder).eval(), _pairs()
    encoder = _build(replace(BASE, language=LanguageConfig(folder)))
    segments = {"Bert": pairs.segments, "Electra": pairs.segments, "Albert": pairs.segments}.get(text)
    named = {} if segments is None else {"token_type_ids": segments}
    ids = torch.where(pairs.mask, pairs.ids, reference.config.pad_token_id or 0)
    with torch.no_grad():
        expected = reference(input_ids=ids, attention_mask=pairs.mask.long(), **named).last_hidden_state
        out = encoder(replace(pairs, ids=ids), attentions=True)
    assert (out.words - expected)[pairs.mask].abs().max().item() <= 1e-5
    assert out.attentions is not None and out.attentions.language[0].shape == (3, 2, 7, 7)
    torch.testing.assert_close(out.attentions.language[0].sum(-1)[pairs.mask[:, None].expand(3, 2, 7)], torch.ones(24))


def test_a_text_longer_than_the_encoder_allows_is_refused(tmp_path: Path) -> None:
    pairs = _longer(_pairs(), 12)  # 19 words; RoBERTa keeps two of its 20 positions for itself
    encoder = _build(replace(BASE, language=LanguageConfig(_save_text("Roberta", tmp_path))))
    with pytest.raises(InputError, match="a text has 19 tokens, the text encoder allows 18; cut it first"):
        encoder(pairs)
    with pytest.raises(InputError, match="a text has 21 tokens, the text encoder allows 20; cut it first"):
        _build(BASE)(_longer(pairs, 2))


@pytest.mark.parametrize("backbone", ["vit", "clip", "mobilenet"])
def test_vision_backbones_of_transformers(backbone: str, tmp_path: Path) -> None:
    import transformers as t

    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    square = {"image_size": 8, "patch_size": 4, **sizes}
    text = {"vocab_size": 9, "max_position_embeddings": 5, "eos_token_id": 2, **sizes}
    models = {
        "vit": lambda: t.ViTModel(t.ViTConfig(**{**square, "image_size": (8, 12)})),
        "clip": lambda: t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=square, projection_dim=4)),
        "mobilenet": lambda: t.MobileNetV2Model(t.MobileNetV2Config(depth_multiplier=0.1, image_size=32)),
    }
    models[backbone]().save_pretrained(tmp_path / "start")
    config = replace(BASE, vision=VisionConfig("backbone", model=str(tmp_path / "start"), layers=1))
    encoder, pairs = _build(config), _pairs("backbone")
    if backbone == "clip":
        pairs = replace(pairs, vision=pairs.vision[..., :8])
    _check_independence(encoder, pairs)
    assert encoder(pairs).vision.shape == (3, {"vit": 7, "clip": 5, "mobilenet": 1}[backbone], 16)
    save_encoder(encoder, config, tmp_path / "saved")
    torch.testing.assert_close(load_encoder(tmp_path / "saved")[0](pairs).pooled, encoder(pairs).pooled)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"vision backbone .* cannot be loaded"):
        build_encoder(replace(BASE, vision=VisionConfig("backbone", model=str(tmp_path))))
    sizes = {"vocab_size": 9, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    _transformers_model("T5", tmp_path, sizes)
    with pytest.raises(InputError, match=r"a t5 model is no text encoder that takes word vectors"):
        build_encoder(replace(BASE, language=LanguageConfig(str(tmp_path))))
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    with pytest.raises(InputError, match=r"text encoder .* cannot be loaded"):
        build_encoder(replace(BASE, language=LanguageConfig(str(tmp_path))))


def test_one_picture_with_many_texts_is_encoded_once() -> None:
    for packed in (False, True):
        encoder, pairs = _build(BASE), _pairs()
        assert pairs.boxes is not None and pairs.region_mask is not None
        rows = torch.tensor([1, 1, 0])
        repeated = replace(
            pairs, vision=pairs.vision[rows], boxes=pairs.boxes[rows], region_mask=pairs.region_mask[rows]
        )
        calls: list[int] = []
        encoder.vision[0].register_forward_hook(lambda m, i, o, seen=calls: seen.append(len(o)))
        with torch.no_grad():
            once = encoder(replace(pairs, picture=rows), packed=packed)
            every = encoder(repeated)
        assert calls[0] == (8 if packed else 3)  # of three pictures, not of three texts
        torch.testing.assert_close(once.pooled, every.pooled, atol=1e-6, rtol=0)
        torch.testing.assert_close(once.vision[repeated.region_mask], every.vision[repeated.region_mask])


def test_embeddings_can_be_perturbed() -> None:
    encoder, pairs = _build(BASE), _pairs()
    clean = encoder.embed(pairs)
    assert clean.words.shape == (3, 7, 16) and clean.vision is pairs.vision
    torch.testing.assert_close(encoder.encode(clean, pairs).pooled, encoder(pairs).pooled, atol=0, rtol=0)
    delta = Embeddings(torch.zeros_like(clean.words), torch.zeros_like(clean.vision))
    for part in delta:
        part.requires_grad_()
    out = encoder.encode(Embeddings(clean.words + delta.words, clean.vision + delta.vision), pairs)
    out.pooled.square().sum().backward()
    assert delta.words.grad is not None and delta.vision.grad is not None
    assert delta.words.grad[pairs.mask].abs().sum() > 0 and not delta.words.grad[~pairs.mask].any()
    assert pairs.region_mask is not None and not delta.vision.grad[~pairs.region_mask].any()


def test_attentions_of_merged_attention_are_cut_into_their_parts() -> None:
    pairs = _pairs()
    out = _build(replace(BASE, **FUSIONS["merged"]))(pairs, attentions=True)
    assert out.attentions is not None
    cross = out.attentions.cross
    assert cross.joint[1].shape == (3, 2, 12, 12) and cross.to_vision[1].shape == (3, 2, 7, 5)
    whole = cross.language[0].sum(-1) + cross.to_vision[0].sum(-1)
    torch.testing.assert_close(whole, torch.ones(3, 2, 7))
    assert pairs.region_mask is not None and not cross.to_vision[0][1, :, :, 2:].any()


def test_everything_wrong_with_a_config_is_reported_at_once() -> None:
    wrong = CrossModalConfig(
        language=replace(BERT, heads=3),
        vision=VisionConfig(kind="video", layers=-1, model="vit"),  # type: ignore[arg-type]
        fusion="merged",
        shared=False,
        pool="mean",  # type: ignore[arg-type]
        width=10,
        heads=4,
        dropout=1.0,
    )
    parts = ("pool 'mean' is none of language, both", "vision.kind 'video' is none of regions, grid", "width 10 is not")
    parts += ("language.width 16 is not a multiple of language.heads 3", "vision.layers -1 is negative")
    parts += ("order and shared are of co-attention", "only a backbone has one", r"dropout 1.0 is not in \[0, 1\)")
    with pytest.raises(InputError, match=r"cannot be built") as error:
        build_encoder(wrong)
    for part in parts:
        assert part.replace("\\", "") in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vision": torch.zeros(3, 5, 7)}, r"features of shape \(3, 5, 7\) do not fit: \(pictures, regions, 6\)"),
        ({"boxes": None}, "need boxes"),
        ({"boxes": torch.zeros(3, 4, 4)}, r"boxes of shape \(3, 4, 4\) do not fit features \(3, 5, 6\)"),
    ],
)
def test_vision_inputs_of_another_shape_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _build(BASE)(replace(_pairs(), **change))


def test_pixels_that_do_not_fit_the_patches_are_named() -> None:
    encoder = _build(replace(BASE, vision=VisionConfig("pixels", patch=4, layers=1)))
    with pytest.raises(InputError, match=r"\(3, 3, 8, 13\) do not fit: .* multiples of 4"):
        encoder(replace(_pairs("pixels"), vision=torch.zeros(3, 3, 8, 13)))


def test_cells_of_a_grid() -> None:
    boxes = grid_boxes(2, 4)
    assert boxes.shape == (8, 4) and boxes[5].tolist() == [0.25, 0.5, 0.5, 1.0]
    waves = sine_positions(boxes, 10)
    assert waves.shape == (8, 10) and len({tuple(row) for row in waves.tolist()}) == 8


def test_packing_keeps_what_is_real_and_the_first_of_each_row() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False], [True, False, True]])
    rows, x = Rows(mask, packed=True), torch.arange(9.0).view(3, 3, 1)
    assert rows.pack(x).flatten().tolist() == [0, 1, 3, 6, 8]
    assert rows.pad(rows.pack(x))[..., 0].tolist() == [[0, 1, 0], [3, 3, 3], [6, 6, 8]]
    assert rows.join(rows).shape == (3, 6) and rows.join(rows).packed


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("fusion", ["lxmert", "meter", "merged"])
def test_preparation_for_inference_changes_nothing_but_rounding(
    fusion: str, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.packed_linear.packing_pays", lambda weight: onednn)
    encoder, pairs = _build(replace(BASE, **FUSIONS[fusion])), _pairs()
    with torch.no_grad():
        plain = encoder(pairs)
        names = set(encoder.state_dict())
        prepared = encoder.prepare_for_inference()(pairs, packed=True)
        assert set(encoder.state_dict()) == names
        torch.testing.assert_close(prepared.pooled, plain.pooled, atol=1e-5, rtol=0)
        torch.testing.assert_close(prepared.language[pairs.mask], plain.language[pairs.mask], atol=1e-5, rtol=0)
    assert encoder(pairs).pooled.requires_grad  # gradients go through the plain weights
    with torch.no_grad():
        encoder.train().pooler.weight.zero_()
        encoder.cross[0].get_parameter(
            "language.attention.output.weight" if fusion != "merged" else "attention.output.weight"
        ).zero_()
        changed = encoder.eval()(pairs).language  # training has dropped what was packed
        assert not torch.allclose(changed, plain.language, atol=1e-4)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "change", [{}, {"order": "self-first"}, {"pool": "both"}, FUSIONS["merged"], {"cross_layers": 0}]
)
def test_the_pooled_vector_alone_is_the_same(change: dict[str, Any], packed: bool) -> None:
    encoder, pairs = _build(replace(BASE, **change)), _pairs()
    with torch.no_grad():
        expected = encoder(pairs).pooled
        torch.testing.assert_close(encoder.pooled(pairs, packed=packed), expected, atol=1e-5, rtol=0)
        prepared = encoder.prepare_for_inference().pooled(pairs, packed=packed)
        torch.testing.assert_close(prepared, expected, atol=1e-5, rtol=0)
