"""A model that starts from a pretrained encoder must not have seen the pictures that it will be scored on."""

from pathlib import Path

import pytest
from torch import nn

from kvqa.build import train_fvqa
from kvqa.errors import InputError
from kvqa.models.pretrained import save_pretrained_folder

CONFIG = Path(__file__).parents[3] / "configs" / "fvqa.yaml"


def pretrained_on(folder: Path, *pictures: str) -> Path:
    model = nn.Module()
    model.encoder = nn.Linear(2, 2)
    save_pretrained_folder(
        model, folder, config={}, labels=[], answers=[], pictures=pictures, text_sha256="0", training={}
    )
    return folder


def test_an_encoder_that_has_seen_test_pictures_is_refused(root: Path, kb: Path, tmp_path: Path) -> None:
    seen = pretrained_on(tmp_path / "seen", "a.jpg", "d.jpg", "c.jpg")
    with pytest.raises(InputError, match=r"was pretrained on 2 pictures of test0, such as c\.jpg.*in leave_out"):
        train_fvqa(CONFIG, root=root, kb=kb, out=tmp_path / "out", init=seen)
    with pytest.raises(InputError, match=r"1 pictures of test4, such as d\.jpg"):
        train_fvqa(CONFIG, root=root, kb=kb, out=tmp_path / "out", init=seen, split="train4")
    assert not (tmp_path / "out").exists()


def test_one_that_has_not_goes_on_to_the_next_question(root: Path, kb: Path, tmp_path: Path) -> None:
    fair = pretrained_on(tmp_path / "fair", "a.jpg", "b.jpg")
    with pytest.raises(InputError, match="was pretrained with another sentence encoder"):
        train_fvqa(CONFIG, root=root, kb=kb, out=tmp_path / "out", init=fair)
