import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kvqa.data.pairs import Pairs
from kvqa.errors import InputError
from kvqa.models.crossmodal import CrossModalConfig, build_encoder
from kvqa.models.encoder_folder import load_encoder, save_encoder
from kvqa.models.language import LanguageConfig
from kvqa.models.vision_embedding import VisionConfig

BERT = LanguageConfig(vocabulary=40, width=16, layers=1, heads=2, hidden=20, positions=20, padding_index=0)
CONFIG = CrossModalConfig(BERT, VisionConfig(feature_width=6, layers=1), width=16, heads=2, hidden=20, cross_layers=1)


def _features() -> Pairs:
    torch.manual_seed(1)
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    return Pairs(torch.randint(2, 40, (2, 6)), mask, torch.randn(2, 5, 6), torch.rand(2, 5, 4))


def _start(kind: str, folder: Path) -> tuple[CrossModalConfig, Pairs]:
    """A config, with models of `transformers` in `folder` where it names them, and a batch for it."""
    import transformers as t

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 20,
    }
    if kind == "own":
        return CONFIG, _features()
    if kind == "merged, another width":
        return replace(CONFIG, fusion="merged", width=12, modality=True, pool="both"), _features()
    if kind == "bert":
        t.BertModel(t.BertConfig(vocab_size=40, **sizes)).save_pretrained(folder)
        return replace(CONFIG, language=LanguageConfig(str(folder))), _features()
    t.RobertaModel(t.RobertaConfig(vocab_size=40, type_vocab_size=1, **sizes)).save_pretrained(folder / "text")
    t.MobileNetV2Model(t.MobileNetV2Config(depth_multiplier=0.1, image_size=32)).save_pretrained(folder / "image")
    vision = VisionConfig("backbone", model=str(folder / "image"), layers=1)
    config = replace(CONFIG, language=LanguageConfig(str(folder / "text")), vision=vision)
    return config, replace(_features(), vision=torch.randn(2, 3, 32, 64), boxes=None)


@pytest.mark.parametrize("kind", ["own", "merged, another width", "bert", "roberta and a backbone"])
def test_a_saved_encoder_is_the_same_without_what_it_was_started_from(kind: str, tmp_path: Path) -> None:
    config, pairs = _start(kind, tmp_path / "start")
    encoder = build_encoder(config).eval()
    save_encoder(encoder, config, tmp_path / "saved")
    shutil.rmtree(tmp_path / "start", ignore_errors=True)
    loaded, again = load_encoder(tmp_path / "saved")
    with torch.no_grad():
        before, after = encoder(pairs), loaded(pairs)
    torch.testing.assert_close(after.pooled, before.pooled, atol=1e-6, rtol=0)
    torch.testing.assert_close(after.vision, before.vision, atol=1e-6, rtol=0)
    save_encoder(loaded, again, tmp_path / "saved again")
    assert (tmp_path / "saved again" / "config.json").read_text() == (tmp_path / "saved" / "config.json").read_text()
    assert not list((tmp_path / "saved").glob("*.partial"))


def test_a_folder_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        load_encoder(tmp_path)
    save_encoder(build_encoder(CONFIG), CONFIG, tmp_path)
    record, weights = json.loads((tmp_path / "config.json").read_text()), load_file(tmp_path / "model.safetensors")

    def write(**changed: Any) -> None:
        (tmp_path / "config.json").write_text(json.dumps({**record, **changed}))

    for change, message in (
        ({"kind": "model"}, "holds no kvqa cross-modal encoder"),
        ({"depth": 3}, "is not of this version .*depth"),
        ({"heads": 3}, "is damaged: width 16 is not a multiple of heads 3"),
        ({"cross_layers": 2}, r"does not fit its config\.json: first at cross\.1"),
    ):
        write(**change)
        with pytest.raises(InputError, match=message):
            load_encoder(tmp_path)
    write()
    save_file(
        {name: tensor for name, tensor in weights.items() if name != "pooler.bias"}, tmp_path / "model.safetensors"
    )
    with pytest.raises(InputError, match=r"first at pooler\.bias"):
        load_encoder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors cannot be read"):
        load_encoder(tmp_path)
