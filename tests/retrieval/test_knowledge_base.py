import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kb.errors import KnowledgeError
from retrieval.builder import build_kb
from retrieval.knowledge_base import ENTITIES, INDEX, RELATIONS, STORE, TRIPLES, KnowledgeBase
from retrieval.manifest import MANIFEST, Manifest, describe_files


@pytest.fixture(scope="module")
def other_kb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A knowledge base with fewer facts, entities and relations than `small_kb`."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "other.tsv").write_text("head\trelation\ttail\nstone\tIsA\tmineral\nsun\tIsA\tstar\n", encoding="utf-8")
    build_kb([folder / "other.tsv"], folder / "kb")
    return folder / "kb"


@pytest.fixture
def copy(small_kb: Path, tmp_path: Path) -> Path:
    """A copy of `small_kb` to be damaged."""
    return shutil.copytree(small_kb, tmp_path / "copy")


def fix_manifest(folder: Path) -> None:
    """Make the manifest describe the files as they now are, as somebody might who mixes parts by hand."""
    record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    record["files"] = describe_files(folder, list(record["files"]))
    (folder / MANIFEST).write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.parametrize("thorough", [False, True])
def test_all_parts_are_there(small_kb: Path, thorough: bool) -> None:
    base = KnowledgeBase.open(small_kb, thorough=thorough)
    assert (base.folder, base.manifest) == (small_kb, Manifest.read(small_kb))
    facts, entities = base.store.num_facts, base.store.num_entities
    assert facts == len(base.index) == base.graph.num_facts == 10
    assert base.triples.shape == (facts, 3) and base.graph.num_entities == entities
    assert base.entity_vectors.shape == (entities, 384) and base.entity_vectors.dtype == np.float16
    assert base.relation_vectors.shape == (base.store.num_relations, 384)
    for vectors in (base.entity_vectors, base.relation_vectors):
        np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=2e-3)
    whiskers = base.store.find_entities(["whiskers"])["whiskers"]
    texts = [fact.text for fact in base.store.facts(base.graph.facts_of([whiskers]).tolist())]
    assert texts == ["cat has whiskers", "whiskers is used for feeling the way in the dark"]


def test_the_encoder_must_be_the_one_expected(small_kb: Path) -> None:
    expected = Manifest.read(small_kb).encoder_sha256
    KnowledgeBase.open(small_kb, encoder_sha256=expected)
    with pytest.raises(KnowledgeError, match=rf"embedded with .*{expected[:12]}.* expects weights 0{{12}}….*index-kb"):
        KnowledgeBase.open(small_kb, encoder_sha256="0" * 64)


def test_no_knowledge_base(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match="does not exist; build one"):
        KnowledgeBase.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (INDEX, r"disagree on facts \(2, 10\)"),
        (TRIPLES, r"disagree on facts \(2, 10\)"),
        (STORE, r"disagree on facts \(2, 10\)"),
        (ENTITIES, r"disagree on entities \(4, "),
        (RELATIONS, r"disagree on relations \(1, "),
    ],
)
def test_parts_of_two_knowledge_bases_are_not_mixed(copy: Path, other_kb: Path, part: str, message: str) -> None:
    part = f"gen-0001/{part}"
    shutil.copy(other_kb / part, copy / part)
    with pytest.raises(KnowledgeError, match=rf"{part} (has .* bytes, the manifest says|was altered)"):
        KnowledgeBase.open(copy)
    fix_manifest(copy)
    with pytest.raises(KnowledgeError, match=rf"the parts of .*{message}.*build it again: kvqa index-kb"):
        KnowledgeBase.open(copy)


@pytest.mark.parametrize("part", [STORE, INDEX, TRIPLES, ENTITIES, RELATIONS])
def test_a_truncated_part_is_named(copy: Path, part: str) -> None:
    path = copy / "gen-0001" / part
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(KnowledgeError, match=rf"{part} has .* bytes, the manifest says .*build it again"):
        KnowledgeBase.open(copy)


@pytest.mark.parametrize(("part", "size"), [(INDEX, 60), (INDEX, 0), (STORE, 0), (STORE, 10)])
def test_a_truncated_part_is_refused_also_where_the_manifest_was_made_to_fit(copy: Path, part: str, size: int) -> None:
    path = copy / "gen-0001" / part
    path.write_bytes(path.read_bytes()[:size])
    fix_manifest(copy)
    with pytest.raises(KnowledgeError, match=rf"{part} .*kvqa index-kb"):
        KnowledgeBase.open(copy)
