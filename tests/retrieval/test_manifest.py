import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from kb.errors import KnowledgeError
from retrieval.manifest import CHECKED, MANIFEST, Manifest, describe_files, file_sha256, write_text_safely

LARGE = (1 << 20) + 1
"""Bytes of a file that only a thorough check reads."""

CARD = Manifest(
    store_hash="a" * 64,
    encoder="some_encoder",
    encoder_sha256="b" * 64,
    dimension=4,
    facts=3,
    entities=5,
    relations=2,
    index="Flat",
    files={},
    sources=[{"name": "Käfer", "sha256": "c" * 64, "licence": None}],
    versions={"numpy": "2.0"},
    built="2026-01-01T00:00:00+00:00",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small and a large file, and its manifest."""
    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "large").write_bytes(b"x" * LARGE)
    replace(CARD, files=describe_files(tmp_path, ["small", "large"])).write(tmp_path)
    return tmp_path


def test_roundtrip(folder: Path) -> None:
    written = Manifest.read(folder)
    assert written == replace(CARD, files=describe_files(folder, ["large", "small"]))
    assert written.files["small"] == {"sha256": hashlib.sha256(b"small").hexdigest(), "bytes": 5}
    assert "Käfer" in (folder / MANIFEST).read_text(encoding="utf-8")


def test_checksum_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def test_writing_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    for text in ("first, longer", "zweite, kürzer"):
        write_text_safely(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match=r"gone does not exist; build one: kvqa index-kb .*--out .*gone"):
        Manifest.read(tmp_path / "gone")


def test_a_folder_without_manifest_is_no_knowledge_base(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match=r"has no manifest\.json: .*built halfway; build it again: kvqa index-kb"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"facts": ', r"manifest\.json is damaged"),
        (b"", r"manifest\.json is damaged"),
        (b"\xff\xfe{}", r"manifest\.json is damaged"),
        (b"[]", r"manifest\.json is damaged"),
        (b"{}", r"is damaged .*missing"),
        (json.dumps(asdict(CARD) | {"colour": "red"}).encode(), "is damaged .*'colour'"),
        (json.dumps(asdict(CARD) | {"format": 1}).encode(), "has format 1, this version reads 2"),
        # Another format is likely to have other fields; what it is must be said all the same.
        (json.dumps(asdict(CARD) | {"format": 1, "colour": "red"}).encode(), "has format 1, this version reads 2"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(KnowledgeError, match=rf"{message}.*; build it again: kvqa index-kb") as caught:
        Manifest.read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("thorough", [False, True])
def test_unaltered_files_pass(folder: Path, thorough: bool) -> None:
    Manifest.read(folder).check_files(folder, thorough=thorough)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("small", None, "lacks small"),
        ("large", None, "lacks large"),
        ("small", b"smaller", "small has 7 bytes, the manifest says 5"),
        ("large", b"x" * (LARGE - 1), "large has 1,048,576 bytes, the manifest says 1,048,577"),
        ("small", b"smell", r"small was altered .*checksum"),
    ],
)
def test_missing_resized_and_altered_files_are_found(
    folder: Path, name: str, content: bytes | None, message: str
) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(KnowledgeError, match=rf"{message}.*; build it again: kvqa index-kb"):
        Manifest.read(folder).check_files(folder)


def test_a_large_file_is_read_only_when_it_was_touched_or_thorough(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def noted(path: Path) -> str:
        read.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr("retrieval.manifest.file_sha256", noted)
    manifest = Manifest.read(folder)
    manifest.check_files(folder)
    assert read == ["small"]
    manifest.check_files(folder, thorough=True)
    assert read == ["small", "small", "large"]
    os.utime(folder / "large")
    manifest.check_files(folder)
    assert read[3:] == ["small", "large"]
    manifest.check_files(folder)  # was remembered
    assert read[5:] == ["small"]


def test_an_altered_large_file_is_found_at_opening(folder: Path) -> None:
    (folder / "large").write_bytes(b"x" * (LARGE - 1) + b"y")
    for _ in range(2):
        with pytest.raises(KnowledgeError, match="large was altered after it was built"):
            Manifest.read(folder).check_files(folder)


@pytest.mark.parametrize("content", [None, "", "[]", "null"])
def test_without_the_note_of_what_was_checked_everything_is_read(folder: Path, content: str | None) -> None:
    (folder / CHECKED).unlink()
    if content is not None:
        (folder / CHECKED).write_text(content)
    Manifest.read(folder).check_files(folder)
    status = (folder / "large").stat()
    (folder / "large").write_bytes(b"y" * LARGE)
    (folder / CHECKED).unlink()
    os.utime(folder / "large", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(KnowledgeError, match="large was altered"):
        Manifest.read(folder).check_files(folder)


def test_the_repair_names_the_sources(folder: Path) -> None:
    manifest = replace(CARD, sources=[{"path": "/data/my facts.tsv"}, {"path": "/data/b.tsv"}])
    assert manifest.repair(Path("kb")) == (
        "build it again: kvqa index-kb '/data/my facts.tsv' /data/b.tsv --out kb --overwrite"
    )


def test_id_stands_for_facts_encoder_and_index() -> None:
    others = [replace(CARD, **{name: "z"}) for name in ("store_hash", "encoder_sha256", "index")]
    assert len({CARD.id, *(other.id for other in others)}) == 4
    assert replace(CARD, built="later", versions={}, encoder="renamed").id == CARD.id
    assert len(CARD.id) == 16
