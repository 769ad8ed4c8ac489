import pytest

from kb.relations import ALIASES, RELATIONS, canonical_relation, is_known_relation, verbalise
from kb.triple import TEXT


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("IsA", "IsA"),
        ("isa", "IsA"),
        ("is-a", "IsA"),
        ("is a", "IsA"),
        ("/r/IsA", "IsA"),
        ("/r/IsA/", "IsA"),
        ("at_location", "AtLocation"),
        ("ConceptuallyRelatedTo", "RelatedTo"),
        ("is-property-of", "PropertyOf"),
        ("is-part-of", "PartOf"),
        ("is-opposite-of", "Antonym"),
        ("is-effect-of", "EffectOf"),
        ("is-same-as", "Synonym"),
        ("is-related-to", "RelatedTo"),
        ("MadeOfVG", "MadeOf"),
        ("transnbhd", "Category"),
        ("animal_class", "AnimalClass"),
        ("fast#f", "more fast than"),
        ("fast#r", "less fast than"),
        ("fuel_efficient#f", "more fuel efficient than"),
        ("More fast than", "more fast than"),
        ("/r/dbpedia/genre", "genre"),
        (" my_own ", "my_own"),
        ("/r/", "/r"),
        ("//", "//"),
    ],
)
def test_canonical_relation(name: str, canonical: str) -> None:
    assert canonical_relation(name) == canonical


def test_canonical_names_stay_as_they_are() -> None:
    assert [canonical_relation(name) for name in RELATIONS] == list(RELATIONS)
    assert set(ALIASES.values()) <= RELATIONS.keys()


@pytest.mark.parametrize(("name", "message"), [("", "empty"), ("Is\x00A", "NUL")])
def test_bad_relation(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        canonical_relation(name)
    assert not is_known_relation(name)


def test_known_relations() -> None:
    assert is_known_relation("is-a")
    assert is_known_relation("tall#f")
    assert not is_known_relation("more")
    assert not is_known_relation("traffic light")


def test_every_template_names_both_ends_once() -> None:
    for name, template in RELATIONS.items():
        assert template.count("{head}") == 1
        # The head of a plain sentence is the whole of it.
        assert template.count("{tail}") == (0 if name == TEXT else 1)
        assert not template.endswith(".")


@pytest.mark.parametrize(
    ("relation", "sentence"),
    [
        ("UsedFor", "umbrella is used for rain"),
        ("/r/UsedFor", "umbrella is used for rain"),
        ("transnbhd", "umbrella belongs to the category of rain"),
        ("dry#f", "umbrella is more dry than rain"),
        ("less dry than", "umbrella is less dry than rain"),
        ("fooBar", "umbrella foo bar rain"),
        ("keeps_away-from", "umbrella keeps away from rain"),
        ("hasURLOf", "umbrella has url of rain"),
        ("odd{0}", "umbrella odd{0} rain"),
    ],
)
def test_verbalise(relation: str, sentence: str) -> None:
    assert verbalise("umbrella", relation, "rain") == sentence


@pytest.mark.parametrize(("tail", "end"), [("animal", "an animal"), ("a pet", "a pet"), ("pet", "a pet")])
def test_articles(tail: str, end: str) -> None:
    assert verbalise("dog", "IsA", tail) == f"dog is {end}"
    assert verbalise("dog", "NotIsA", tail) == f"dog is not {end}"


def test_verbalise_takes_braces_as_text() -> None:
    assert verbalise("{tail}", "IsA", "{0}") == "{tail} is a {0}"
