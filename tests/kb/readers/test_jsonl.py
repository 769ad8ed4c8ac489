import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kb.readers.jsonl import read
from kb.readers.packing import is_packed
from kb.readers.reject import Reject
from kb.triple import Triple


def items(path: Path, content: bytes | str) -> list[Triple | Reject]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read(path, source="test"))


def test_all_names_of_the_keys(tmp_path: Path) -> None:
    content = (
        '{"head": "my_mug", "relation": "/r/AtLocation", "tail": "office", "surface": "My mug is in\\nthe office."}\n'
        '\n{"subject": "dog", "predicate": "is-a", "object": "animal", "weight": 2, "surface": ""}\n'
        '{"h": "cat", "r": "Desires", "t": "milk", "surface": 7}'
    )
    assert items(tmp_path / "f.jsonl", content) == [
        Triple("my mug", "AtLocation", "office", source="test", line=1, surface="My mug is in the office."),
        Triple("dog", "IsA", "animal", source="test", line=3),
        Triple("cat", "Desires", "milk", source="test", line=4),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ('["head"]', "is a JSON list, not an object"),
        ('{"head": "a", "relation": "IsA"}', "has no tail; allowed keys: tail, object, t"),
        ('{"head": 3, "relation": "IsA", "tail": "b"}', "head: is int, not text"),
        ('{"head": "a", "relation": " ", "tail": "b"}', "relation: the text is empty"),
        ('{"head": "a", "relation": "IsA", "tail": "\\u0000"}', "tail: the text holds a NUL"),
        ('{"head": "\\ud800", "relation": "IsA", "tail": "b"}', "head: the text holds half a surrogate pair"),
        ("[" * 100_000, "not JSON"),
        ("9" * 10_000, "not JSON"),
    ],
)
def test_broken_lines(tmp_path: Path, line: str, reason: str) -> None:
    bad, good = items(tmp_path / "f.jsonl", line + '\n{"h": "a", "r": "IsA", "t": "b"}\n')
    assert isinstance(bad, Reject)
    assert bad.line == 1
    assert bad.reason.startswith(reason)
    assert isinstance(good, Triple)


GARBAGE = st.binary(max_size=60).map(lambda junk: junk.replace(b"\n", b""))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(GARBAGE, max_size=8))
def test_no_garbage_hides_a_good_line(tmp_path: Path, junk: list[bytes]) -> None:
    assume(not junk or not is_packed(junk[0]))
    good = json.dumps({"head": "a", "relation": "IsA", "tail": "b"}).encode()
    found = items(tmp_path / "f.jsonl", b"".join(line + b"\n" + good + b"\n" for line in junk))
    lines = {item.line for item in found if isinstance(item, Triple)}
    assert lines == {2 * number + 2 for number in range(len(junk))}
