"""Relation names: the one spelling of each, and the sentence that a fact with it stands for.

The names follow ConceptNet 4 and 5 (https://github.com/commonsense/conceptnet5/wiki/Relations), WordNet's pointers,
WebChild's comparatives (Tandon et al. 2014) and the DBpedia and visual-attribute relations of FVQA-like sources.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType

from kb.triple import clean_text

RELATIONS: dict[str, str] = {
    # ConceptNet
    "RelatedTo": "{head} is related to {tail}",
    "IsA": "{head} is a {tail}",
    "PartOf": "{head} is part of {tail}",
    "HasA": "{head} has {tail}",
    "HasPart": "{head} has {tail} as a part",
    "UsedFor": "{head} is used for {tail}",
    "CapableOf": "{head} can {tail}",
    "AtLocation": "{head} is found at {tail}",
    "LocationOfAction": "{head} happens at {tail}",
    "LocatedNear": "{head} is found near {tail}",
    "Causes": "{head} causes {tail}",
    "EffectOf": "{head} is an effect of {tail}",
    "CausesDesire": "{head} makes someone want {tail}",
    "Entails": "{head} entails {tail}",
    "HasSubevent": "{head} includes {tail}",
    "HasFirstSubevent": "{head} begins with {tail}",
    "HasLastSubevent": "{head} ends with {tail}",
    "HasPrerequisite": "{head} requires {tail}",
    "HasContext": "{head} is a term of {tail}",
    "HasProperty": "{head} is {tail}",
    "PropertyOf": "{head} is a property of {tail}",
    "HasPainIntensity": "{head} has the pain intensity {tail}",
    "HasPainCharacter": "{head} has the pain character {tail}",
    "MotivatedByGoal": "{head} is done for {tail}",
    "ObstructedBy": "{head} is obstructed by {tail}",
    "Desires": "{head} wants {tail}",
    "DesireOf": "{head} is wanted by {tail}",
    "CreatedBy": "{head} is created by {tail}",
    "ReceivesAction": "{head} can be {tail}",
    "MadeOf": "{head} is made of {tail}",
    "DefinedAs": "{head} is defined as {tail}",
    "SymbolOf": "{head} is a symbol of {tail}",
    "InstanceOf": "{head} is an instance of {tail}",
    "InheritsFrom": "{head} inherits from {tail}",
    "SimilarSize": "{head} is about the size of {tail}",
    "SimilarTo": "{head} is similar to {tail}",
    "Synonym": "{head} means the same as {tail}",
    "Antonym": "{head} is the opposite of {tail}",
    "DistinctFrom": "{head} is not the same as {tail}",
    "DerivedFrom": "{head} is derived from {tail}",
    "EtymologicallyRelatedTo": "{head} shares its origin with {tail}",
    "EtymologicallyDerivedFrom": "{head} comes from the word {tail}",
    "FormOf": "{head} is a form of {tail}",
    "ExternalURL": "{head} is described at {tail}",
    "NotIsA": "{head} is not a {tail}",
    "NotHasA": "{head} does not have {tail}",
    "NotHasProperty": "{head} is not {tail}",
    "NotCapableOf": "{head} cannot {tail}",
    "NotDesires": "{head} does not want {tail}",
    "NotMadeOf": "{head} is not made of {tail}",
    "NotUsedFor": "{head} is not used for {tail}",
    "NotAtLocation": "{head} is not found at {tail}",
    # WordNet
    "MannerOf": "{head} is a way to {tail}",
    "MemberOf": "{head} is a member of {tail}",
    "SubstanceOf": "{head} is a substance of {tail}",
    "AttributeOf": "{head} is an attribute of {tail}",
    # DBpedia
    "Category": "{head} belongs to the category of {tail}",
    "AnimalKingdom": "{head} belongs to the kingdom of {tail}",
    "AnimalPhylum": "{head} belongs to the phylum of {tail}",
    "AnimalClass": "{head} belongs to the class of {tail}",
    "AnimalOrder": "{head} belongs to the order of {tail}",
    "AnimalFamily": "{head} belongs to the family of {tail}",
    "AnimalGenus": "{head} belongs to the genus of {tail}",
    # Visual attributes
    "HasColor": "{head} has the color {tail}",
    "HasShape": "{head} has the shape {tail}",
    "HasMaterial": "{head} has the material {tail}",
    "HasSize": "{head} has the size {tail}",
    "CooccursWith": "{head} is often seen with {tail}",
    "BiggerThan": "{head} is bigger than {tail}",
    "SmallerThan": "{head} is smaller than {tail}",
    # Our everyday facts
    "Eats": "{head} eats {tail}",
    "EatenBy": "{head} is eaten by {tail}",
    "HasSound": "{head} makes the sound {tail}",
    "InventedBy": "{head} was invented by {tail}",
    "NamedAfter": "{head} is named after {tail}",
    "OriginatesFrom": "{head} comes from {tail}",
    # ATOMIC; heads are events such as "PersonX buys a house"
    "xAttr": "if {head}, PersonX is seen as {tail}",
    "xEffect": "when {head}, PersonX as a result {tail}",
    "xIntent": "{head} because PersonX intends {tail}",
    "xNeed": "before {head}, PersonX needs {tail}",
    "xReact": "when {head}, PersonX feels {tail}",
    "xReason": "{head} because {tail}",
    "xWant": "after {head}, PersonX wants {tail}",
    "oEffect": "when {head}, others as a result {tail}",
    "oReact": "when {head}, others feel {tail}",
    "oWant": "after {head}, others want {tail}",
    "isAfter": "{head} happens after {tail}",
    "isBefore": "{head} happens before {tail}",
    "isFilledBy": "in {head}, something can be {tail}",
    "HinderedBy": "{head} can be hindered by {tail}",
    "MadeUpOf": "{head} is made up of {tail}",
    # A plain sentence, which is head and tail of its fact (`kb.triple.text_fact`)
    "Text": "{head}",
}
"""Name of each relation that we know to its sentence, without a final period."""

ALIASES: MappingProxyType[str, str] = MappingProxyType(
    {
        "ConceptuallyRelatedTo": "RelatedTo",
        "is-property-of": "PropertyOf",
        "is-part-of": "PartOf",
        "is-opposite-of": "Antonym",
        "is-effect-of": "EffectOf",
        "is-same-as": "Synonym",
        "is-related-to": "RelatedTo",
        "MadeOfVG": "MadeOf",
        "HasColour": "HasColor",
        "transnbhd": "Category",
        "LocatedAt": "AtLocation",
        "Entailment": "Entails",
        "ObjectUse": "UsedFor",
        # Wikidata
        "subclass of": "IsA",
        "has part(s)": "HasPart",
        "made from material": "MadeOf",
        "has use": "UsedFor",
        "has effect": "Causes",
        "creator": "CreatedBy",
        "discoverer or inventor": "InventedBy",
        "country of origin": "OriginatesFrom",
        "opposite of": "Antonym",
        "location": "AtLocation",
    }
)
"""Other names of the same relations; compared without case, spaces, hyphens and underscores."""

_PREFIX = re.compile(r"^/r/(?:.*/)?(?=[^/])")
_WEBCHILD = re.compile(r"^(?P<quality>.+)#(?P<direction>[fr])$")
_COMPARATIVE = re.compile(r"^(?P<direction>more|less) (?P<quality>.+) than$", re.IGNORECASE)
_DIRECTIONS = {"f": "more", "r": "less"}
_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CACHED_NAMES = 65_536


def _squash(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name).casefold()


_KNOWN = {_squash(name): name for name in RELATIONS} | {_squash(alias): name for alias, name in ALIASES.items()}


@lru_cache(maxsize=_CACHED_NAMES)
def canonical_relation(name: str) -> str:
    """Return the one spelling of the relation `name`; a name that we do not know comes back trimmed.

    `/r/IsA`, `is-a`, `isA` and `IsA` are `"IsA"`; `fast#f` is `"more fast than"`, `fast#r` is `"less fast than"`.

    Raises:
        ValueError: if the name is empty or holds a NUL character.
    """
    plain = clean_text(name)
    if match := _WEBCHILD.match(plain):
        return f"{_DIRECTIONS[match['direction']]} {match['quality'].strip()} than"
    if match := _COMPARATIVE.match(plain):
        return f"{match['direction'].lower()} {match['quality']} than"
    spelled = " ".join(name.split())
    bare = _PREFIX.sub("", spelled).rstrip("/") or spelled
    return _KNOWN.get(_squash(bare), bare)


def is_known_relation(name: str) -> bool:
    """Say whether `name` is a relation of `RELATIONS`, an alias of one, or a comparative. Never raises."""
    try:
        canonical = canonical_relation(name)
    except ValueError:
        return False
    return canonical in RELATIONS or _COMPARATIVE.match(canonical) is not None


@lru_cache(maxsize=_CACHED_NAMES)
def _template(relation: str) -> tuple[str, bool]:
    """Return the sentence and whether the tail needs an article in front of it."""
    canonical = canonical_relation(relation)
    if canonical in RELATIONS:
        bare = RELATIONS[canonical].replace(" a {tail}", " {tail}")
        return bare, bare != RELATIONS[canonical]
    words = canonical if _COMPARATIVE.match(canonical) else _spell_out(canonical)
    verb = "is " if _COMPARATIVE.match(canonical) else ""
    return "{head} " + verb + words.replace("{", "{{").replace("}", "}}") + " {tail}", False


def _spell_out(name: str) -> str:
    return " ".join(re.sub(r"[_\-\s]+", " ", _WORD_STARTS.sub(" ", name)).lower().split())


def verbalise(head: str, relation: str, tail: str) -> str:
    """Return the fact as one plain sentence without a final period.

    "a" before the tail becomes "an" before a vowel and goes where the tail brings its own article. A relation that
    `RELATIONS` does not know is split into its words: `fooBar` gives `"{head} foo bar {tail}"`.

    Raises:
        ValueError: if the relation is empty or holds a NUL character.
    """
    template, needs_article = _template(relation)
    return template.format(head=head, tail=_with_article(tail) if needs_article else tail)


def _with_article(noun: str) -> str:
    lower = noun.lower()
    if lower.startswith(("a ", "an ", "the ")):
        return noun
    return f"an {noun}" if lower.startswith(("a", "e", "i", "o", "u")) else f"a {noun}"
