from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kvqa.config import read_config, read_task
from kvqa.errors import InputError
from kvqa.training.experiment import Experiment
from kvqa.training.nlvr import NlvrExperiment
from kvqa.training.photo_config import PhotoPretraining
from kvqa.training.pretrain_config import Pretraining
from kvqa.training.task import TaskExperiment

CONFIGS = Path(__file__).parents[2] / "configs"


@dataclass(frozen=True)
class Bread:
    flour: str = "rye"
    grams: int = 500


@dataclass(frozen=True)
class Meal:
    name: str
    guests: int = 2
    bread: Bread = field(default_factory=Bread)

    def problems(self) -> Iterator[str]:
        if self.guests < 1:
            yield f"guests {self.guests} is less than 1"


def _write(folder: Path, text: str) -> Path:
    path = folder / "meal.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_into_dataclasses(tmp_path: Path) -> None:
    path = _write(tmp_path, "name: supper\nbread: {grams: 750}\n")
    assert read_config(path, Meal) == Meal("supper", 2, Bread("rye", 750))


def test_overrides_replace_what_the_file_says(tmp_path: Path) -> None:
    path = _write(tmp_path, "name: supper\nguests: 3\n")
    assert read_config(path, Meal, guests=4, name=None) == Meal("supper", 4)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = _write(tmp_path, "guests: many\nspoons: 3\nbread: {grams: [1], butter: yes}\n")
    with pytest.raises(InputError, match="see configs/ for complete examples") as caught:
        read_config(path, Meal)
    message = str(caught.value)
    for part in ("unknown key spoons", "unknown key bread.butter", "guests: ", "'many'", "bread.grams: ", "name: "):
        assert part in message
    assert str(path) in message and "\n" not in message


def test_a_part_that_may_be_left_out_is_checked_where_it_is_there(tmp_path: Path) -> None:
    good = (CONFIGS / "adversarial.yaml").read_text(encoding="utf-8")
    config = read_config(CONFIGS / "adversarial.yaml", Experiment)
    assert config.encoder_stage.adversarial is not None and config.encoder_stage.adversarial.perturb == "words"
    assert read_config(CONFIGS / "fvqa.yaml", Experiment).encoder_stage.adversarial is None
    with pytest.raises(InputError, match=r"unknown key encoder_stage.adversarial.eps;.*steps 0 is less than 1"):
        read_config(_write(tmp_path, good.replace("    steps: 3", "    steps: 0\n    eps: 1")), Experiment)


def test_values_that_do_not_go_together_are_said_with_unknown_keys(tmp_path: Path) -> None:
    path = _write(tmp_path, "name: supper\nguests: 0\nspoons: 3\n")
    with pytest.raises(InputError, match=r"unknown key spoons; guests 0 is less than 1"):
        read_config(path, Meal)


@pytest.mark.parametrize("text", ["", "- name\n- guests\n", "supper", "12"])
def test_a_file_without_settings_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"meal\.yaml holds no settings"):
        read_config(_write(tmp_path, text), Meal)


@pytest.mark.parametrize("content", [b"name: [", b"\xff\xfe\x00", b"a: b: c", None])
def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "meal.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"meal\.yaml cannot be read as YAML") as caught:
        read_config(tmp_path / "meal.yaml", Meal)
    assert "\n" not in str(caught.value)


def test_yaml_builds_no_objects(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not determine a constructor"):
        read_config(_write(tmp_path, "name: !!python/object/apply:os.getcwd []"), Meal)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_experiment_is_sound(path: Path) -> None:
    kinds: dict[str, Any] = {
        "fvqa": Experiment, "pretraining": Pretraining, "photos": PhotoPretraining, "nlvr": NlvrExperiment
    }  # fmt: skip
    kind = kinds.get(read_task(path), TaskExperiment)
    assert read_config(path, kind)


def test_all_that_is_wrong_with_pretraining_is_said_at_once(tmp_path: Path) -> None:
    good = (CONFIGS / "pretrain.yaml").read_text(encoding="utf-8")
    bad = good.replace("vinvl_captions, folder", "vinvl, folder").replace("words: 1.0", "words: -1")
    bad = bad.replace("split: train}\nleave_out", "split: train, shuffle: yes}\nleave_out")
    bad = bad.replace("  - {data: vqa2,", "  - {data: okvqa, folder: okvqa, split: val}\n  - {data: vqa2,")
    bad = bad.replace("texts:", "texts:\n  - {data: fvqa, folder: fvqa, split: test1}").replace(
        "save_every: 100", "save_every: 0"
    )
    with pytest.raises(InputError) as caught:
        read_config(_write(tmp_path, bad), Pretraining)
    for problem in (
        "unknown key texts.5.shuffle",
        "texts: there is no data set 'vinvl'",
        "texts: okvqa val is an evaluation split (leave_out)",
        "texts: fvqa test1 is a test split",
        "words -1.0 is negative",
        "save_every 0 is less than 1",
    ):
        assert problem in str(caught.value), problem


def test_there_are_experiments() -> None:
    assert (CONFIGS / "fvqa.yaml").is_file()


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        ("split", "test0", "split 'test0' is a test split"),
        ("split", "test", "split 'test' is a test split"),
        ("held_out", 0.95, r"held_out 0.95 is not in \[0, 0.9\)"),
        ("held_out", float("nan"), r"held_out nan is not in \[0, 0.9\)"),
        ("folds", 0, "folds 0 is less than 1"),
        ("calibration", -0.1, r"calibration -0.1 is not in \[0, 0.9\)"),
        ("seed", "seven", "seed: .*'seven'"),
        ("teacher", "me", "unknown key teacher"),
    ],
)
def test_an_unsound_experiment_is_refused(setting: str, value: object, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_config(CONFIGS / "fvqa.yaml", Experiment, **{setting: value})
