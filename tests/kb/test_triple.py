import pytest

from kb.relations import verbalise
from kb.triple import TEXT, Triple, clean_text, entity_key, text_fact


def test_clean_text_writes_as_people_do() -> None:
    assert clean_text("  traffic__light\t \n") == "traffic light"
    assert clean_text("cafe\u0301") == "caf\u00e9"


@pytest.mark.parametrize(("text", "message"), [("", "empty"), (" _ ", "empty"), ("a\x00b", "NUL")])
def test_clean_text_refuses(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clean_text(text)


def test_spellings_share_a_key() -> None:
    assert entity_key("Traffic_Light") == entity_key("traffic  light") == "traffic light"
    assert Triple("Dog", "IsA", "Animal").key == Triple("dog", "IsA", "animal", source="x", line=3).key


def test_a_plain_sentence_is_a_fact_of_its_own() -> None:
    fact = text_fact(" Cats  sleep a lot. ", source="notes", line=3)
    assert fact == Triple("Cats sleep a lot.", TEXT, "Cats sleep a lot.", source="notes", line=3)
    assert verbalise(fact.head, fact.relation, fact.tail) == "Cats sleep a lot."
    with pytest.raises(ValueError, match="the text is empty"):
        text_fact(" ")
