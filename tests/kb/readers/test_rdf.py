from pathlib import Path

import pytest

from kb.readers import read_source
from kb.readers.labels import Labels
from kb.readers.rdf import local_name
from kb.readers.reject import Reject
from kb.triple import Alias, Triple

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kb"


def test_ntriples() -> None:
    *items, broken, same = read_source(FIXTURES / "facts.nt", name="rdf")
    assert items == [
        Triple("Zither", "InstanceOf", "String Instrument", source="rdf", line=2),
        Triple("Zither", "playedIn", "Bavaria", source="rdf", line=3),
        Alias("Bavaria", "Free State of Bavaria", source="rdf", line=6),
        Triple("Zither", "numberOfStrings", "35", source="rdf", line=7),
    ]
    assert isinstance(broken, Reject)
    assert broken.line == 11
    assert broken.reason.startswith("not N-Quads")
    assert same == Triple("Table harp", "Synonym", "Zither", source="rdf", line=12)


def test_another_language() -> None:
    items = list(read_source(FIXTURES / "facts.nt", language="de"))
    assert Triple("Zither", "playedIn", "Bayern", source="facts", line=3) in items
    assert Triple("Zither", "nickname", "Brettl", source="facts", line=9) in items
    assert not any(isinstance(item, Alias) for item in items)


def test_nquads_and_properties_of_wikidata() -> None:
    assert list(read_source(FIXTURES / "facts.nq")) == [
        Triple("Traffic Light", "standsAt", "Street corner", source="facts", line=1),
        Triple("Traffic Light", "InstanceOf", "sign", source="facts", line=2),
    ]


def test_turtle() -> None:
    definition = "A flat instrument. It has many strings."
    facts = [
        Triple("zither", "InstanceOf", "String Instrument", source="facts", line=1),
        Triple("zither", "DefinedAs", definition, source="facts", line=4),
        Triple("zither", "playedIn", "Bavaria", source="facts", line=5),
    ]
    *found, broken, subclass = read_source(FIXTURES / "facts.ttl")
    assert found == facts
    assert isinstance(broken, Reject)
    assert (broken.line, broken.text) == (11, ':broken :is "not closed .')
    assert subclass == Triple("String Instrument", "IsA", "Instrument", source="facts", line=6)


def test_turtle_prefixes_change_and_break(tmp_path: Path) -> None:
    path = tmp_path / "f.ttl"
    path.write_text(
        "@prefix e: <http://a/> .\ne:a e:b e:c .\n@base <nowhere> .\n@prefix e: <http://b/> .\n<x> <y> <z> .\n"
        'e:a e:b """never closed .\ne:d e:b e:e .\n  more of it\ne:f e:b e:g .'
    )
    items = list(read_source(path))
    assert [(item.head, item.tail) for item in items if isinstance(item, Triple)] == [
        ("a", "c"),
        ("d", "e"),
        ("f", "g"),
    ]
    assert [item.line for item in items if isinstance(item, Reject)] == [3, 5, 6, 8]


def test_other_labels_are_other_names(tmp_path: Path) -> None:
    path = tmp_path / "f.nt"
    label = "<http://www.w3.org/2000/01/rdf-schema#label>"
    path.write_text(f'<http://e/1> {label} "dog"@en-GB .\n<http://e/1> {label} "hound" .\n<http://e/1> {label} " " .\n')
    assert list(read_source(path)) == [Alias("dog", "hound", source="f", line=2)]


@pytest.mark.parametrize(
    ("iri", "name"),
    [
        ("http://dbpedia.org/resource/YouTube", "YouTube"),
        ("http://dbpedia.org/resource/Berlin_Wall", "Berlin_Wall"),
        ("http://example.org/onto#TrafficLight", "Traffic Light"),
        ("http://example.org/HTMLPage/", "HTML Page"),
        ("http://example.org/caf%C3%A9", "café"),
        ("urn:isbn:123", "123"),
        ("http://example.org/#", "example.org"),
        ("http:///_", "http:///_"),
    ],
)
def test_local_name(iri: str, name: str) -> None:
    assert local_name(iri) == name


def test_labels_beyond_memory(tmp_path: Path) -> None:
    labels = Labels(tmp_path / "labels.sqlite", in_memory=3)
    for number in range(10):
        labels.set(f"id {number}", f"label {number}")
    labels.set("id 0", "a second label")
    labels.set("id 9", "a second label")
    assert [labels.get(f"id {number}") for number in range(11)] == [*(f"label {n}" for n in range(10)), None]
    labels.close()
