from pathlib import Path

import pytest

from kb.errors import KnowledgeError
from kb.readers import licence_of, read_source
from kb.readers.conceptnet import read
from kb.readers.reject import Reject
from kb.triple import Triple

PATH = Path(__file__).parents[2] / "fixtures" / "kb" / "conceptnet-assertions.csv"


def test_english_assertions() -> None:
    *facts, broken, one_column, no_concept = read(PATH, source="cn")
    surface = "You can use an umbrella stand for holding umbrellas"
    assert facts == [
        Triple("umbrella stand", "UsedFor", "holding umbrellas", source="cn", line=1, surface=surface),
        Triple("zither", "IsA", "instrument", source="cn", line=2),
        Triple("made up band", "genre", "polka", source="cn", line=6),
    ]
    assert isinstance(broken, Reject)
    assert broken.line == 8
    assert broken.reason.startswith("the fifth column is not JSON")
    assert one_column == Reject(9, "has 1 columns instead of 5", "only one column")
    assert isinstance(no_concept, Reject)
    assert no_concept.reason == "start: 'zither' is no concept such as /c/en/dog"


def test_another_language_and_a_weight() -> None:
    (german, *_) = read_source(PATH, language="de")
    assert german == Triple("zither", "IsA", "zupfinstrument", source="conceptnet-assertions", line=4)
    heavy = [item for item in read_source(PATH, min_weight=1.5) if isinstance(item, Triple)]
    assert [fact.head for fact in heavy] == ["umbrella stand"]


@pytest.mark.parametrize(
    ("info", "reason"), [("[]", "is a JSON list, not an object"), ('{"weight": "1"}', "weight: is str, not a number")]
)
def test_broken_information(tmp_path: Path, info: str, reason: str) -> None:
    path = tmp_path / "cn.csv"
    path.write_text(f"/a/x\t/r/IsA\t/c/en/a\t/c/en/b\t{info}\n/a/x\t/r/IsA\t/c/en/\t/c/en/b\t{{}}\n")
    bad, empty = read(path, source="cn")
    assert isinstance(bad, Reject)
    assert bad.reason.endswith(reason)
    assert isinstance(empty, Reject)
    assert empty.reason == "head: the text is empty"


def test_options_of_others_are_refused() -> None:
    assert licence_of("conceptnet") == "CC BY-SA 4.0"
    with pytest.raises(KnowledgeError, match=r"--columns hrt is for tables, but .* 'conceptnet'; leave it out"):
        read_source(PATH, columns="hrt")
