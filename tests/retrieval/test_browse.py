from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kb.errors import KnowledgeError
from kb.graph import FactGraph
from kb.store import KnowledgeStore
from kb.triple import Alias, Triple, entity_key
from retrieval import browse
from retrieval.knowledge_base import KnowledgeBase


@pytest.fixture(scope="module")
def kb(small_kb: Path) -> KnowledgeBase:
    return KnowledgeBase.open(small_kb)


def test_stats(kb: KnowledgeBase) -> None:
    found = browse.stats(kb, hubs=2)
    assert (found.facts, found.entities, found.relations) == (10, 14, 5)
    assert dict(found.relation_facts) == dict.fromkeys(("CapableOf", "IsA", "HasA", "Desires", "UsedFor"), 2)
    assert found.sources == [browse.SourceSummary("small", None, 10)]
    assert found.degrees == [(1, 1, 10), (2, 3, 3), (4, 7, 1)]
    assert (found.mean_degree, found.median_degree) == (1.43, 1)
    assert [(hub.text, hub.facts) for hub in found.hubs] == [("cat", 4), ("animal", 2)]
    assert found.encoder == kb.manifest.encoder and found.index == "Flat" and found.bytes > 0


def test_degree_steps() -> None:
    degrees = np.array([0, 0, 1, 2, 3, 4, 7, 8, 1000])
    assert browse.degree_steps(degrees) == [(0, 0, 2), (1, 1, 1), (2, 3, 2), (4, 7, 2), (8, 15, 1), (512, 1023, 1)]


def found_by(kb: KnowledgeBase, text: str) -> list[tuple[str, str]]:
    return [(match.entity.text, match.how) for match in browse.find(kb, text).matches]


def test_find_ranks_the_ways_and_then_the_degrees(kb: KnowledgeBase) -> None:
    assert found_by(kb, "CAT") == [("cat", "exact")]
    assert found_by(kb, "cats") == [("cat", "dictionary form")]
    assert found_by(kb, "mouse") == [("mouse", "exact")]
    assert found_by(kb, "mice") == [("mouse", "dictionary form"), ("hunting mice", "contains it")]
    assert found_by(kb, "wh") == [("whiskers", "begins with it"), ("two wheels", "contains it")]
    assert found_by(kb, "nothing of this kind") == []


def test_find_is_bounded_and_counts_the_rest(kb: KnowledgeBase) -> None:
    found = browse.find(kb, "i", limit=1)
    assert [match.entity.text for match in found.matches] == ["animal"], "of those that contain it, the most linked"
    assert found.total == 8
    with pytest.raises(KnowledgeError, match="cannot look for ' ': the text is empty"):
        browse.find(kb, " ")


def test_resolve_offers_the_nearest_spellings(kb: KnowledgeBase) -> None:
    assert browse.resolve(kb, "The Cats") == browse.resolve(kb, "cat")
    with pytest.raises(
        KnowledgeError, match=r"no entity 'zorbal biscuit' in .*; nearest spellings: 'zorbal biscuits'; .* kvqa kb find"
    ):
        browse.resolve(kb, "zorbal biscuit")
    with pytest.raises(KnowledgeError, match="nothing is spelled like it"):
        browse.resolve(kb, "qqqqqq")


def test_show_groups_facts_by_relation_and_side(kb: KnowledgeBase) -> None:
    animal = browse.show(kb, "animal", limit=1)
    assert (animal.entity.text, animal.entity.facts) == ("animal", 2)
    (group,) = animal.groups
    assert (group.relation, group.side, group.total, [f.head for f in group.facts]) == ("IsA", "tail", 2, ["cat"])
    assert [(origin.source, origin.line) for origin in group.facts[0].origins] == [("small", 3)]
    cat = browse.show(kb, "cat")
    assert [(g.relation, g.side) for g in cat.groups] == [
        (name, "head") for name in ("CapableOf", "IsA", "HasA", "Desires")
    ]


def test_other_names_lead_to_an_entity(kb: KnowledgeBase, tmp_path: Path) -> None:
    with KnowledgeStore.create(tmp_path / "store.sqlite") as new:
        cat = [Triple("cat", "IsA", "animal"), Alias("cat", "Felis catus"), Alias("cat", "house cat")]
        new.add(cat, new.add_source("names", "names.tsv", "0" * 64))
    triples = np.array([[0, 0, 1]], dtype=np.int32)
    graph = FactGraph(*triples.T, 2)
    named = replace(kb, store=KnowledgeStore.open(tmp_path / "store.sqlite"), triples=triples, graph=graph)
    assert found_by(named, "felis catus") == [("cat", "other name")]
    assert browse.resolve(named, "House cats") == 0
    assert browse.show(named, "felis catus").other_names == ["Felis catus", "house cat"]


def test_path_says_which_way_each_fact_is_walked(kb: KnowledgeBase) -> None:
    found = browse.path(kb, "dogs", "whiskers")
    assert (found.source.text, found.target.text) == ("dog", "whiskers")
    assert [[(step.fact.text, step.forward) for step in steps] for steps in found.paths] == [
        [("dog is an animal", True), ("cat is an animal", False), ("cat has whiskers", True)]
    ]
    assert browse.path(kb, "dog", "whiskers", max_hops=2).paths == []
    assert browse.path(kb, "cup", "cat").paths == []
    with pytest.raises(KnowledgeError, match="no entity 'unicorn'"):
        browse.path(kb, "cat", "unicorn")


def test_search_goes_by_meaning(kb: KnowledgeBase) -> None:
    hits = browse.search(kb, "which pet catches rodents?", limit=3)
    assert [hit.fact.head for hit in hits][:1] == ["cat"]
    assert 1 >= hits[0].score >= hits[1].score >= hits[2].score >= -1
    assert len(browse.search(kb, "coffee", limit=99)) == 10


def test_search_refuses_another_encoder(kb: KnowledgeBase) -> None:
    class Other:
        name, sha256 = "other", "f" * 64

    with pytest.raises(KnowledgeError, match=r"embedded with another other .* kvqa index-kb"):
        browse.search(kb, "coffee", encoder=Other())  # type: ignore[arg-type]


def test_a_search_for_paths_that_was_stopped_says_so(kb: KnowledgeBase) -> None:
    whole = browse.path(kb, "dog", "whiskers")
    assert (len(whole.paths), whole.expanded, whole.complete) == (1, 6, True)
    assert browse.path(kb, "dog", "whiskers", max_expanded=6) == whole
    stopped = browse.path(kb, "dog", "whiskers", max_expanded=3)
    assert (stopped.paths, stopped.expanded, stopped.complete) == (whole.paths, 3, False), "there might be longer ones"
    assert browse.path(kb, "dog", "whiskers", max_expanded=3, limit=1).complete, "no more were wanted"
    stopped = browse.path(kb, "dog", "whiskers", max_expanded=2)
    assert (stopped.paths, stopped.expanded, stopped.complete) == ([], 2, False)
    assert browse.path(kb, "cat", "cat").complete


def found_in_python(kb: KnowledgeBase, text: str) -> dict[int, str]:
    """Find entities by looking at all keys, the plain way."""
    key, keys = entity_key(text), kb.store.entity_keys()
    ranks: dict[int, int] = {}
    for rank, forms in ((0, [key]), (2, browse._dictionary_forms(key))):
        for form, number in kb.store.find_entities(forms).items():
            ranks.setdefault(number, rank if keys[number] == form else 1)
    for number, other in enumerate(keys):
        if key in other:
            ranks.setdefault(number, 3 if other.startswith(key) else 4)
    order = sorted(ranks, key=lambda number: (ranks[number], -int(kb.graph.degree([number])[0]), number))
    return {number: browse.WAYS[ranks[number]] for number in order}


def test_the_database_finds_and_counts_what_python_does(kb: KnowledgeBase, tmp_path: Path) -> None:
    names = ("cat", "cats", "black cat", "Cathedral", "100%", "a_b", "axb", "Écran", "mouse", "mice")
    with KnowledgeStore.create(tmp_path / "store.sqlite") as new:
        first = [Triple(name, "IsA", "thing") for name in names] + [Alias("mouse", "cat"), Alias("axb", "cats")]
        new.add(first, new.add_source("first", "f.tsv", "0" * 64))
        new.add([Triple("cat", "IsA", "thing")] * 2, new.add_source("second", "s.tsv", "1" * 64))
        new.add([Alias("cat", "puss")], new.add_source("third", "t.tsv", "2" * 64))
    store = KnowledgeStore.open(tmp_path / "store.sqlite")
    triples = np.stack([*(getattr(store.arrays(), name) for name in ("heads", "relations", "tails"))], axis=1)
    odd = replace(kb, store=store, triples=triples, graph=FactGraph(*triples.T, store.num_entities))
    for text in ("cat", "Cats", "the cats", "mice", "%", "a_b", "é", "puss", "t", "none of these"):
        found = browse.find(odd, text, limit=99)
        assert {match.entity.id: match.how for match in found.matches} == (expected := found_in_python(odd, text))
        assert [match.entity.id for match in found.matches] == list(expected), text
    assert store.stated() == store.origin_mask().sum(axis=0).tolist() == [10, 1, 0]
