"""Adding to, replacing in and taking out of a knowledge base: any history ends as a new build of the same sources."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kb.errors import KnowledgeError
from kb.readers import spool_stdin
from retrieval.builder import build_kb
from retrieval.generations import locked
from retrieval.knowledge_base import FACTS, KnowledgeBase
from retrieval.manifest import MANIFEST, Manifest
from retrieval.report import BuildReport


class CountingEncoder:
    """Unit vectors that depend on the text alone; counts the texts it was asked for."""

    def __init__(self, name: str = "counting") -> None:
        self.name, self.dimension = name, 8
        self.sha256 = hashlib.sha256(name.encode()).hexdigest()
        self.asked: list[str] = []

    def encode(
        self, texts: Sequence[str], *, batch: int = 256, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float16]:
        self.asked += texts
        rows = [hashlib.sha256((self.name + text).encode()).digest()[: self.dimension] for text in texts]
        vectors = np.array([list(row) for row in rows], dtype=np.float32).reshape(-1, self.dimension) - 127.3
        if progress is not None:
            progress(len(texts))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


TABLES = {
    "pets": "Cat\tIsA\tanimal\ncat\tHasA\twhiskers\ndog\tIsA\tanimal\nbroken\n",
    "more": "cat\tIsA\tAnimal\nCUP\tUsedFor\tdrinking\ncat\tHasA\ttail\n",
    "plants": "Rose\tIsA\tplant\nrose\tHasA\tthorns\nanimal\tEats\tPlant\n",
    "pets2": "DOG\tIsA\tAnimal\nCat\tHasA\tWhiskers\ndog\tHasA\ttail\n",
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, table in TABLES.items():
        (folder / f"{name}.tsv").write_text("head\trelation\ttail\n" + table, encoding="utf-8")
    return {name: folder / f"{name}.tsv" for name in TABLES}


def change(path: Path, by: Path) -> None:
    path.write_text(by.read_text(encoding="utf-8"), encoding="utf-8")


def assert_same(one: Path, two: Path) -> None:
    """Check that two knowledge bases are equal in everything but times and places."""
    first, second = KnowledgeBase.open(one, thorough=True), KnowledgeBase.open(two, thorough=True)
    assert first.manifest.id == second.manifest.id
    assert first.store.content_hash() == second.store.content_hash()
    first.store.verify()
    facts = range(first.store.num_facts)
    assert first.store.facts(facts) == second.store.facts(facts)
    assert [s.name for s in first.store.sources()] == [s.name for s in second.store.sources()]
    assert list(first.store.rejects()) == list(second.store.rejects())
    for name in ("triples", "entity_vectors", "relation_vectors"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(
        first.index.vectors(np.arange(len(facts))), second.index.vectors(np.arange(len(facts)))
    )
    for base, folder in ((first, one), (second, two)):
        np.testing.assert_array_equal(
            np.load(folder / base.manifest.generation / FACTS), base.index.vectors(np.arange(len(facts)))
        )
    counts = [[(s.read, s.new, s.refused) for s in base.store.sources()] for base in (first, second)]
    assert counts[0] == counts[1]


def fresh(tmp_path: Path, *sources: Path) -> Path:
    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    build_kb(sources, tmp_path / "fresh", encoder=CountingEncoder())
    return tmp_path / "fresh"


def update(kb: Path, *sources: Path, **options: object) -> tuple[BuildReport, CountingEncoder]:
    encoder = CountingEncoder()
    return build_kb(sources, kb, encoder=encoder, **options), encoder  # type: ignore[arg-type]


def test_an_addition_embeds_only_what_is_new(files: dict[str, Path], tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    update(kb, files["pets"])
    report, encoder = update(kb, files["pets"], files["more"])
    assert report.states == {"pets": "kept", "more": "new"} and report.new == {"pets": 3, "more": 2}
    assert set(encoder.asked) == {
        *("CUP is used for drinking", "Cat has tail"),  # facts
        *("CUP", "drinking", "tail"),  # entities
        *("something is a something", "something has something", "something is used for something"),
    }
    assert_same(kb, fresh(tmp_path, files["pets"], files["more"]))


def test_the_same_again_is_nothing_to_do(files: dict[str, Path], tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    update(kb, files["pets"], files["more"])
    before = Manifest.read(kb)
    report, encoder = update(kb, files["more"])
    assert not report.changed and not encoder.asked
    assert report.states == {"pets": "kept", "more": "kept"} and report.refused == {"pets": 1, "more": 0}
    assert report.rejects is not None and report.rejects.is_file()
    assert Manifest.read(kb) == before


def test_a_changed_file_takes_the_place_of_the_old(files: dict[str, Path], tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    update(kb, files["pets"], files["more"], files["plants"])
    change(files["pets"], files["pets2"])
    report, _ = update(kb, files["pets"])
    assert report.states == {"pets": "replaced", "more": "kept", "plants": "kept"}
    assert_same(kb, fresh(tmp_path, files["pets"], files["more"], files["plants"]))


def test_removing_a_source_embeds_only_what_is_spelled_otherwise_now(files: dict[str, Path], tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    update(kb, files["pets"], files["more"], files["plants"])
    report, encoder = update(kb, remove=["pets"])
    assert report.states == {"more": "kept", "plants": "kept", "pets": "removed"}
    # Without pets.tsv the cat is spelled "cat" and the animal "Animal", as the other files have it.
    assert {"cat is an Animal", "cat", "Animal"} <= set(encoder.asked) and "Rose is a plant" not in encoder.asked
    assert_same(kb, fresh(tmp_path, files["more"], files["plants"]))


def test_any_history_ends_as_a_new_build(files: dict[str, Path], tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    update(kb, files["plants"])
    update(kb, files["pets"], files["more"])
    update(kb, remove=["pets"])
    update(kb, files["pets2"], files["pets"])
    change(files["more"], files["pets2"])
    update(kb, files["more"], remove=["plants"])
    update(kb, index="HNSW8")
    update(kb, files["plants"], index="Flat")
    again = fresh(tmp_path, files["more"], files["pets2"], files["pets"], files["plants"])
    assert_same(kb, again)
    assert sorted(path.name for path in kb.iterdir()) == [".checked.json", "gen-0006", "gen-0007", "manifest.json"]


def test_another_way_of_reading_the_same_file_replaces_it(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "plain.tsv"
    path.write_text("cat\tIsA\tanimal\n", encoding="utf-8")
    update(tmp_path / "kb", path, columns="hrt")
    report, _ = update(tmp_path / "kb", path, columns="rht")
    assert report.states == {"plain": "replaced"}
    assert KnowledgeBase.open(tmp_path / "kb").store.relation_names() == ["cat"]
    report, _ = update(tmp_path / "kb", path, columns="rht", licence="CC0")
    assert report.states == {"plain": "replaced"} and Manifest.read(tmp_path / "kb").sources[0]["licence"] == "CC0"


def test_another_encoder_embeds_everything_anew(files: dict[str, Path], tmp_path: Path) -> None:
    update(tmp_path / "kb", files["pets"], files["more"])
    other = CountingEncoder("other")
    build_kb([], tmp_path / "kb", encoder=other)  # type: ignore[arg-type]
    base = KnowledgeBase.open(tmp_path / "kb", encoder_sha256=other.sha256)
    np.testing.assert_array_equal(base.index.vectors(np.arange(5)), other.encode(base.store.fact_texts()))


def test_removing_needs_a_source_of_that_name_and_something_must_stay(files: dict[str, Path], tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    update(kb, files["pets"])
    with pytest.raises(KnowledgeError, match="there is no source 'cats' to remove; there are: pets"):
        update(kb, remove=["cats"])
    with pytest.raises(KnowledgeError, match="no fact found in no source at all"):
        update(kb, remove=["pets"])
    with pytest.raises(KnowledgeError, match="no source given"):
        update(tmp_path / "none")
    assert KnowledgeBase.open(kb, thorough=True).store.num_facts == 3
    assert not (kb / "building").exists() and not (tmp_path / "none").exists()


def test_damage_is_not_carried_over(files: dict[str, Path], tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    update(kb, files["pets"])
    path = kb / "gen-0001" / FACTS
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(KnowledgeError, match=r"was altered .*index-kb .*pets.tsv --out .* --overwrite"):
        update(kb, files["more"])
    update(kb, files["pets"], files["more"], overwrite=True)
    assert_same(kb, fresh(tmp_path, files["pets"], files["more"]))


def test_a_reader_of_the_old_state_goes_on(files: dict[str, Path], tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    update(kb, files["pets"])
    old = KnowledgeBase.open(kb)
    query = old.index.vectors(np.array([1]))
    update(kb, files["more"])
    for _ in range(2):
        assert old.store.fact_texts() == ["Cat is an animal", "Cat has whiskers", "dog is an animal"]
        assert old.index.search(query, 1)[0].tolist() == [[1]]
        assert old.graph.facts_of([0]).tolist() == [0, 1]
        old.store._engine.dispose()  # whatever connection it opens, the file is still there
    assert KnowledgeBase.open(kb).store.num_facts == 5


def test_two_builds_at_once(files: dict[str, Path], tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    with locked(kb), pytest.raises(KnowledgeError, match=r"another build is writing .*kb; wait until it has ended"):
        update(kb, files["pets"])
    update(kb, files["pets"])
    assert not (kb / ".lock").exists()


def test_strict_takes_the_first_refused_line_for_an_error(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match=r"pets\.tsv, line 5: .*; mend the line, or leave out --strict"):
        update(tmp_path / "kb", files["pets"], strict=True)
    assert not (tmp_path / "kb").exists()
    update(tmp_path / "kb", files["more"], strict=True)


def test_a_folder_of_the_older_layout_is_refused_and_replaced_when_told(files: dict[str, Path], tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    kb.mkdir()
    (kb / "store.sqlite").write_bytes(b"old")
    (kb / MANIFEST).write_text(json.dumps({"format": 1, "files": {"store.sqlite": {}, "../files": {}}}))
    for call in (lambda: update(kb, files["pets"]), lambda: KnowledgeBase.open(kb)):
        with pytest.raises(KnowledgeError, match=r"has format 1, this version reads 2; build it again: .* --overwrite"):
            call()
    update(kb, files["pets"], overwrite=True)
    assert sorted(path.name for path in kb.iterdir()) == [".checked.json", "gen-0001", "manifest.json"]
    assert KnowledgeBase.open(kb).store.num_facts == 3


def test_a_folder_that_cannot_be_written(files: dict[str, Path]) -> None:
    with pytest.raises(KnowledgeError, match=r"cannot write /proc/kb: No such file or directory; choose a folder"):
        update(Path("/proc/kb"), files["pets"])


@pytest.mark.parametrize("name", ["gen-0001", "gen-0002"])
def test_what_was_finished_but_not_made_current_is_used(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    """As after a kill between the two last steps: the folder has its name, the manifest does not name it."""
    kb = tmp_path / "kb"
    if name == "gen-0002":
        update(kb, files["more"])
    before = (kb / MANIFEST).read_bytes() if kb.exists() else None
    update(kb, files["pets"])
    if before is None:
        (kb / MANIFEST).unlink()
    else:
        (kb / MANIFEST).write_bytes(before)
    _, encoder = update(kb, files["pets"])
    assert not encoder.asked
    order = [files["more"], files["pets"]] if before else [files["pets"]]
    assert_same(kb, fresh(tmp_path, *order))


def test_only_the_index_is_made_again_when_another_one_is_wanted(files: dict[str, Path], tmp_path: Path) -> None:
    kb = tmp_path / "kb"
    with pytest.raises(KnowledgeError, match="IVF999"):
        update(kb, files["pets"], index="IVF999,Flat")
    _, encoder = update(kb, files["pets"], index="Flat")
    assert not encoder.asked  # the vectors were there
    assert_same(kb, fresh(tmp_path, files["pets"]))


def test_standard_input_is_known_by_its_content(tmp_path: Path) -> None:
    """Each run copies it to another place; neither a rerun nor going on after a kill may mind."""
    bytes_ = b"head\trelation\ttail\n" + b"".join(b"t%d\tIsA\tthing\n" % number for number in range(20))

    class Killed(BaseException):
        """As a signal."""

    class DyingEncoder(CountingEncoder):
        def encode(self, texts: Sequence[str], **options: object) -> NDArray[np.float16]:
            raise Killed

    kb = tmp_path / "kb"
    with pytest.raises(Killed), spool_stdin(io.BytesIO(bytes_)) as path:
        build_kb([path], kb, encoder=DyingEncoder())
    store = next((kb / "building").glob("store.sqlite"))
    made = store.stat().st_ino
    with spool_stdin(io.BytesIO(bytes_)) as path:
        report, _ = update(kb, path)
    assert report.states == {"stdin": "new"}
    assert (kb / Manifest.read(kb).generation / "store.sqlite").stat().st_ino == made, "the facts were not read again"
    with spool_stdin(io.BytesIO(bytes_)) as path:
        report, encoder = update(kb, path)
    assert not report.changed and not encoder.asked
    with spool_stdin(io.BytesIO(bytes_ + b"t20\tIsA\tthing\n")) as path:
        report, _ = update(kb, path)
    assert report.states == {"stdin": "replaced"} and report.manifest is not None and report.manifest.facts == 21
