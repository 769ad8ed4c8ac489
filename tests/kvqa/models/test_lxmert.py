"""LXMERT against `transformers`: same weights and inputs, same numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kvqa.data.pairs import Pairs
from kvqa.errors import InputError
from kvqa.models.crossmodal import CrossModal, CrossModalConfig, build_encoder
from kvqa.models.fusion import CrossAttentions
from kvqa.models.heads import MaskedWordHead, MatchingHead, PretrainingHeads
from kvqa.models.language import LanguageConfig
from kvqa.models.lxmert import Lxmert, load_lxmert, save_lxmert
from kvqa.models.vision_embedding import VisionConfig

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 12,
    "l_layers": 2,
    "r_layers": 2,
    "x_layers": 2,
    "visual_feat_dim": 10,
    "num_qa_labels": 7,
    "num_object_labels": 6,
    "num_attr_labels": 5,
}


def reference(name: str, **settings: Any) -> Any:
    """A model of `transformers` with random weights, large enough that nothing is nearly linear."""
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, name)(transformers.LxmertConfig(**{**SIZES, **settings})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.4, 0.4)
    return model


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder, model = tmp_path_factory.mktemp("lxmert"), reference("LxmertForPreTraining")
    model.save_pretrained(folder)
    return folder, model


def pairs() -> Pairs:
    """Five pairs: whole, ragged, with holes in the middle, one word and one region, and no region at all."""
    torch.manual_seed(1)
    mask, region_mask = torch.ones(5, 9, dtype=torch.bool), torch.ones(5, 6, dtype=torch.bool)
    mask[1, 4:], region_mask[1, 3:] = False, False
    mask[2, [2, 5]], region_mask[2, [0, 3]] = False, False
    mask[3, 1:], region_mask[3, 1:] = False, False
    region_mask[4] = False
    ids, segments = torch.randint(0, 50, (5, 9)), torch.randint(0, 2, (5, 9))
    return Pairs(ids, mask, torch.randn(5, 6, 10), torch.rand(5, 6, 4), region_mask, segments)


def call(model: Any, batch: Pairs, **options: Any) -> Any:
    assert batch.region_mask is not None
    return model(
        input_ids=batch.ids,
        visual_feats=batch.vision,
        visual_pos=batch.boxes,
        attention_mask=batch.mask.float(),
        visual_attention_mask=batch.region_mask.float(),
        token_type_ids=batch.segments,
        **options,
    )


def differences(ours: CrossModal, theirs: Any) -> dict[str, float]:
    assert ours.attentions is not None
    both: dict[str, tuple[Tensor, Tensor]] = {
        "language": (ours.language, theirs.language_output),
        "vision": (ours.vision, theirs.vision_output),
        "pooled": (ours.pooled, theirs.pooled_output),
    }
    for name, mine, other in (
        ("language attention", ours.attentions.language, theirs.language_attentions),
        ("vision attention", ours.attentions.vision, theirs.vision_attentions),
        ("cross attention", ours.attentions.cross.to_vision, theirs.cross_encoder_attentions),
    ):
        both |= {f"{name} {i}": pair for i, pair in enumerate(zip(mine, other, strict=True))}
    return {name: (a - b).abs().max().item() for name, (a, b) in both.items()}


def test_all_outputs_and_attentions_agree(pretrained: tuple[Path, Any]) -> None:
    folder, theirs = pretrained
    encoder, batch = load_lxmert(folder).encoder, pairs()
    with torch.no_grad():
        expected = call(theirs.lxmert, batch, output_attentions=True)
        found = differences(encoder(batch, attentions=True), expected)
        fused = encoder(batch)
    assert len(found) == 3 + 2 + 2 + 2 and max(found.values()) <= 1e-5, found
    assert (fused.pooled - expected.pooled_output).abs().max().item() <= 1e-5
    assert (fused.vision - expected.vision_output).abs().max().item() <= 1e-5


def test_all_gradients_agree(pretrained: tuple[Path, Any], tmp_path: Path) -> None:
    folder, theirs = pretrained
    lxmert, batch = load_lxmert(folder), pairs()
    ours, expected = lxmert.encoder(batch), call(theirs.lxmert, batch)
    torch.manual_seed(2)
    weights = [torch.randn_like(x) for x in (ours.language, ours.vision, ours.pooled)]
    for outputs in (
        (ours.language, ours.vision, ours.pooled),
        (expected.language_output, expected.vision_output, expected.pooled_output),
    ):
        sum((w * x).sum() for w, x in zip(weights, outputs, strict=True)).backward()  # type: ignore[union-attr]
    gradients = Lxmert(lxmert.encoder, settings=lxmert.settings)
    with torch.no_grad():  # saved under the names of transformers, gradients can be compared one by one
        for parameter in gradients.encoder.parameters():
            assert parameter.grad is not None
            parameter.copy_(parameter.grad)
    save_lxmert(gradients, tmp_path)
    found, wanted = load_file(tmp_path / "model.safetensors"), dict(theirs.lxmert.named_parameters())
    assert found.keys() == wanted.keys()
    assert max((found[name] - p.grad).abs().max().item() for name, p in wanted.items()) <= 1e-4
    theirs.zero_grad()


def test_heads_give_the_scores_of_pretraining(pretrained: tuple[Path, Any]) -> None:
    folder, theirs = pretrained
    lxmert, batch = load_lxmert(folder), pairs()
    heads = lxmert.heads
    assert heads.words is not None and heads.matching is not None
    assert heads.visual is not None and heads.answer is not None
    with torch.no_grad():
        out, expected = lxmert.encoder(batch), call(theirs, batch)
        visual = theirs.obj_predict_head(call(theirs.lxmert, batch).vision_output)
        scores = {
            "words": (heads.words(out.language), expected.prediction_logits),
            "matching": (heads.matching(out.pooled), expected.cross_relationship_score),
            "answer": (heads.answer(out.pooled), expected.question_answering_score),
            "objects": (heads.visual(out.vision)["objects"], visual["obj"]),
            "attributes": (heads.visual(out.vision)["attributes"], visual["attr"]),
            "features": (heads.visual(out.vision)["features"], visual["feat"]),
        }
    worst = {name: (ours - theirs).abs().max().item() for name, (ours, theirs) in scores.items()}
    assert max(worst.values()) <= 2e-5, worst
    assert heads.words.decoder.weight is lxmert.encoder.language.words.weight


@pytest.mark.parametrize("name", ["LxmertModel", "LxmertForQuestionAnswering", "LxmertForPreTraining"])
def test_what_is_saved_is_what_transformers_loads(name: str, tmp_path: Path) -> None:
    import transformers

    model = reference(name, visual_attr_loss=False)
    model.save_pretrained(tmp_path / "theirs")
    save_lxmert(load_lxmert(tmp_path / "theirs"), tmp_path / "ours")
    again, info = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert type(again.config) is type(model.config) and again.config.architectures == [name]
    for (key, before), (_, after) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        torch.testing.assert_close(before, after, atol=0, rtol=0, msg=key)


def test_an_encoder_built_here_can_be_given_to_transformers(tmp_path: Path) -> None:
    from transformers import LxmertModel

    language = LanguageConfig(vocabulary=30, width=16, layers=1, heads=2, hidden=20, positions=9, padding_index=0)
    vision = VisionConfig(feature_width=10, layers=1)
    config = CrossModalConfig(language=language, vision=vision, width=16, heads=2, hidden=20, cross_layers=1)
    encoder, batch = build_encoder(config).eval(), pairs()
    batch = Pairs(batch.ids % 30, batch.mask, batch.vision, batch.boxes, batch.region_mask, batch.segments)
    save_lxmert(Lxmert(encoder), tmp_path)
    theirs = LxmertModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        expected = call(theirs, batch, output_attentions=True)
        assert max(differences(encoder(batch, attentions=True), expected).values()) <= 1e-5


def test_untied_word_scores_stay_untied(tmp_path: Path) -> None:
    model = reference("LxmertForPreTraining", tie_word_embeddings=False)
    model.save_pretrained(tmp_path / "theirs")
    lxmert = load_lxmert(tmp_path / "theirs")
    assert lxmert.heads.words is not None
    torch.testing.assert_close(lxmert.heads.words.decoder.weight, model.cls.predictions.decoder.weight)
    save_lxmert(lxmert, tmp_path / "ours")
    assert load_file(tmp_path / "ours" / "model.safetensors").keys() >= {"cls.predictions.decoder.weight"}
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["tie_word_embeddings"] is False


def test_a_checkpoint_of_another_shape_is_named(pretrained: tuple[Path, Any], tmp_path: Path) -> None:
    folder = pretrained[0]
    settings, weights = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")

    def write(changed: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        (tmp_path / "config.json").write_text(json.dumps({**settings, **changed}))
        save_file(tensors, tmp_path / "model.safetensors")

    write({"visual_feat_dim": 11}, weights)
    with pytest.raises(InputError, match=r"visn_fc.weight is \(24, 10\), \(24, 11\) was expected"):
        load_lxmert(tmp_path)
    write({"l_layers": 3}, weights)
    with pytest.raises(InputError, match=r"lacks encoder.layer.2.attention.self.query.weight"):
        load_lxmert(tmp_path)
    write({"hidden_act": "relu"}, weights)
    with pytest.raises(InputError, match="activation 'relu' is not supported; allowed: 'gelu'"):
        load_lxmert(tmp_path)
    write({"model_type": "bert"}, weights)
    with pytest.raises(InputError, match="holds a 'bert' model; allowed: 'lxmert'"):
        load_lxmert(tmp_path)
    write({}, weights)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="are damaged"):
        load_lxmert(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        load_lxmert(tmp_path)


def test_another_form_of_encoder_is_not_saved_as_lxmert(tmp_path: Path) -> None:
    language = LanguageConfig(vocabulary=30, width=8, layers=1, heads=2, hidden=20)
    sizes: dict[str, Any] = {"language": language, "width": 16, "heads": 2, "hidden": 20, "cross_layers": 1}
    vision = VisionConfig("grid", feature_width=10, layers=1)
    encoder = build_encoder(CrossModalConfig(vision=vision, shared=False, pool="both", **sizes))
    with pytest.raises(InputError, match=r"region features.*not co-attention.*pools both.*different widths"):
        save_lxmert(Lxmert(encoder), tmp_path)
    assert not list(tmp_path.iterdir())


def test_heads_that_no_class_of_transformers_has_are_refused(pretrained: tuple[Path, Any], tmp_path: Path) -> None:
    encoder = load_lxmert(pretrained[0]).encoder
    for heads in (PretrainingHeads(words=MaskedWordHead(24, 50)), PretrainingHeads(matching=MatchingHead(24))):
        with pytest.raises(InputError, match="needs both the masked-word and the matching head"):
            save_lxmert(Lxmert(encoder, heads), tmp_path)


def test_attention_weights_are_kept_of_every_layer(pretrained: tuple[Path, Any]) -> None:
    encoder, batch = load_lxmert(pretrained[0]).encoder, pairs()
    attentions = encoder(batch, attentions=True).attentions
    assert attentions is not None
    cross = attentions.cross
    assert isinstance(cross, CrossAttentions) and not cross.joint
    shapes = {len(cross.to_vision), len(cross.to_language), len(cross.language), len(cross.vision)}
    assert shapes == {2} and cross.to_language[0].shape == (5, 3, 6, 9)
