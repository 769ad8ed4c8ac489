import numpy as np

from retrieval.evidence import evidence_of

TRIPLES = np.array([[7, 0, 3], [3, 1, 9], [9, 2, 9], [5, 0, 1]], dtype=np.int32)


def test_facts_point_to_the_entities_of_the_subgraph() -> None:
    evidence = evidence_of(
        np.array([2, 0, 1]), np.array([0.9, 0.5, 0.1], dtype=np.float32), np.array([False, False, True]), TRIPLES
    )
    assert len(evidence) == 3
    assert evidence.fact_ids.tolist() == [2, 0, 1]  # the order given
    assert evidence.entity_ids.tolist() == [3, 7, 9]  # each once, without those of fact 3
    assert evidence.entity_ids[evidence.heads].tolist() == [9, 7, 3]
    assert evidence.entity_ids[evidence.tails].tolist() == [9, 3, 9]
    assert evidence.relations.tolist() == [2, 0, 1]
    assert evidence.neighbours.tolist() == [False, False, True]
    for ids in (evidence.heads, evidence.tails, evidence.relations, evidence.entity_ids):
        assert ids.dtype == np.int64


def test_no_fact_is_evidence_too() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    evidence = evidence_of(nothing, nothing.astype(np.float32), nothing.astype(bool), TRIPLES)
    assert len(evidence) == 0
    for part in (evidence.heads, evidence.tails, evidence.relations, evidence.entity_ids):
        assert part.shape == (0,)
