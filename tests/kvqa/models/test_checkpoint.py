import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from kvqa.data.example import Example
from kvqa.errors import InputError
from kvqa.models.checkpoint import load_model, own_parameters, read_manifest, save_model
from kvqa.models.encoder import EncoderConfig
from kvqa.models.graph import ReasonerConfig
from kvqa.models.model import InputConfig, KvqaModel, ModelConfig
from kvqa.models.predict import graph_items, predict
from kvqa.models.text import TextFolder
from kvqa.vision.regions import Region, Regions
from retrieval.knowledge_base import KnowledgeBase
from retrieval.manifest import file_sha256
from retrieval.retriever import Retriever

EXAMPLE = Example("0", "What can it do?", "a.jpg", Regions("a.jpg", 90, 90, (Region("cat", 0.9, (0, 0, 9, 9)),)))


@pytest.fixture
def folder(small_model: Path, tmp_path: Path) -> Path:
    """A copy of the small model that may be spoilt."""
    return Path(shutil.copytree(small_model, tmp_path / "model"))


def _edit(folder: Path, name: str, **changes: Any) -> None:
    record = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps({**record, **changes}), encoding="utf-8")


def _reseal(folder: Path) -> None:
    _edit(folder, "manifest.json", weights_sha256=file_sha256(folder / "model.safetensors"))


def test_a_loaded_model_predicts_what_the_saved_one_did(small_kb: Path, tmp_path: Path) -> None:
    config = ModelConfig(
        inputs=InputConfig(max_tokens=20),
        encoder=EncoderConfig(tuned_layers=1, width=8, heads=2, hidden=8, cross_layers=1),
        reasoner=ReasonerConfig(width=8, layers=1),
        temperature=1.5,
    )
    torch.manual_seed(3)
    model = KvqaModel(config, TextFolder.find(), ["Cats", "müsli"]).eval()
    with torch.no_grad():  # so that the stored weights are the same numbers
        for parameter in own_parameters(model).values():
            parameter.copy_((parameter + 0.05 * torch.randn_like(parameter)).bfloat16())
    save_model(model, tmp_path / "model", training={"seed": 3})
    loaded = load_model(tmp_path / "model")

    assert loaded.config == model.config and loaded.vocabulary == ("Cats", "müsli")
    assert read_manifest(tmp_path / "model").training == {"seed": 3}
    assert not loaded.training
    for name, parameter in loaded.named_parameters():
        torch.testing.assert_close(parameter, model.get_parameter(name), atol=0, rtol=0)
    kb = KnowledgeBase.open(small_kb)
    predictions = []
    for one in (model, loaded):
        items = graph_items(one, [EXAMPLE], one.views([EXAMPLE]), Retriever(kb, dense=5))
        predictions.append(predict(one, items, kb)[0])
    assert predictions[0].answers == predictions[1].answers
    np.testing.assert_array_equal(predictions[0].facts, predictions[1].facts)


def test_the_sentence_encoder_is_not_in_the_file(small_model: Path) -> None:
    weights = load_file(small_model / "model.safetensors")
    assert not [name for name in weights if name.startswith("encoder.base.")]
    assert any(name.startswith("encoder.tuned.") for name in weights) and any("reasoner." in name for name in weights)
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    assert read_manifest(small_model).text_sha256 == TextFolder.find().sha256


def test_weights_can_be_stored_unrounded(small_model: Path, tmp_path: Path) -> None:
    model = load_model(small_model)
    with torch.no_grad():
        model.encoder.bridge.weight.add_(1e-5)
    save_model(model, tmp_path, training={}, dtype=torch.float32)
    assert torch.equal(load_file(tmp_path / "model.safetensors")["encoder.bridge.weight"], model.encoder.bridge.weight)
    assert not list(tmp_path.glob("*.partial"))


def test_a_folder_without_manifest_is_no_model(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"is no model folder \(it has no manifest\.json\); train one"):
        load_model(folder)


@pytest.mark.parametrize("content", ["not json", "{}", "[]", '{"weights_sha256": "", "other": 1}'])
def test_a_damaged_manifest_is_an_input_error(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"manifest\.json"):
        load_model(folder)


def test_altered_weights_are_refused(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="is missing or altered"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="is missing or altered"):
        load_model(folder)


def test_weights_that_are_no_safetensors_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"nothing")
    _reseal(folder)
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        load_model(folder)


def test_another_sentence_encoder_is_refused(folder: Path) -> None:
    _edit(folder, "manifest.json", text_sha256="f" * 64)
    with pytest.raises(InputError, match="was trained on sentence encoder ffffffffffff…, but"):
        load_model(folder)


def test_a_sentence_encoder_that_is_not_there_is_named(folder: Path) -> None:
    _edit(folder, "config.json", text="no_such_encoder")
    with pytest.raises(InputError, match="text encoder no_such_encoder is neither"):
        load_model(folder)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _edit(folder, "config.json", reasoner={**config["reasoner"], "width": 8})
    with pytest.raises(InputError, match=r"does not fit its config\.json: first at reasoner"):
        load_model(folder)


@pytest.mark.parametrize("change", ["lost", "new"])
def test_missing_and_unknown_weights_are_refused(folder: Path, change: str) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["encoder.zzz"] = weights["encoder.bridge.weight"].clone()
    if change == "lost":
        del weights["encoder.zzz"], weights["encoder.bridge.weight"]
    save_file(weights, folder / "model.safetensors")
    _reseal(folder)
    with pytest.raises(InputError, match=r"first at encoder\.(zzz|bridge\.weight)"):
        load_model(folder)


def test_a_vocabulary_of_another_length_is_refused(folder: Path) -> None:
    (folder / "vocabulary.json").write_text('["cat"]', encoding="utf-8")
    with pytest.raises(InputError, match=r"does not fit its config\.json: first at encoder\.vocabulary"):
        load_model(folder)


def test_settings_of_another_version_are_refused(folder: Path) -> None:
    _edit(folder, "config.json", wings=2)
    with pytest.raises(InputError, match=r"config\.json is not of this version \(.*wings"):
        load_model(folder)
    (folder / "config.json").write_text('{"text": "a"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.json is not of this version \('inputs'\)"):
        load_model(folder)


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        load_model(folder)


def test_saving_over_a_model_that_is_interrupted_leaves_no_loadable_mixture(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(folder)
    with torch.no_grad():
        model.encoder.bridge.weight.zero_()

    def full_disk(path: Path, text: str) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("kvqa.models.checkpoint.write_text_safely", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_model(model, folder, training={})
    with pytest.raises(InputError, match="is missing or altered"):
        load_model(folder)
