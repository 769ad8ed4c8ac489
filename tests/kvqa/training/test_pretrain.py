"""The pretraining recipe on a tiny model: what is learnt, saved, and gone on with."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kvqa.data.pretrain_pairs import Pair, Pairs, SourceReport
from kvqa.errors import InputError
from kvqa.models.encoder import EncoderConfig
from kvqa.models.model import InputConfig, KvqaModel, ModelConfig
from kvqa.models.pretrained import read_pretrained_folder, start_from
from kvqa.models.text import TextFolder
from kvqa.training.pretrain import pretrain, split_pictures
from kvqa.training.pretrain_batch import PairCollator
from kvqa.training.pretrain_config import ObjectiveConfig, Pretraining, PretrainModel, RunConfig
from kvqa.training.pretrain_loop import choose_precision, plan_epoch
from kvqa.training.pretrain_model import build_pretraining, checkpoint_layers, load_pretraining
from kvqa.vision.regions import Region, Regions
from retrieval.precision import fast_bfloat16

TINY = EncoderConfig(tuned_layers=1, width=16, heads=2, hidden=16, cross_layers=1, feature_width=4)
ALL = ObjectiveConfig(contrastive=0.5, negatives=2)


def _pair(number: int) -> Pair:
    thing = ("cat", "dog", "cup")[number % 3]
    regions = Regions(f"{number}.jpg", 90, 90, (Region(thing, 0.9, (0, 0, 50, 50)), Region("table", 0.5, None, "tag")))
    if number % 2:
        return Pair(f"what is this {thing} ?", f"{number}", regions, ((thing, 1.0), ("red", 0.5)), (f"{thing} runs",))
    return Pair(f"a {thing} sits on the table", f"{number}", regions, (), (f"the {thing} is red",))


DATA = Pairs([_pair(i) for i in range(24)], {"by hand": SourceReport(used=24)}, left_out=3, dropped={"x"})


def _experiment(text: Path, **run: Any) -> Pretraining:
    settings: dict[str, Any] = {"epochs": 2, "batch": 4, "save_every": 2, "trackers": (), **run}
    return Pretraining(
        "tiny",
        (),
        (),
        (),
        held_out=0.1,
        answers_at_least=1,
        model=PretrainModel(str(text), InputConfig(max_tokens=24), TINY),
        objectives=ALL,
        run=RunConfig(**settings),
    )


def _quiet(line: str) -> None:
    pass


def _curve(folder: Path) -> list[str]:
    return (folder / "losses.jsonl").read_text().splitlines()


@pytest.fixture(scope="module")
def whole(tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never stopped."""
    out = tmp_path_factory.mktemp("pretrain") / "whole"
    pretrain(_experiment(tiny_text, trackers=("tensorboard",)), DATA, out, log=_quiet)
    return out


def test_a_run_leaves_a_folder_that_loads_by_itself(whole: Path, tiny_text: Path) -> None:
    found = read_pretrained_folder(whole)
    assert found.config["run"]["batch"] == 4 and found.pictures == {str(i) for i in range(24)}
    assert found.labels[0] == "table" and set(found.answers) == {"cat", "dog", "cup"}
    training = found.manifest.training
    assert training["pairs"] == 22 and training["met_and_dropped"] == 1 and training["sources"]["by hand"]["used"] == 24
    lines = [json.loads(line) for line in _curve(whole)]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert set(lines[0]) == {"step", "loss", "words", "features", "objects", "matching", "answers", "contrastive"} | {
        "facts"
    }
    assert training["held_out"]["loss"] < 60
    assert any("tfevents" in path.name for path in (whole / "curves").iterdir())
    model = load_pretraining(whole)
    weights = load_file(whole / "model.safetensors")
    assert not model.training and not any(name.startswith("encoder.base.") for name in weights)
    head = model.objectives["words"].get_submodule("head.decoder")
    assert head.weight is model.encoder.base.words.weight


class StoppedError(Exception):
    """Raised from the bar, as if the machine went down."""


def test_a_stopped_run_goes_on_with_the_same_losses(whole: Path, tiny_text: Path, tmp_path: Path) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if done == 4 * 5:
            raise StoppedError

    experiment = _experiment(tiny_text, trackers=("tensorboard",))
    with pytest.raises(StoppedError):
        pretrain(experiment, DATA, tmp_path, log=_quiet, advance=stop)
    assert len(_curve(tmp_path)) == 5  # the state is that of step 4
    torch.rand(7)
    lines: list[str] = []
    pretrain(experiment, DATA, tmp_path, log=lines.append)
    assert "going on after step 4 of 12" in lines
    assert _curve(tmp_path) == _curve(whole)
    first, second = load_file(whole / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    with pytest.raises(InputError, match="was made with other settings or data"):
        pretrain(replace(experiment, seed=1), DATA, tmp_path, log=_quiet)


SCRIPT = """
import sys, torch
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1])))
import test_pretrain as t
torch.set_num_threads(1)
t.pretrain(t._experiment(Path(sys.argv[2]), **eval(sys.argv[4])), t.DATA, Path(sys.argv[3]), log=t._quiet)
"""


def _command(text: Path, out: Path, *launcher: str, **run: Any) -> list[str]:
    script = out.parent / "script.py"
    script.write_text(SCRIPT)
    return [*(launcher or (sys.executable,)), str(script), str(Path(__file__).parent), str(text), str(out), repr(run)]


@pytest.mark.slow
def test_a_run_killed_at_a_random_step_has_the_curve_of_one_that_was_not(tiny_text: Path, tmp_path: Path) -> None:
    steps = {"epochs": 20, "save_every": 7}
    subprocess.run(_command(tiny_text, tmp_path / "undisturbed", **steps), check=True)
    step = random.randrange(1, 100)
    process = subprocess.Popen(_command(tiny_text, tmp_path / "killed", **steps))
    curve, deadline = tmp_path / "killed" / "losses.jsonl", time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if curve.is_file() and curve.read_text().count("\n") >= step:
            break
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was not killed while it ran"
    assert not (tmp_path / "killed" / "manifest.json").exists()
    subprocess.run(_command(tiny_text, tmp_path / "killed", **steps), check=True)
    assert len(_curve(tmp_path / "undisturbed")) == 120
    assert _curve(tmp_path / "killed") == _curve(tmp_path / "undisturbed")


@pytest.mark.slow
def test_two_processes_do_what_one_does_that_accumulates_two(tiny_text: Path, tmp_path: Path) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    subprocess.run(_command(tiny_text, tmp_path / "two", *torchrun), check=True)
    pretrain(_experiment(tiny_text, accumulate=2), DATA, tmp_path / "one", log=_quiet)
    one, two = ([json.loads(line) for line in _curve(tmp_path / name)] for name in ("one", "two"))
    assert len(one) == len(two) == 6
    for a, b in zip(one, two, strict=True):
        assert b == pytest.approx(a, rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPU")
def test_compiled_training_has_the_same_losses(
    tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._inductor.config.fallback_random", True)  # dropout as without compiling
    for name, compiled in (("plain", False), ("compiled", True)):
        pretrain(_experiment(tiny_text, steps=3, compile=compiled), DATA, tmp_path / name, log=_quiet)
    plain, found = ([json.loads(line) for line in _curve(tmp_path / name)] for name in ("plain", "compiled"))
    for a, b in zip(plain, found, strict=True):
        assert b == pytest.approx(a, rel=1e-2 if fast_bfloat16() else 1e-4)


def test_checkpointing_changes_no_gradient(tiny_text: Path) -> None:
    experiment = _experiment(tiny_text)
    gradients = []
    for again in (False, True):
        model = build_pretraining(experiment, labels=4, answers=2)
        if again:
            checkpoint_layers(model.encoder)
        batch = PairCollator(DATA.pairs, model.collator(), ["cat", "dog", "cup", "table"], ["cat", "dog"], ALL)(
            [0, 1, 2, 5], 3
        )
        torch.manual_seed(5)
        model.total(model.train()(batch)).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 40
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=0, rtol=0)


def test_another_model_starts_from_it(whole: Path, tiny_text: Path) -> None:
    config = ModelConfig(text=str(tiny_text), encoder=TINY)
    model = KvqaModel(config, TextFolder.find(tiny_text), ("yes", "no"))
    before = {name: p.clone() for name, p in model.named_parameters()}
    start_from(model, whole, text_sha256=model.text.sha256)
    pretrained = load_pretraining(whole)
    same = dict(pretrained.encoder.named_parameters())
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert {"encoder.trunk.pooler.weight", "encoder.picture.fact.weight"} <= changed
    assert not any(name.startswith(("reasoner.", "encoder.vocabulary.", "encoder.side.")) for name in changed)
    for name in changed:
        assert torch.equal(model.get_parameter(name), same[name.removeprefix("encoder.")])
    wider = KvqaModel(replace(config, encoder=replace(TINY, hidden=20)), TextFolder.find(tiny_text))
    with pytest.raises(InputError, match=r"does not fit this model: encoder.cross.*same model.encoder"):
        start_from(wider, whole, text_sha256=model.text.sha256)
    with pytest.raises(InputError, match="another sentence encoder"):
        start_from(model, whole, text_sha256="0")
    with pytest.raises(InputError, match="is no model folder"):
        start_from(model, tiny_text, text_sha256="0")


def test_masked_labels_are_named_nowhere(tiny_text: Path) -> None:
    model = build_pretraining(_experiment(tiny_text), labels=4, answers=2)
    settings = replace(ALL, region_rate=0.6, word_rate=0.0, swap=0.0)
    collator = PairCollator(DATA.pairs, model.collator(), ["cat", "dog", "cup", "table"], ["cat"], settings)
    batch = collator(list(range(12)), 1)
    assert batch.masked.any() and not batch.masked[:, 0].any()
    names = [model.tokenizer.token_to_id(word) for word in ("cat", "dog", "cup")]
    for row in range(12):
        told = batch.batch.ids[row][batch.batch.segments[row] == 1].tolist()
        assert (names[row % 3] in told) != bool(batch.masked[row, 1])
    assert batch.objects[0, 1:3].tolist() == [0, 3] and batch.matched.all()
    assert [row for row, answer in enumerate(batch.answers.tolist()) if answer == 0] == [3, 9]  # questions about cats
    assert batch.belongs[0].any() and torch.equal(collator([1, 2], 9).words, collator([1, 2], 9).words)


def test_of_swapped_texts_neither_answer_nor_fact_counts(tiny_text: Path) -> None:
    model = build_pretraining(_experiment(tiny_text), labels=4, answers=2)
    collator = PairCollator(DATA.pairs, model.collator(), ["cat"], ["cat", "dog", "cup"], ALL)
    batch = collator(list(range(24)), 2)
    swapped = batch.matched == 0
    assert 4 < int(swapped.sum()) < 20
    assert (batch.answers[swapped] == -100).all() and not batch.counted[swapped].any()
    assert (batch.answers[~swapped] >= 0).any() and batch.counted[~swapped].any()


def test_epochs_are_planned_and_pictures_kept_apart() -> None:
    plan = plan_epoch([3, 9, 1, 7, 5, 8, 2], 2, random.Random(0))
    assert sorted(row for rows in plan for row in rows) == list(range(7))
    kept, aside = split_pictures(DATA.pairs, 0.25, seed=1)
    assert len(aside) == 6 and not {p.picture for p in kept} & {p.picture for p in aside}


def test_what_does_not_go_is_said(tiny_text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        choose_precision(RunConfig(precision="fp16"), "cpu")
    assert choose_precision(RunConfig(precision="bf16"), "cpu") == "bf16"
    with pytest.raises(InputError, match=r"the loss is nan.*lower lr"):
        pretrain(_experiment(tiny_text, lr=1e30, lr_new=1e30), DATA, tmp_path, log=_quiet)
