import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from kvqa.cli import app
from kvqa.cli.answer import answer_photo
from kvqa.errors import InputError
from retrieval.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run_apart(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "kvqa.cli", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def expect_error(result: Result, *parts: str) -> None:
    """Check that the command ended in one line that holds `parts`, and in exit code 2."""
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    for part in parts:
        assert part in lines[0], lines[0]


@pytest.fixture
def options(small_kb: Path, small_model: Path, photo: Path, cat_regions: Path) -> dict[str, object]:
    """Options of `kvqa answer` that are all right."""
    return {
        "--image": photo,
        "--question": "What does the animal in this image desire?",
        "--kb": small_kb,
        "--model": small_model,
        "--regions": cat_regions,
    }


def answer(options: dict[str, object], *more: object, **changed: object) -> Result:
    """Run `kvqa answer` with some options replaced, or left out where the value is None."""
    merged = {**options, **{"--" + name: value for name, value in changed.items()}}
    pairs = [part for name, value in merged.items() if value is not None for part in (name, value)]
    return run("answer", *pairs, *more)


# --- the front ---------------------------------------------------------------------------------------------------


def test_help_names_every_command_quickly_and_version_answers() -> None:
    started = time.perf_counter()
    done = run_apart("--help")
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    for command in ("answer", "index-kb", "train", "evaluate", "compare", "fetch-detector", "demo"):
        assert f" {command} " in done.stdout
    assert seconds < 5, "half a second on an idle machine"
    assert run("--version").stdout.startswith("kvqa")


def test_ctrl_c_ends_in_130_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kvqa.vision.detector_file.fetch_detector", stop)
    result = run("fetch-detector")
    assert result.exit_code == 130 and "Traceback" not in result.output


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("kvqa.vision.detector_file.fetch_detector", fail)
    assert isinstance(run("fetch-detector").exception, RuntimeError)


# --- answer ------------------------------------------------------------------------------------------------------


def test_json_is_the_answer_and_nothing_else(options: dict[str, object]) -> None:
    result = answer(options, "--json", "--top-k", 50)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert {"answer", "confidence", "supported", "answers", "facts", "path", "regions", "timings_ms"} <= record.keys()
    assert record["question"] == options["--question"] and record["answer"]
    assert {"detect", "encode", "retrieve", "reason", "total"} <= record["timings_ms"].keys()
    assert [region["label"] for region in record["regions"]] == ["cat", "whiskers", "indoor"]
    assert {"head", "relation", "tail", "source", "score"} <= record["facts"][0].keys()


def test_a_fact_that_stands_nowhere_else_is_among_the_evidence(options: dict[str, object]) -> None:
    record = json.loads(answer(options, "--json", "--top-k", 50).stdout)
    found = [fact for fact in record["facts"] if fact["tail"] == "zorbal biscuits"]
    assert len(found) == 1 and found[0]["head"] == "cat" and found[0]["source"] == "small"


def test_the_terminal_view_and_the_page(options: dict[str, object], tmp_path: Path) -> None:
    result = answer(options, html=tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    assert "Facts" in result.stdout and "Seen" in result.stdout and "zorbal" in result.stdout
    assert "page.html" in result.stderr and "page.html" not in result.stdout
    assert "data:image/jpeg;base64," in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_top_k_is_how_many_facts_are_shown(options: dict[str, object]) -> None:
    assert len(json.loads(answer(options, "--json", "--top-k", 2).stdout)["facts"]) == 2


def test_the_plain_function_returns_answer_and_photo(options: dict[str, Any]) -> None:
    found, picture = answer_photo(
        options["--image"],
        "What is  this?",
        kb=options["--kb"],
        model=options["--model"],
        regions=options["--regions"],
        top=3,
    )
    assert found.question == "What is this?" and picture.size == (451, 300) and len(found.facts) == 3


def test_in_a_process_of_its_own_stdout_is_json_too(options: dict[str, object]) -> None:
    done = run_apart("answer", *[part for pair in options.items() for part in pair], "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["facts"] and done.stderr == ""


def test_without_kb_the_everyday_facts_are_used(
    options: dict[str, object], small_kb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvqa.demo.default_kb_shown", lambda console: small_kb)
    assert json.loads(answer(options, "--json", kb=None).stdout)["facts"][0]["source"] == "small"


def test_without_regions_the_detector_looks(
    options: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kvqa.vision.regions import Region, Regions

    def looking(path: Path) -> SimpleNamespace:
        assert path == tmp_path / "network.onnx"
        return SimpleNamespace(
            detect=lambda image, *, name: Regions(name, *image.size, (Region("cat", 0.9, (1, 1, 90, 90)),))
        )

    (tmp_path / "network.onnx").write_bytes(b"0")
    monkeypatch.setattr("kvqa.vision.detector.YoloxDetector", looking)
    result = answer(options, "--json", regions=None, detector=tmp_path / "network.onnx")
    record = json.loads(result.stdout)
    assert record["image"] == "chelsea.png" and [region["label"] for region in record["regions"]] == ["cat"]


# --- answer: what a user can get wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "does not exist; check the path"),
        (b"", "is empty (0 bytes); fetch or export"),
        (b"these are words", "is not a picture that can be read; give a file in one of"),
        (b"cut", "is damaged or cut short"),
    ],
    ids=["missing", "empty", "no image", "truncated"],
)
def test_wrong_photos(options: dict[str, object], tmp_path: Path, content: bytes | None, part: str) -> None:
    path = tmp_path / "photo.png"
    if content == b"cut":
        Image.effect_noise((200, 200), 90).save(path)
        content = path.read_bytes()[:9000]
    if content is not None:
        path.write_bytes(content)
    expect_error(answer(options, image=path), str(path), part)


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("", "the question is empty; ask"),
        (" \n ", "the question is empty"),
        ("why " * 2500, "10000 characters, more than"),
    ],
)
def test_wrong_questions(options: dict[str, object], question: str, part: str) -> None:
    expect_error(answer(options, question=question), part)


def test_the_question_is_checked_before_the_photo_and_the_photo_before_the_rest(
    options: dict[str, object], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    expect_error(answer(options, question="", image=gone, regions=gone, kb=gone, model=gone), "question")
    expect_error(answer(options, image=gone / "photo", regions=gone, kb=gone, model=gone), f"{gone}/photo")
    expect_error(answer(options, regions=gone / "regions", kb=gone, model=gone), f"{gone}/regions")
    expect_error(answer(options, kb=gone / "kb", model=gone), f"{gone}/kb")
    expect_error(answer(options, model=gone / "model"), f"{gone}/model")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda record: record["regions"][0].update(box=[0, 0, 900, 300]), "outside the picture of 451 x 300 pixels"),
        (lambda record: record["regions"][0].update(label=" "), "empty label; name"),
        (lambda record: record.update(width=640), "give the region file of this picture or make it again"),
        (lambda record: record.pop("regions"), "the key 'regions' is missing"),
    ],
    ids=["outside", "no label", "another photo", "no regions"],
)
def test_wrong_regions(
    options: dict[str, object], cat_regions: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], part: str
) -> None:
    record = json.loads(cat_regions.read_text())
    change(record)
    (tmp_path / "regions.json").write_text(json.dumps(record))
    expect_error(answer(options, regions=tmp_path / "regions.json"), str(tmp_path / "regions.json"), part)


def test_regions_that_are_no_json(options: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "regions.json").write_text('{"image": "cat.png", ')
    expect_error(answer(options, regions=tmp_path / "regions.json"), "is not JSON", "make the region file again")


def test_a_missing_detector(options: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KVQA_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    expect_error(answer(options, regions=None), "no detector found", "run `kvqa fetch-detector`")
    expect_error(answer(options, regions=None, detector=tmp_path / "no.onnx"), "no.onnx is not a file; give an ONNX")


def damaged(folder: Path, copy: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """Return a copy of `folder` in which the file `name` is changed."""
    shutil.copytree(folder, copy)
    (copy / name).write_bytes(change((copy / name).read_bytes()))
    return copy


def flip_last(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def other_encoder(content: bytes) -> bytes:
    return json.dumps({**json.loads(content), "encoder_sha256": "0" * 64}).encode()


@pytest.mark.parametrize(
    ("name", "change", "part"),
    [
        (
            "gen-0001/triples.npy",
            flip_last,
            "triples.npy was altered after it was built (checksum differs); build it again",
        ),
        ("gen-0001/facts.faiss", lambda content: content + b"0", "bytes, the manifest says"),
        ("manifest.json", other_encoder, "the model expects weights"),
        ("manifest.json", lambda content: content[: len(content) // 2], "is damaged"),
    ],
    ids=["a changed byte", "a changed size", "another encoder", "half a manifest"],
)
def test_altered_knowledge_bases(
    options: dict[str, object], small_kb: Path, tmp_path: Path, name: str, change: Callable[[bytes], bytes], part: str
) -> None:
    folder = damaged(small_kb, tmp_path / "kb", name, change)
    expect_error(answer(options, kb=folder), str(folder), part, "build it again", "kvqa index-kb")


def test_missing_and_half_built_knowledge_bases(options: dict[str, object], small_kb: Path, tmp_path: Path) -> None:
    expect_error(answer(options, kb=tmp_path / "kb"), "does not exist; build one: kvqa index-kb")
    shutil.copytree(small_kb, tmp_path / "kb")
    (tmp_path / "kb" / "manifest.json").unlink()
    expect_error(answer(options, kb=tmp_path / "kb"), "was built halfway; build it again: kvqa index-kb")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocabulary.json", "manifest.json"])
def test_altered_models(options: dict[str, object], small_model: Path, tmp_path: Path, name: str) -> None:
    folder = damaged(small_model, tmp_path / "model", name, lambda content: content[:-20])
    expect_error(answer(options, model=folder), str(folder / name), "copy the model folder again")


def test_missing_models(options: dict[str, object], small_model: Path, tmp_path: Path) -> None:
    expect_error(answer(options, model=tmp_path / "none"), "is no model folder", "kvqa train configs/fvqa.yaml")
    shutil.copytree(small_model, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    expect_error(answer(options, model=tmp_path / "model"), "model.safetensors is missing or altered")


def test_an_error_in_a_process_of_its_own_is_one_line_too(options: dict[str, object], tmp_path: Path) -> None:
    wrong = {**options, "--kb": tmp_path / "kb"}
    done = run_apart("answer", *[part for pair in wrong.items() for part in pair])
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


# --- index-kb ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (("--ray",), "local"),
        (("--ray", "--quiet"), "local"),
        (("--ray", "auto"), "auto"),
        (("--ray=head:6379",), "head:6379"),
    ],
)
def test_the_address_of_ray_may_be_left_out(
    small_facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], address: str
) -> None:
    asked: list[str] = []

    @contextmanager
    def ray_workers(address: str) -> Iterator[None]:
        asked.append(address)
        raise InputError("stop here")
        yield

    monkeypatch.setattr("retrieval.cluster.ray_workers", ray_workers)
    expect_error(run("index-kb", small_facts, "--out", tmp_path / "kb", *arguments), "stop here")
    assert asked == [address]


def test_index_kb_builds_and_reports(small_facts: Path, tmp_path: Path) -> None:
    source = tmp_path / "mine.tsv"
    source.write_text(small_facts.read_text() + "broken line\ncat\tIsA\tanimal\n")
    result = run("index-kb", source, "--out", tmp_path / "kb")
    assert result.exit_code == 0, result.output
    assert Manifest.read(tmp_path / "kb").facts == 10
    shown = result.stdout
    assert next(line.split() for line in shown.splitlines() if line.startswith("mine"))[1:] == ["11", "10", "1", "1"]
    assert "refused: mine, line 12: " in shown and str(tmp_path / "kb" / "gen-0001" / "rejects.jsonl") in shown
    assert "10 facts, 14 entities, 5 relations" in shown and "embedding facts" in result.stderr

    assert "nothing to do" in run("index-kb", source, "--out", tmp_path / "kb").stdout
    again = run("index-kb", source, "--out", tmp_path / "kb", "--overwrite", "--quiet")
    assert again.exit_code == 0 and again.output == ""


def test_what_index_kb_refuses(small_facts: Path, tmp_path: Path) -> None:
    out = tmp_path / "kb"
    expect_error(run("index-kb", tmp_path / "none.tsv", "--out", out), "none.tsv does not exist")
    expect_error(
        run("index-kb", small_facts, "--out", out, "--format", "xml"), "unknown format 'xml'", "allowed: auto, triples"
    )
    (tmp_path / "file").write_text("")
    expect_error(run("index-kb", small_facts, "--out", tmp_path / "file"), "is a file; give a folder for --out")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("")
    expect_error(run("index-kb", small_facts, "--out", tmp_path / "photos", "--overwrite"), "is no knowledge base")
    (tmp_path / "empty.tsv").write_text("")
    expect_error(run("index-kb", tmp_path / "empty.tsv", "--out", out), "is empty; give a file")
    assert not out.exists()


# --- train, evaluate, fetch-detector, demo -----------------------------------------------------------------------


def test_an_unknown_key_in_a_config(small_kb: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("name: mine\nlearning_speed: fast\n")
    result = run("train", config, "--root", tmp_path, "--kb", small_kb, "--out", tmp_path / "model")
    expect_error(result, str(config), "unknown key learning_speed", "see configs/")
    result = run("train", tmp_path / "no.yaml", "--root", tmp_path, "--kb", small_kb, "--out", tmp_path / "model")
    expect_error(result, "no.yaml cannot be read", "see configs/")


def test_train_hands_its_options_on_and_prints_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(config: Path, **options: Any) -> SimpleNamespace:
        options.pop("log")("epoch 1")
        folders = {"root": tmp_path, "kb": tmp_path, "out": tmp_path}
        assert options == {**folders, "split": "train1", "seed": 3, "held_out": 0.2, "init": tmp_path / "start"}
        return SimpleNamespace(held_out={"answer_top1": 61.5}, temperature=1.25, seconds=90.0)

    monkeypatch.setattr("kvqa.build.train_fvqa", train)
    folders = [part for name in ("--root", "--kb", "--out") for part in (name, tmp_path)]
    config = tmp_path / "x.yaml"
    config.write_text("name: mine\n")
    options = ["--split", "train1", "--seed", 3, "--held-out", 0.2, "--init", tmp_path / "start"]
    result = run("train", config, *folders, *options)
    assert result.exit_code == 0, result.output
    assert "answer_top1  61.50" in result.stdout and "1.5 minutes, temperature 1.25" in result.stdout
    assert result.stderr == "epoch 1\n"
    result = run("train", config, "--root", tmp_path, "--out", tmp_path)
    expect_error(result, "needs a knowledge base; give --kb")


def test_train_pretrains_where_the_config_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretrain(config: Path, **options: Any) -> SimpleNamespace:
        options.pop("log")("step 1")
        options.pop("advance")("pretraining", 5, 10)
        assert options == {"root": tmp_path, "out": tmp_path, "seed": 3}
        return SimpleNamespace(held_out={"loss": 4.25}, steps=7, pairs=10, seconds=90.0)

    monkeypatch.setattr("kvqa.build.pretrain_encoder", pretrain)
    config = tmp_path / "x.yaml"
    config.write_text("task: pretraining\n")
    result = run("train", config, "--root", tmp_path, "--out", tmp_path, "--seed", 3)
    assert result.exit_code == 0, result.output
    assert "loss  4.250" in result.stdout and "7 steps on 10 pairs, 1.5 minutes" in result.stdout
    assert "step 1" in result.stderr and "pretraining" in result.stderr
    result = run("train", config, "--root", tmp_path, "--out", tmp_path, "--own-facts", tmp_path, "--split", "train")
    expect_error(result, "x.yaml (task pretraining) does not take --own-facts, --split; leave it out")


def test_evaluate_prints_scores_intervals_and_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = {
        "scores": {"answer_top1": 61.5, "ece": 3.21},
        "intervals": {"answer_top1": [60.0, 63.0]},
        "by": {"relation": {"IsA": {"questions": 1200, "answer_top1": 70.25}}, "kb_source": {}},
        "protocol": "exact match",
    }
    report |= {"overlap": {"remark": "trained on these"}, "ablations": {"no_fact": {"scores": {"answer_top1": 12.25}}}}
    asked: list[dict[str, Any]] = []

    def evaluate(dataset: str, *, log: Callable[[str], None], **options: Any) -> dict[str, Any]:
        log("5 of 5")
        asked.append({"dataset": dataset, **options})
        return report

    monkeypatch.setattr("kvqa.evaluation.datasets.evaluate", evaluate)
    folders = [part for name in ("--root", "--kb", "--model", "--out") for part in (name, tmp_path)]
    result = run("evaluate", "fvqa", "--split", "test0", *folders, "--hide-test-gold", "--seed", 4)
    assert result.exit_code == 0, result.output
    assert (asked[0]["dataset"], asked[0]["split"], asked[0]["seed"]) == ("fvqa", "test0", 4)
    nothing = {"regions": None, "vectors": None, "ablations": False, "trained_root": None}
    assert asked[0]["options"] == {"hide_test_gold": True, **nothing}
    for part in ("61.50", "60.00 to 63.00", "3.21", "IsA", "1,200", "70.25", "exact match", str(tmp_path)):
        assert part in result.stdout
    assert "trained on these" in result.stdout and "12.25" in result.stdout and result.stderr == "5 of 5\n"
    assert json.loads(run("evaluate", "fvqa", "--split", "test0", *folders, "--json").stdout) == report


def test_evaluate_refuses_what_a_data_set_does_not_take(small_model: Path, tmp_path: Path) -> None:
    folders = ["--root", tmp_path, "--model", small_model, "--out", tmp_path]
    split = ("--split", "val")
    expect_error(run("evaluate", "vqa", *split, *folders), "unknown data set 'vqa'; allowed: fvqa, okvqa, vqa2, aokvqa")
    expect_error(run("evaluate", "okvqa", *split, *folders), "name its folder: --kb FOLDER")
    hidden = run("evaluate", "okvqa", *split, *folders, "--hide-test-gold")
    expect_error(hidden, "does not take --hide-test-gold; leave it out")
    expect_error(run("evaluate", "vcr", *split, *folders), "vcr is evaluated with a model that chooses")


def test_fetch_detector_says_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "network.onnx").write_bytes(b"abc")
    asked: list[tuple[Any, Any]] = []

    def fetch(out: Path, *, sha256: str) -> Path:
        asked.append((out, sha256))
        return out

    monkeypatch.setattr("kvqa.vision.detector_file.fetch_detector", fetch)
    result = run("fetch-detector", "--out", tmp_path / "network.onnx")
    assert "3 bytes, sha256 " in result.stdout
    run("fetch-detector", "--out", tmp_path / "network.onnx", "--sha256", "12ab")
    assert [len(sha256) for _, sha256 in asked] == [64, 4]


def test_demo_is_a_wrapper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr("kvqa.demo.run_demo", lambda out, console, **options: asked.append(out))
    assert run("demo").exit_code == run("demo", "--out", tmp_path).exit_code == 0
    assert asked == [Path("demo"), tmp_path]
