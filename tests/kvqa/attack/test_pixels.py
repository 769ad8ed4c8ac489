import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kvqa.attack.curves import attack_curves
from kvqa.attack.pixels import classified_photos, photo_batches, prepare
from kvqa.attack.run import run_attack
from kvqa.errors import InputError
from kvqa.models.perturbation import AttackSettings

transformers = pytest.importorskip("transformers")

SETTINGS: dict[str, Any] = {
    **{"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}, "resample": 2},
    **{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
}
INDEX = {"0": ["n01", "red"], "1": ["n02", "green"], "2": ["n03", "blue"]}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "imagenet_class_index.json").write_text(json.dumps(INDEX))
    rng = np.random.default_rng(0)
    for number, name in enumerate(["n01_red.png", "n02_green.png", "n03_blue.png"]):
        values = rng.integers(0, 120, (50, 60, 3), dtype=np.uint8)
        values[..., number] += 100
        Image.fromarray(values).save(folder / name)
    return folder


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, num_labels=3
    )
    folder = tmp_path / "classifier"
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(SETTINGS))
    return folder


def test_photos_get_the_class_that_their_name_says(photos: Path) -> None:
    assert [(path.name, label) for path, label in classified_photos(photos)] == [
        *(("n01_red.png", 0), ("n02_green.png", 1), ("n03_blue.png", 2))
    ]


def test_broken_folders_of_photos_are_refused(photos: Path, tmp_path: Path) -> None:
    (photos / "n99_odd.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"n99_odd.png has the class 'n99', which .* does not name"):
        classified_photos(photos)
    with pytest.raises(InputError, match=r"imagenet_class_index.json cannot be read"):
        classified_photos(tmp_path)
    (tmp_path / "imagenet_class_index.json").write_text(json.dumps(INDEX))
    with pytest.raises(InputError, match=r"holds no .jpg, .jpeg or .png"):
        classified_photos(tmp_path)


def test_photos_are_cut_to_the_middle() -> None:
    values = np.zeros((40, 80, 3), dtype=np.uint8)
    values[:, 24:56, 0] = 255  # the middle 32 columns

    pixels = prepare(Image.fromarray(values), SETTINGS)

    assert pixels.shape == (3, 32, 32)
    assert (pixels[0] == 1).all() and not pixels[1:].any()


def test_pixels_stay_pixels_under_attack(photos: Path, classifier: Path) -> None:
    (batch,) = photo_batches(classifier, classified_photos(photos))
    seen: list[torch.Tensor] = []
    logits = batch.logits
    object.__setattr__(batch, "logits", lambda parts: seen.append(parts["pixels"].detach()) or logits(parts))

    curves, count = attack_curves([batch], ["pgd"], [0.0, 0.3], AttackSettings(steps=3))

    assert count == 3 and curves["pgd"][1].loss > curves["pgd"][0].loss
    assert min(p.min().item() for p in seen) >= 0 and max(p.max().item() for p in seen) <= 1
    assert 0.2 < max((p - seen[0]).abs().max().item() for p in seen) <= 0.3 + 1e-6


def test_a_folder_without_a_classifier_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no image classifier with preprocessor_config.json"):
        list(photo_batches(tmp_path, classified_photos(photos)))
    with pytest.raises(InputError, match=r"pixels belong to an image classifier; give its folder with --model"):
        run_attack(None, photos, methods=["fgsm"], sizes=[0.1], on="pixels")


@pytest.mark.slow
def test_a_real_classifier_falls_as_expected() -> None:
    root = Path(os.environ.get("KVQA_DATA", "none"), "data")
    if not (root / "weights" / "mobilenet_v2_hf").is_dir():
        pytest.skip("KVQA_DATA does not hold MobileNetV2 and photos of ImageNet classes")
    report = run_attack(
        root / "weights" / "mobilenet_v2_hf",
        root / "imagenet_sample",
        methods=["random", "fgsm", "pgd"],
        sizes=[0, 0.004],
        on="pixels",
        steps=5,
        limit=32,
    )
    random, fgsm, pgd = (report.curves[name] for name in ("random", "fgsm", "pgd"))
    assert random[0].accuracy > 60 and random[1].accuracy > random[0].accuracy - 15
    assert pgd[1].accuracy <= fgsm[1].accuracy < random[0].accuracy - 20
