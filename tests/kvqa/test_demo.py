import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from kvqa import demo
from kvqa.cache import cache_folder
from kvqa.data.demo import DEMO
from kvqa.demo import default_kb, default_kb_folder, default_kb_shown, everyday_facts, run_demo
from kvqa.errors import InputError
from retrieval.manifest import Manifest


@pytest.fixture
def cache(small_kb: Path, small_facts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, small facts instead of the everyday ones, and a build that only copies."""

    def copy_instead(sources: list[Path], out: Path, **options: object) -> None:
        assert sources == [small_facts] and "progress" in options
        shutil.copytree(small_kb, out)

    monkeypatch.setenv("KVQA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "everyday_facts", lambda: small_facts)
    monkeypatch.setattr("retrieval.builder.build_kb", copy_instead)
    return tmp_path / "cache"


def never(*args: object, **options: object) -> None:
    raise AssertionError("the knowledge base is built again")


def test_the_demo_answers_every_question_and_leaves_a_page_of_each(
    small_kb: Path, small_model: Path, photo: Path, tmp_path: Path
) -> None:
    stream = io.StringIO()
    answers = run_demo(tmp_path / "pages", Console(file=stream, width=120), kb=small_kb, model=small_model)
    assert [answer.question for answer in answers] == [item.question for item in DEMO]
    assert all(answer.facts and {"detect", "total"} <= answer.timings_ms.keys() for answer in answers)
    pages = sorted(path.name for path in (tmp_path / "pages").iterdir())
    assert pages == sorted(f"{number}-{item.name}.html" for number, item in enumerate(DEMO, 1))
    shown = stream.getvalue()
    assert "Seen" in shown and str(tmp_path / "pages") in shown.replace("\n", "") and pages[0] in shown
    assert all(item.question.split()[-1] in shown for item in DEMO)


def test_a_missing_model_is_found_before_the_knowledge_base_is_built(
    cache: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.builder.build_kb", never)
    with pytest.raises(InputError, match="no model folder"):
        run_demo(tmp_path / "pages", Console(file=io.StringIO()), model=tmp_path / "no-model")


def test_the_everyday_facts_are_packaged() -> None:
    assert everyday_facts().read_text(encoding="utf-8").startswith("head\trelation\ttail\n")


def test_the_everyday_knowledge_base_is_built_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    folder = default_kb_shown(Console(file=stream, width=300))
    assert folder.parent == cache and Manifest.read(folder).facts == 10
    assert "once" in stream.getvalue() and str(folder) in stream.getvalue()
    assert [path.name for path in cache.iterdir()] == [folder.name]

    monkeypatch.setattr("retrieval.builder.build_kb", never)
    again = io.StringIO()
    assert default_kb() == default_kb_shown(Console(file=again)) == folder and again.getvalue() == ""


@pytest.mark.parametrize("damage", ["manifest.json", "gen-0001/facts.faiss"])
def test_a_damaged_everyday_knowledge_base_is_built_again(cache: Path, damage: str) -> None:
    folder = default_kb()
    (folder / damage).write_bytes(b"")
    assert default_kb() == folder
    Manifest.read(folder).check_files(folder, thorough=True)


def test_other_facts_make_another_folder(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = default_kb_folder()
    (tmp_path / "other.tsv").write_text("cat\tIsA\tanimal\n")
    monkeypatch.setattr(demo, "everyday_facts", lambda: tmp_path / "other.tsv")
    after = default_kb_folder()
    assert before.parent == after.parent == cache and before != after


def test_the_folder_is_named_after_the_encoder_too(cache: Path) -> None:
    folder = default_kb()
    assert folder.name.split("-")[0] == "everyday"
    assert folder.name.split("-")[2] == Manifest.read(folder).encoder_sha256[:12]


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KVQA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "kvqa"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "kvqa"
    monkeypatch.setenv("KVQA_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_a_cache_that_cannot_be_written_is_the_users_error(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KVQA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"cannot be kept in .*; set KVQA_CACHE to another folder"):
        default_kb()
