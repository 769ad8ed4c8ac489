import pytest

from kb.triple import Triple, clean_text, entity_key


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
