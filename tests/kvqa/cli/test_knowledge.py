import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kb.paths import MAX_STEPS
from kvqa.cli import app
from kvqa.cli.knowledge import path


def run(kb: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["kb", *map(str, arguments), "--kb", str(kb)])


def printed(kb: Path, *arguments: object) -> str:
    """Return what a command prints, with all white space as single spaces."""
    result = run(kb, *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.stdout.split())


def read_json(kb: Path, *arguments: object) -> Any:
    return json.loads(printed(kb, *arguments, "--json"))


def test_stats(small_kb: Path) -> None:
    assert read_json(small_kb, "stats")["facts"] == 10
    shown = printed(small_kb, "stats", "--limit", 2)
    for part in ("10 facts, 14 entities, 5 relations", "Relations, the first 2 of 5", "small not stated 10", "cat 4"):
        assert part in shown


def test_find(small_kb: Path) -> None:
    found = read_json(small_kb, "find", "cats")
    assert found["matches"] == [{"entity": {"id": 0, "text": "cat", "facts": 4}, "how": "dictionary form"}]
    assert "7 more; --limit shows them" in printed(small_kb, "find", "i", "--limit", 1)
    assert "no name contains 'xyz'" in printed(small_kb, "find", "xyz")


def test_show(small_kb: Path) -> None:
    groups = read_json(small_kb, "show", "animal")["groups"]
    assert [fact["text"] for fact in groups[0]["facts"]] == ["cat is an animal", "dog is an animal"]
    assert groups[0]["facts"][0]["origins"] == [{"source": "small", "line": 3, "surface": None}]
    assert "animal: 2 facts … IsA animal 1 of 2 cat small:3" in printed(small_kb, "show", "animal", "--limit", 1)


def test_path(small_kb: Path) -> None:
    steps = read_json(small_kb, "path", "dog", "cat")["paths"][0]
    assert [(step["fact"]["text"], step["forward"]) for step in steps] == [
        ("dog is an animal", True),
        ("cat is an animal", False),
    ]
    shown = printed(small_kb, "path", "dog", "cat")
    assert shown == "dog —IsA→ animal ←IsA— cat dog is an animal small:6 cat is an animal small:3"
    assert "no path of at most 2 facts" in printed(small_kb, "path", "cup", "cat", "--max-hops", 2)


def test_a_stopped_search_for_paths_is_told(small_kb: Path) -> None:
    ask = ("path", "dog", "whiskers", "--max-expanded", 2)
    result = run(small_kb, *ask, "--json")
    found = json.loads(result.stdout)
    assert (found["complete"], found["expanded"], found["paths"]) == (False, 2, [])
    assert result.stderr == "stopped after 2 expanded entities; there may be more paths, see --max-expanded\n"
    assert "no path of at most 4 facts between 'dog' and 'whiskers' was found" in printed(small_kb, *ask)
    assert read_json(small_kb, "path", "dog", "whiskers")["complete"]
    assert inspect.signature(path).parameters["max_expanded"].default == MAX_STEPS


def test_search(small_kb: Path) -> None:
    (hit,) = read_json(small_kb, "search", "catch mice", "--limit", 1)
    assert hit["fact"]["head"] == "cat" and 0 < hit["score"] <= 1
    assert "cat can hunting mice small:2" in printed(small_kb, "search", "catch mice")


def test_export(small_kb: Path, tmp_path: Path) -> None:
    graphml, parquet, ntriples = (tmp_path / name for name in ("facts.graphml", "facts.parquet", "facts.nt"))
    printed(small_kb, "export", "--graphml", graphml, "--parquet", parquet, "--ntriples", ntriples, "--quiet")
    import networkx
    import pyarrow.parquet

    assert networkx.read_graphml(graphml).number_of_edges() == 10
    assert pyarrow.parquet.read_metadata(parquet).num_rows == 10
    assert len(ntriples.read_text().splitlines()) == 10 + 14 + 5, "facts, and a label for each entity and relation"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "ctas"), "no entity 'ctas' in "),
        (("show", "ctas"), "nearest spellings: 'cat'; look for parts of names with: kvqa kb find"),
        (("path", "cat", "unicorn"), "no entity 'unicorn'"),
        (("search", " "), "cannot look for ' '"),
        (("export",), "nothing to export to; give --graphml FILE"),
    ],
)
def test_what_cannot_be_done_is_one_line(small_kb: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(small_kb, *arguments)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr


def test_a_missing_knowledge_base_is_named(tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere", "stats")
    assert result.exit_code == 2 and "nowhere does not exist; build one: kvqa index-kb" in result.stderr
