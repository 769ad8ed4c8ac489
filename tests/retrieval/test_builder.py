import errno
import gzip
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kb.errors import KnowledgeError
from kb.fact import Origin
from retrieval.builder import build_kb, relation_text, source_names
from retrieval.knowledge_base import KnowledgeBase
from retrieval.manifest import file_sha256

PETS = """\
head\trelation\ttail
Cat\tIsA\tanimal
cat\tHasA\twhiskers
cat\tIsA\tAnimal
dog\tIsA
dog\tCapableOf\tguarding a house
"""
MORE = """\
{"head": "cat", "relation": "is-a", "tail": "animal", "surface": "A cat is an animal."}
not json
{"head": "cup", "relation": "UsedFor", "tail": "drinking coffee"}
{"head": "", "relation": "UsedFor", "tail": "nothing"}
"""


class FakeEncoder:
    """Unit vectors that depend on the text alone, in place of a sentence encoder."""

    name = "fake"
    sha256 = "f" * 64

    def __init__(self, dimension: int = 8) -> None:
        self.dimension = dimension

    def encode(
        self, texts: Sequence[str], *, batch: int = 256, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float16]:
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") for text in texts]
        vectors = np.stack([np.random.default_rng(seed).standard_normal(self.dimension) for seed in seeds])
        if progress is not None:
            progress(len(texts))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


class FullDisk(FakeEncoder):
    def encode(self, texts: Sequence[str], **options: object) -> NDArray[np.float16]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAKE = FakeEncoder()


def write_sources(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pets.tsv").write_text(PETS, encoding="utf-8")
    (folder / "more.jsonl").write_text(MORE, encoding="utf-8")
    return [folder / "pets.tsv", folder / "more.jsonl"]


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    return write_sources(tmp_path / "sources")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A knowledge base of one fact, which a build may be told to replace."""
    (tmp_path / "old.tsv").write_text("head\trelation\ttail\nstone\tIsA\tmineral\n", encoding="utf-8")
    build_kb([tmp_path / "old.tsv"], tmp_path / "kb", encoder=FAKE)
    return tmp_path / "kb"


def assert_intact(old: Path) -> None:
    """Check that the old knowledge base opens."""
    assert KnowledgeBase.open(old, thorough=True).store.fact_texts() == ["stone is a mineral"]


# --- what is built ---------------------------------------------------------------------------------------------------


def test_counts_and_rejects(sources: list[Path], tmp_path: Path) -> None:
    report = build_kb(sources, tmp_path / "kb", encoder=FAKE)
    assert report.read == {"pets": 4, "more": 2}
    assert report.new == {"pets": 3, "more": 1}
    assert report.duplicate == {"pets": 1, "more": 1}
    assert report.refused == {"pets": 1, "more": 2} and report.states == {"pets": "new", "more": "new"}
    assert report.rejects == tmp_path / "kb" / "gen-0001" / "rejects.jsonl"
    lines = report.rejects.read_text(encoding="utf-8").splitlines()
    rejects = [json.loads(line) for line in lines]
    assert [(r["source"], r["line"]) for r in rejects] == [("pets", 5), ("more", 2), ("more", 4)]
    assert [(r.source, r.count, r.lines) for r in report.refusals] == [
        ("pets", 1, [5]),
        ("more", 1, [2]),
        ("more", 1, [4]),
    ]
    assert rejects[0]["text"] == "dog\tIsA" and "not JSON" in rejects[1]["reason"] and "head" in rejects[2]["reason"]


def test_a_fact_of_two_sources_is_one_fact_with_two_origins(sources: list[Path], tmp_path: Path) -> None:
    build_kb(sources, tmp_path / "kb", encoder=FAKE)
    base = KnowledgeBase.open(tmp_path / "kb")
    assert base.store.fact_texts() == [
        "Cat is an animal",
        "Cat has whiskers",
        "dog can guarding a house",
        "cup is used for drinking coffee",
    ]
    assert base.store.fact(0).origins == (Origin("pets", 2, None), Origin("more", 1, "A cat is an animal."))
    assert base.store.fact(1).origins == (Origin("pets", 3, None),)


def test_row_i_of_everything_belongs_to_id_i(sources: list[Path], tmp_path: Path) -> None:
    build_kb(sources, tmp_path / "kb", encoder=FAKE)
    base = KnowledgeBase.open(tmp_path / "kb", thorough=True)
    arrays = base.store.arrays()
    np.testing.assert_array_equal(base.triples, np.stack([arrays.heads, arrays.relations, arrays.tails], axis=1))
    np.testing.assert_array_equal(base.index.vectors(np.arange(4)), FAKE.encode(base.store.fact_texts()))
    np.testing.assert_array_equal(base.entity_vectors, FAKE.encode(base.store.entity_texts()))
    assert relation_text("UsedFor") == "something is used for something"
    texts = [relation_text(name) for name in base.store.relation_names()]
    np.testing.assert_array_equal(base.relation_vectors, FAKE.encode(texts))


def test_the_manifest_says_what_is_there(sources: list[Path], tmp_path: Path) -> None:
    report = build_kb(sources, tmp_path / "kb", encoder=FAKE)
    base = KnowledgeBase.open(tmp_path / "kb")
    manifest = base.manifest
    assert manifest == report.manifest
    assert (manifest.facts, manifest.entities, manifest.relations, manifest.dimension) == (4, 7, 4, 8)
    assert (manifest.encoder, manifest.encoder_sha256, manifest.index) == ("fake", "f" * 64, "Flat")
    assert manifest.store_hash == base.store.content_hash()
    options = {"format": "auto", "columns": "auto", "language": "en", "min_weight": 0.0}
    assert manifest.sources == [
        {
            "name": path.name.split(".")[0],
            "path": str(path),
            "sha256": file_sha256(path),
            "licence": None,
            "options": options,
        }
        for path in sources
    ]
    found = {str(path.relative_to(tmp_path / "kb")) for path in (tmp_path / "kb").rglob("*") if path.is_file()}
    assert {*manifest.files, "manifest.json", ".checked.json", "gen-0001/plan.json"} == found


def test_the_same_facts_from_elsewhere_have_the_same_hash(tmp_path: Path) -> None:
    reports = [build_kb(write_sources(tmp_path / n), tmp_path / f"kb-{n}", encoder=FAKE) for n in ("one", "two")]
    first, second = (report.manifest for report in reports)
    assert first is not None and second is not None
    assert (first.store_hash, first.id) == (second.store_hash, second.id)


def test_the_progress_of_each_step_is_told(sources: list[Path], tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    build_kb(sources, tmp_path / "kb", encoder=FAKE, progress=lambda *step: said.append(step))
    assert said == [
        ("finishing the store", 0, 0),
        ("embedding facts", 4, 4),
        ("embedding entities", 7, 7),
        ("indexing facts (Flat)", 0, 4),
        ("indexing facts (Flat)", 4, 4),
        ("measuring recall", 0, 0),
        ("linking facts", 0, 0),
        ("writing checksums", 0, 0),
    ]


# --- sources ---------------------------------------------------------------------------------------------------------


def test_sources_have_names_of_their_own(tmp_path: Path) -> None:
    first, *_ = write_sources(tmp_path / "folder")
    other = write_sources(tmp_path / "other")[0]
    (tmp_path / "folder" / "sub").mkdir()
    packed = tmp_path / "folder" / "sub" / "pets.tsv.gz"
    packed.write_bytes(gzip.compress(PETS.encode()))
    named = source_names([tmp_path / "folder", other, first])
    assert named == [
        ("more", tmp_path / "folder" / "more.jsonl"),
        ("pets", first),
        ("pets-2", packed),
        ("pets-3", other),
    ]


def test_names_that_differ_in_an_underscore_only(tmp_path: Path) -> None:
    for name in ("my_pets.tsv", "my pets.tsv"):
        (tmp_path / name).write_text(PETS, encoding="utf-8")
    report = build_kb([tmp_path / "my_pets.tsv", tmp_path / "my pets.tsv"], tmp_path / "kb", encoder=FAKE)
    assert sorted(report.read.values()) == [4, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"source .*facts\.tsv does not exist; check the path"),
        ("head\trelation\ttail\n", r"no fact found in .*facts\.tsv; see --format"),
        ("", r"facts\.tsv is empty"),
    ],
)
def test_a_source_without_facts_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "facts.tsv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(KnowledgeError, match=message):
        build_kb([path], tmp_path / "kb", encoder=FAKE)
    assert not [found.name for found in tmp_path.iterdir() if found.name.startswith("kb")]


def test_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match="no source given; name at least one file"):
        build_kb([], tmp_path / "kb", encoder=FAKE)


@pytest.mark.parametrize("index", ["Foo", "IVF999,Flat"])
def test_an_index_that_cannot_be_made_is_named(sources: list[Path], old: Path, index: str) -> None:
    with pytest.raises(KnowledgeError, match=index):
        build_kb(sources, old, encoder=FAKE, index=index, overwrite=True)
    assert_intact(old)


# --- the target ------------------------------------------------------------------------------------------------------


def test_an_old_knowledge_base_is_replaced_when_told(sources: list[Path], old: Path) -> None:
    build_kb(sources, old, encoder=FAKE, overwrite=True)
    assert KnowledgeBase.open(old, thorough=True).store.num_facts == 4


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_knowledge_base_is_left_alone(sources: list[Path], tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(KnowledgeError, match="file is a file; give a folder for --out"):
        build_kb(sources, tmp_path / "file", encoder=FAKE, overwrite=overwrite)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("mine", encoding="utf-8")
    with pytest.raises(KnowledgeError, match="photos holds something that is no knowledge base; give another"):
        build_kb(sources, tmp_path / "photos", encoder=FAKE, overwrite=overwrite)
    assert [path.read_text() for path in (tmp_path / "file", tmp_path / "photos" / "cat.jpg")] == ["mine", "mine"]


def test_an_empty_or_deep_folder_will_do(sources: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "a" / "b" / "kb"):
        build_kb(sources, out, encoder=FAKE)
        assert KnowledgeBase.open(out).store.num_facts == 4


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_full_disk_while_embedding_leaves_the_old_one(sources: list[Path], old: Path) -> None:
    with pytest.raises(
        KnowledgeError, match=r"cannot write .*kb: No space left on device; free space and run the same"
    ):
        build_kb(sources, old, encoder=FullDisk(), overwrite=True)
    assert_intact(old)
    build_kb(sources, old, encoder=FAKE, overwrite=True)
    assert KnowledgeBase.open(old, thorough=True).store.num_facts == 4


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("size", "facts", "dimension"),
    [
        pytest.param(10_000, 4, 8, id="empty store"),
        pytest.param(100_000, 2000, 8, id="store"),  # 2000 facts take some 300 kB
        pytest.param(100_000, 4, 16_384, id="index"),  # 4 facts take 256 kB
    ],
)
def test_a_disk_that_refuses_is_named(tmp_path: Path, old: Path, size: int, facts: int, dimension: int) -> None:
    rows = "".join(f"thing {number}\tIsA\tkind {number}\n" for number in range(facts))
    (tmp_path / "facts.tsv").write_text("head\trelation\ttail\n" + rows, encoding="utf-8")
    with largest_file(size), pytest.raises(KnowledgeError, match=r"cannot write .*kb"):
        build_kb([tmp_path / "facts.tsv"], old, encoder=FakeEncoder(dimension), overwrite=True)
    assert_intact(old)


SLOW_BUILD = """
import sys, time
from pathlib import Path
from retrieval.builder import build_kb

class Slow:
    name, sha256, dimension = "slow", "0" * 64, 8

    def encode(self, texts, **options):
        Path(sys.argv[3]).touch()
        time.sleep(60)

build_kb([Path(sys.argv[1])], Path(sys.argv[2]), encoder=Slow(), overwrite=True)
"""


def test_a_killed_build_leaves_the_old_one_and_is_made_good(sources: list[Path], old: Path, tmp_path: Path) -> None:
    flag = tmp_path / "embedding"
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW_BUILD, str(sources[0]), str(old), str(flag)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        end = time.monotonic() + 60
        while not flag.exists() and child.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        child.kill()
    assert child.wait() == -signal.SIGKILL and flag.exists()
    assert (old / "building").is_dir()
    assert KnowledgeBase.open(old, thorough=True).store.fact_texts() == ["stone is a mineral"]
    build_kb(sources, old, encoder=FAKE, overwrite=True)
    assert KnowledgeBase.open(old, thorough=True).store.num_facts == 4
    assert not (old / "building").exists()
