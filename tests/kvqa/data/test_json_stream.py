import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from kvqa.data import json_stream
from kvqa.data.json_stream import list_items, members
from kvqa.errors import InputError

RECORDS: list[Any] = [{"a": [1, 2, {"b": "]},"}]}, 'text \\ " é', 12, -1.5e3, [], None, {"long": "x" * 200}]


def write(tmp_path: Path, content: Any, *, packed: bool = False) -> Path:
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize("packed", [False, True])
def test_it_reads_what_json_reads(tmp_path: Path, chunk: int, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = write(tmp_path, {"info": {"n": [1]}, "items": RECORDS, "after": 1}, packed=packed)
    assert list(list_items(path, "items")) == [(f"items {n}", r) for n, r in enumerate(RECORDS, start=1)]
    by_key = {str(number): record for number, record in enumerate(RECORDS)}
    assert dict(members(write(tmp_path, by_key, packed=packed))) == by_key
    assert [item for _, item in list_items(write(tmp_path, RECORDS, packed=packed))] == RECORDS


def test_nothing_is_read_as_nothing(tmp_path: Path) -> None:
    assert list(list_items(write(tmp_path, []))) == []
    assert list(members(write(tmp_path, {}))) == []
    assert list(list_items(write(tmp_path, {"items": []}), "items")) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"items": [1, 2', "after items 2: found the end of the file where one of , ] belongs"),
        ('{"items": [1, {"a": }]}', "after items 1: not whole JSON"),
        ('{"other": []}', "the key 'items' is missing"),
        ("[1]", r"found '\[' where one of { belongs"),
        ("{1: 2}", "found 1 where a key belongs"),
        ("", "found the end of the file"),
    ],
)
def test_what_is_not_of_that_form_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(list_items(write(tmp_path, content), "items"))


def test_a_cut_gzip_file_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, {"items": RECORDS * 50}, packed=True)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match=r"cannot be read .*fetch the file again"):
        list(list_items(path, "items"))
    with pytest.raises(InputError, match=r"after k: found the end of the file"):
        list(members(write(tmp_path, '{"k": 1')))
