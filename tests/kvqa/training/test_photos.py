"""Pretraining on photos: coloured squares and captions that name what they show."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from kvqa import build
from kvqa.cli import app
from kvqa.data.feature_files import write_features
from kvqa.data.features import ImageFeatures
from kvqa.data.images import read_image
from kvqa.data.pairs import Pairs as Tensors
from kvqa.data.pretrain_pairs import Pair, Pairs, Source, gather_photos
from kvqa.errors import InputError
from kvqa.models.crossmodal import CrossModalConfig
from kvqa.models.language import LanguageConfig
from kvqa.models.text import TextFolder
from kvqa.models.vision_embedding import VisionConfig
from kvqa.training.masking import IGNORE
from kvqa.training.photo_batch import PhotoCollator
from kvqa.training.photo_config import PhotoModelConfig, PhotoObjectives, PhotoPretraining
from kvqa.training.photos import load_photo_model, pretrain_photos, search_recall
from kvqa.training.pretrain import split_pictures
from kvqa.training.pretrain_config import RunConfig

COLOURS = {"cat": (20, 160, 40), "dog": (30, 40, 200), "cup": (210, 30, 20)}
CAPTIONS = {
    "cat": ("a cat on the table", "a cat sits"),
    "dog": ("a dog", "the dog runs"),
    "cup": ("a cup", "red cup ."),
}
OBJECTIVES = PhotoObjectives(patches=0.5)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photos in Flickr8k's form, with two captions each."""
    folder = tmp_path_factory.mktemp("photos")
    photos = folder / "flickr8k" / "Images"
    photos.mkdir(parents=True)
    rng, rows = np.random.default_rng(0), ["image,caption"]
    for number in range(12):
        thing = list(COLOURS)[number % 3]
        pixels = np.array(COLOURS[thing]) + rng.integers(-20, 20, (24, 36, 3))
        name = f"10000000{number:02}_abc.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(photos / name)
        rows += [f"{name},{caption}" for caption in CAPTIONS[thing]]
    (folder / "flickr8k" / "captions.txt").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def data(root: Path) -> Pairs:
    return gather_photos(root, photos=["flickr8k"], texts=[Source("flickr8k", "flickr8k", "all")])


def _experiment(text: Path, objectives: PhotoObjectives = OBJECTIVES, **run: Any) -> PhotoPretraining:
    encoder = CrossModalConfig(
        language=LanguageConfig(model=str(text)),
        vision=VisionConfig(kind="pixels", patch=8, layers=1),
        width=32,
        heads=2,
        hidden=32,
        cross_layers=1,
        modality=True,
        dropout=0.0,
        attention_dropout=0.0,
    )
    settings: dict[str, Any] = {"epochs": 2, "batch": 6, "save_every": 2, "trackers": (), "lr_new": 3e-3, **run}
    return PhotoPretraining(
        "tiny",
        (Source("flickr8k", "flickr8k", "all"),),
        ("flickr8k",),
        held_out=0.25,
        model=PhotoModelConfig(encoder, max_tokens=8, short=16, size=16),
        objectives=objectives,
        run=RunConfig(**settings),
    )


def _quiet(line: str) -> None:
    pass


def test_texts_meet_the_photos_that_are_at_hand(root: Path, data: Pairs, tmp_path: Path) -> None:
    assert len(data.pairs) == 24 and len(data.pictures) == 12
    assert all(Path(pair.regions.image).is_file() and not pair.regions.regions for pair in data.pairs)
    with pytest.raises(InputError, match=r"no image-text pair is left .*in photos or texts"):
        gather_photos(root, photos=[str(tmp_path)], texts=[Source("flickr8k", "flickr8k", "all")])
    with pytest.raises(InputError, match="nowhere is no folder"):
        gather_photos(root, photos=["nowhere"], texts=[Source("flickr8k", "flickr8k", "all")])
    with pytest.raises(InputError, match="24 left out with pictures of evaluation splits"):
        everything = [Source("flickr8k", "flickr8k", "all")]
        gather_photos(root, photos=["flickr8k"], texts=everything, leave_out=everything)


def test_a_batch_hides_words_and_patches_and_keeps_the_truth(data: Pairs, tiny_text: Path) -> None:
    experiment = _experiment(tiny_text)
    tokenizer = TextFolder.find(tiny_text).tokenizer()
    collator = PhotoCollator(data.pairs, tokenizer, experiment.model, replace(OBJECTIVES, word_rate=0.5))
    batch = collator(range(24), seed=1)
    assert batch.pairs.vision.shape == (24, 3, 16, 16) and batch.masked.shape == (24, 4)
    hidden = batch.words != IGNORE
    swapped = batch.matched == 0
    assert 4 < swapped.sum() < 20 and hidden.any()
    told = torch.where(hidden, batch.words, batch.pairs.ids)  # the texts as they were shown, without holes
    for row in range(24):
        same = torch.equal(told[row][batch.pairs.mask[row]], batch.own.ids[row][batch.own.mask[row]])
        assert same or swapped[row]
    squares = batch.pairs.vision.reshape(24, 3, 2, 8, 2, 8).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    assert not squares[batch.masked].any()
    assert torch.equal(squares[~batch.masked], batch.patches[~batch.masked])
    again = collator(range(24), seed=1)
    assert torch.equal(again.pairs.ids, batch.pairs.ids) and torch.equal(again.masked, batch.masked)
    assert batch.same[0, 1] and batch.same[0, 6] and not batch.same[0, 2]  # same photo; same text; neither


@pytest.fixture(scope="module")
def whole(data: Pairs, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never stopped."""
    out = tmp_path_factory.mktemp("photos") / "whole"
    pretrain_photos(_experiment(tiny_text), data, out, log=_quiet)
    return out


def test_the_folder_loads_by_itself(whole: Path, data: Pairs, tiny_text: Path) -> None:
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["training"]["pairs"] == 18 and len((whole / "pictures.txt").read_text().splitlines()) == 12
    lines = [json.loads(line) for line in (whole / "losses.jsonl").read_text().splitlines()]
    assert set(lines[0]) == {"step", "loss", "words", "patches", "matching", "contrastive"}
    model, tokenizer = load_photo_model(whole)
    assert not model.training and tokenizer.get_vocab_size() == TextFolder.find(tiny_text).tokenizer().get_vocab_size()
    assert model.objectives["words"].get_submodule("head.decoder").weight is model.encoder.language.words.weight
    experiment = _experiment(tiny_text)
    aside = PhotoCollator(_aside(data, whole), tokenizer, experiment.model, experiment.objectives)
    assert search_recall(model, aside) == pytest.approx(
        {name: manifest["training"]["held_out"][name] for name in search_recall(model, aside)}
    )


def _aside(data: Pairs, folder: Path) -> list[Pair]:
    return split_pictures(data.pairs, 0.25, seed=0)[1]


def test_altered_and_foreign_folders_are_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no folder of a model pretrained on photos .*pretrain-photos"):
        load_photo_model(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    with (copy / "heads.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=r"heads.safetensors is altered"):
        load_photo_model(copy)


class StoppedError(Exception):
    """Raised from the bar, as if the machine went down."""


def test_a_stopped_run_goes_on_with_the_same_losses(whole: Path, data: Pairs, tiny_text: Path, tmp_path: Path) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if done == 3 * 6:
            raise StoppedError

    with pytest.raises(StoppedError):
        pretrain_photos(_experiment(tiny_text), data, tmp_path, log=_quiet, advance=stop)
    torch.rand(7)
    pretrain_photos(_experiment(tiny_text), data, tmp_path, log=_quiet)
    assert (tmp_path / "losses.jsonl").read_text() == (whole / "losses.jsonl").read_text()


def test_texts_and_photos_learn_to_find_each_other(data: Pairs, tiny_text: Path, tmp_path: Path) -> None:
    found = pretrain_photos(
        _experiment(tiny_text, replace(OBJECTIVES, patches=0.0), epochs=40, save_every=500), data, tmp_path, log=_quiet
    ).held_out
    first = json.loads((tmp_path / "losses.jsonl").read_text().splitlines()[0])
    assert found["contrastive"] < 0.2 < 0.5 * first["contrastive"]  # of photos that it has never seen
    assert found["photo_at_1"] == found["text_at_1"] == 100.0


def test_a_frozen_backbone_stays_as_it_was_loaded(data: Pairs, tiny_text: Path, tmp_path: Path) -> None:
    from transformers import MobileNetV2Config, MobileNetV2Model

    torch.manual_seed(0)
    folder = tmp_path / "net"
    net = MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.1, image_size=32, min_depth=4), add_pooling_layer=False)
    net.save_pretrained(folder)
    experiment = _experiment(tiny_text, replace(OBJECTIVES, patches=0.0), steps=2)
    encoder = replace(experiment.model.encoder, vision=VisionConfig(kind="backbone", model=str(folder), layers=0))
    model = replace(experiment.model, encoder=encoder, short=32, size=32, freeze_vision=True, freeze_text=True)
    assert list(replace(experiment, model=model).problems()) == []
    pretrain_photos(replace(experiment, model=model), data, tmp_path / "run", log=_quiet)
    (folder / "model.safetensors").unlink()  # the folder of the run is complete
    trained, _ = load_photo_model(tmp_path / "run")
    states = trained.encoder.regions.model.state_dict()
    for name, value in net.state_dict().items():
        assert torch.equal(states[name], value), name
    words = TextFolder.find(tiny_text).weights()["embeddings.word_embeddings.weight"]
    assert torch.equal(trained.encoder.language.words.weight, words)
    ids, mask = torch.tensor([[2, 5, 3]]), torch.ones(1, 3, dtype=torch.bool)
    text, photo = trained.search_vectors(Tensors(ids, mask, torch.zeros(1, 3, 32, 32)))
    assert text.norm() == pytest.approx(1, abs=1e-5) and photo.shape == (1, 256)


def test_features_take_the_place_of_photos(data: Pairs, root: Path, tiny_text: Path, tmp_path: Path) -> None:
    def items() -> Iterator[ImageFeatures]:
        for pair in data.pairs[::2]:
            colour = read_image(Path(pair.regions.image)).resize((1, 2))
            rows = np.asarray(colour, dtype=np.float32).reshape(2, 3) / 255
            boxes = np.array([[0, 0, 36, 12], [0, 12, 36, 24]], dtype=np.float32)
            yield ImageFeatures(Path(pair.regions.image).name, 36, 24, boxes, np.tile(rows, 4))  # (2, 12)

    write_features(items(), root / "grid")
    experiment = _experiment(tiny_text, replace(OBJECTIVES, patches=0.0, features=1.0), epochs=40, save_every=500)
    encoder = replace(experiment.model.encoder, vision=VisionConfig(kind="grid", feature_width=12, layers=1))
    experiment = replace(experiment, photos=(), features="grid", model=replace(experiment.model, encoder=encoder))
    assert list(experiment.problems()) == []
    config = tmp_path / "grid.yaml"
    config.write_text(json.dumps(asdict(experiment)))
    found = build.pretrain_photos(config, root=root, out=tmp_path / "out", log=_quiet).held_out
    first = [json.loads(line) for line in (tmp_path / "out" / "losses.jsonl").read_text().splitlines()[:6]]
    assert found["features"] < 0.5 * max(line["features"] for line in first) and found["photo_at_1"] == 100.0
    assert load_photo_model(tmp_path / "out")[0].config.encoder.vision.kind == "grid"
    wrong = replace(experiment, photos=("flickr8k",))
    assert "give either photos or features" in list(wrong.problems())


def test_a_damaged_photo_is_named(root: Path, tiny_text: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "root")
    photo = sorted((tmp_path / "root" / "flickr8k" / "Images").iterdir())[3]
    photo.write_bytes(photo.read_bytes()[:200])
    data = gather_photos(tmp_path / "root", photos=["flickr8k"], texts=[Source("flickr8k", "flickr8k", "all")])
    with pytest.raises(InputError, match=f"{photo.name} is damaged"):
        pretrain_photos(replace(_experiment(tiny_text), held_out=0.0), data, tmp_path / "out", log=_quiet)


def test_problems_are_told_together(tiny_text: Path) -> None:
    experiment = _experiment(tiny_text)
    regions = replace(experiment.model.encoder, vision=VisionConfig())
    model = replace(experiment.model, encoder=regions, size=20, short=16, max_tokens=2, freeze_vision=True)
    wrong = replace(experiment, model=model, held_out=1.0, objectives=replace(OBJECTIVES, words=-1.0, patch_rate=1.0))
    found = "; ".join(wrong.problems())
    for part in ("does not read photos", "size 20", "leaves no word", "freeze_vision", "held_out 1.0", "words -1.0"):
        assert part in found
    assert "patch_rate 1.0" in found and "objectives.patches needs" in found


def test_the_command_trains_what_the_config_says(root: Path, tiny_text: Path, tmp_path: Path) -> None:
    config = tmp_path / "photos.yaml"
    config.write_text(json.dumps(asdict(_experiment(tiny_text, steps=2))))  # JSON is YAML
    arguments = ["train", str(config), "--root", str(root), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "2 steps on 18 pairs" in result.output and "photo_at_1" in result.output
    load_photo_model(tmp_path / "out")
    result = CliRunner().invoke(app, [*arguments, "--kb", str(tmp_path)])
    assert result.exit_code == 2 and "does not take --kb" in result.output
