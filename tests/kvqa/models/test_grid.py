"""Grid features of photos by small vision models of `transformers`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import MobileNetV2Config, MobileNetV2Model, ViTConfig, ViTModel
from typer.testing import CliRunner

from kvqa.cli import app
from kvqa.data.feature_files import Broken
from kvqa.data.features import FeatureStore, ImageFeatures
from kvqa.data.images import middle, read_image
from kvqa.errors import InputError
from kvqa.models.grid import grid_features, normalisation, photo_paths


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("a.png", (70, 90, 3)), ("b.jpg", (64, 64, 3)), ("more/c.png", (100, 66, 3))):
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("not a photo")
    return folder


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MobileNet of 2 x 2 cells on 64 pixels."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("net")
    model = MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.1, min_depth=4, image_size=64))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}')
    return folder


def test_cells_are_those_of_the_model(photos: Path, net: Path) -> None:
    paths = photo_paths(photos)
    assert [path.name for path in paths] == ["a.png", "b.jpg", "c.png"]
    found = list(grid_features(paths, str(net), short=66, size=64, batch=2))
    assert normalisation(str(net)) == ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    model = MobileNetV2Model.from_pretrained(net).eval()
    for path, item in zip(paths, found, strict=True):
        assert isinstance(item, ImageFeatures) and (item.image_id, item.width, item.height) == (path.name, 64, 64)
        pixels = torch.from_numpy(middle(read_image(path), short=66, height=64, width=64))
        pixels = (pixels - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.5, 0.6, 0.7])[:, None, None]
        with torch.inference_mode():
            states = model(pixel_values=pixels[None]).last_hidden_state[0]  # (C, 2, 2)
        assert item.boxes.tolist() == [[0, 0, 32, 32], [32, 0, 64, 32], [0, 32, 32, 64], [32, 32, 64, 64]]
        expected = states.flatten(1).T.numpy()
        assert np.abs(item.features - expected).max() < 0.05 * max(1.0, np.abs(expected).max())
        assert item.features.any(1).all()


def test_the_state_of_the_whole_picture_is_left_out(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=64, patch_size=16
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    item = next(grid_features(photo_paths(photos), str(tmp_path), short=64, size=64))
    assert isinstance(item, ImageFeatures) and item.features.shape == (16, 16) and len(item.boxes) == 16
    assert normalisation(str(tmp_path)) == ([0.5] * 3, [0.5] * 3)


def test_a_damaged_photo_does_not_stop_the_others(photos: Path, net: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes((photos / "a.png").read_bytes()[:90])
    (tmp_path / "b.jpg").write_bytes((photos / "b.jpg").read_bytes())
    first, second = grid_features(photo_paths(tmp_path), str(net), short=64, size=64)
    assert isinstance(first, Broken) and "a.png is damaged" in first.reason
    assert isinstance(second, ImageFeatures)
    arguments = ["features", "extract", str(tmp_path), "--model", str(net), "--out", str(tmp_path / "out")]
    arguments += ["--short", "64", "--size", "64"]
    stopped = CliRunner().invoke(app, arguments)
    assert stopped.exit_code == 2 and "a.png is damaged" in stopped.output and not (tmp_path / "out").exists()
    result = CliRunner().invoke(app, [*arguments, "--skip-broken"])
    assert result.exit_code == 0, result.output
    assert "1 images, 4 regions" in result.output and "left out" in result.output
    assert list(FeatureStore(tmp_path / "out")) == ["b.jpg"]


def test_a_folder_without_photos_and_an_unknown_model_are_told(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(InputError, match="holds no photos"):
        photo_paths(tmp_path)
    with pytest.raises(InputError, match=r"vision backbone .* cannot be loaded"):
        list(grid_features(photo_paths(photos), str(tmp_path / "none")))
