import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kvqa.errors import InputError
from kvqa.models.checkpoint import load_model, read_manifest
from kvqa.models.crossmodal import CrossModalConfig, build_encoder
from kvqa.models.hub import HubEncoder, HubModel, HubPretrained, model_folder
from kvqa.models.language import LanguageConfig
from kvqa.models.pretrained import save_pretrained_folder
from kvqa.models.vision_embedding import VisionConfig


def test_a_model_goes_to_a_folder_and_back(small_model: Path, tmp_path: Path) -> None:
    model = load_model(small_model)
    HubModel(model, {"data": "none"}).save_pretrained(tmp_path / "saved")
    assert "library_name: kvqa" in (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")
    again = HubModel.from_pretrained(tmp_path / "saved")
    assert again.training == {"data": "none"} and again.model.vocabulary == ("cat", "dog")
    for name, parameter in model.named_parameters():
        assert torch.equal(again.model.get_parameter(name), parameter), name
    again.save_pretrained(tmp_path / "twice")
    assert read_manifest(tmp_path / "twice") == read_manifest(tmp_path / "saved")
    assert json.loads((tmp_path / "twice" / "config.json").read_text()) == json.loads(
        (tmp_path / "saved" / "config.json").read_text()
    )


def test_an_encoder_goes_to_a_folder_and_back(tmp_path: Path) -> None:
    language = LanguageConfig(vocabulary=30, width=16, layers=1, heads=2, hidden=20, positions=9)
    config = CrossModalConfig(
        language=language, vision=VisionConfig(feature_width=10, layers=1), width=16, heads=2, hidden=20, cross_layers=1
    )
    encoder = build_encoder(config)
    HubEncoder(encoder, config).save_pretrained(tmp_path)
    again = HubEncoder.from_pretrained(tmp_path)
    assert again.settings == config
    for name, parameter in encoder.named_parameters():
        assert torch.equal(again.encoder.get_parameter(name), parameter), name


def test_a_pretrained_folder_is_copied_as_it_is(tmp_path: Path) -> None:
    model = nn.ModuleDict({"encoder": nn.Linear(2, 2)})
    save_pretrained_folder(
        model,
        tmp_path / "run",
        config={"name": "tiny"},
        labels=["cat"],
        answers=["yes"],
        pictures=["coco:9"],
        text_sha256="0",
        training={"pairs": 3},
    )
    (tmp_path / "run" / "pretrain.state").write_text("stays behind")
    HubPretrained(tmp_path / "run").save_pretrained(tmp_path / "saved")
    again = HubPretrained.from_pretrained(tmp_path / "saved")
    assert again.content == HubPretrained(tmp_path / "run").content
    assert again.content.pictures == {"coco:9"} and again.content.config == {"name": "tiny"}
    assert not (tmp_path / "saved" / "pretrain.state").exists()
    (tmp_path / "saved" / "model.safetensors").write_bytes(b"altered")
    with pytest.raises(InputError, match="checksum differs"):
        HubPretrained.from_pretrained(tmp_path / "saved")


def test_pushing_uploads_the_saved_folder(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, Any] = {}

    class Hub:
        def __init__(self, **options: Any) -> None:
            pass

        def create_repo(self, repo_id: str, **options: Any) -> Any:
            return type("Repository", (), {"repo_id": repo_id})

        def upload_folder(self, *, repo_id: str, folder_path: Path, **options: Any) -> str:
            sent[repo_id] = sorted(path.name for path in Path(folder_path).iterdir())
            return "sent"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    assert HubModel(load_model(small_model)).push_to_hub("someone/small") == "sent"
    files = ["README.md", "config.json", "manifest.json", "model.safetensors", "vocabulary.json"]
    assert sent == {"someone/small": files}


def test_a_hub_id_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, **options: Any) -> str:
        assert (name, options["revision"]) == ("someone/small", "v1")
        return str(tmp_path)

    monkeypatch.setattr("kvqa.models.hub.snapshot_download", download)
    assert model_folder("someone/small", revision="v1", text="ignored") == tmp_path
