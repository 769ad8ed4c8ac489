from pathlib import Path

import pytest

from kb.errors import KnowledgeError
from kb.readers import licence_of, read_source
from kb.readers.reject import Reject
from kb.triple import Triple

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kb"
BOMB = """<?xml version="1.0"?>
<!DOCTYPE LexicalResource [
  <!ENTITY a0 "ha">
  <!ENTITY a1 "&a0;&a0;&a0;&a0;&a0;&a0;&a0;&a0;&a0;&a0;">
  <!ENTITY a2 "&a1;&a1;&a1;&a1;&a1;&a1;&a1;&a1;&a1;&a1;">
]>
<LexicalResource><Lexicon license="&a2;"><Synset id="&a2;"/></Lexicon></LexicalResource>
"""


def keys(name: str, **options: str) -> list[tuple[str, str, str]]:
    return [item.key for item in read_source(FIXTURES / name, **options) if isinstance(item, Triple)]  # type: ignore[arg-type]


def test_synsets() -> None:
    items = list(read_source(FIXTURES / "wn-lmf.xml"))
    assert items == [
        Triple("zither", "IsA", "instrument", source="wn-lmf", line=1),
        Triple("string", "PartOf", "zither", source="wn-lmf", line=1),
        Reject(1, "IsA points to the unknown synset 'made-9-n'", items[2].text if isinstance(items[2], Reject) else ""),
        Triple("zither", "Synonym", "table harp", source="wn-lmf", line=1),
        Triple("zither", "DefinedAs", "a flat & stringed instrument", source="wn-lmf", line=1),
        Triple("strum", "MannerOf", "play", source="wn-lmf", line=4),
        Reject(6, "synset 'made-6-v' has no words", "made-6-v"),
    ]
    assert licence_of("wordnet", FIXTURES / "wn-lmf.xml") == "https://creativecommons.org/licenses/by/4.0/"
    assert licence_of("wordnet", FIXTURES / "synsets.jsonl") is None


def test_json_lines_and_xml_give_the_same_facts() -> None:
    assert sorted(keys("wn-lmf.xml")) == sorted(keys("synsets.jsonl"))
    edges = [("zither", "IsA", "instrument"), ("string", "PartOf", "zither")]
    assert keys("wn-lmf.xml", format="wordnet-edges") == keys("synsets.jsonl", format="wordnet-edges") == edges


def test_a_billion_laughs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.xml"
    path.write_text(BOMB)
    with pytest.raises(KnowledgeError, match=r"bomb\.xml is refused: .*EntitiesForbidden"):
        list(read_source(path))
    with pytest.raises(KnowledgeError, match="is refused"):
        licence_of("wordnet", path)


def test_broken_xml_keeps_what_comes_before(tmp_path: Path) -> None:
    whole = (FIXTURES / "wn-lmf.xml").read_bytes()
    path = tmp_path / "cut.xml"
    for end in (b"", b"</Oops>", b"\xff"):
        path.write_bytes(whole[: whole.index(b'<Synset id="made-4-v"')] + end)
        items = list(read_source(path))
        assert len([item for item in items if isinstance(item, Triple)]) == 4
        assert isinstance(items[-1], Reject)
        assert items[-1].reason.startswith("not XML from here on")
