"""Whatever stands in a record, a reader gives examples or an InputError of one line, never another exception."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvqa.data.datasets import DATASETS, Dataset
from kvqa.errors import InputError

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
JSON_FILES = sorted(path.relative_to(FIXTURES) for name in DATASETS for path in (FIXTURES / name).rglob("*.json*"))
ROUNDS = 15
WRONG: tuple[Any, ...] = (None, True, -1, 10**30, 0.5, "", "\n", "ü \x00", [], {}, [[]], ["x"], {"x": [1]}, [None] * 4)


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield container and key of every value in parsed JSON."""
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    for key, value in items:
        yield node, key
        yield from places(value)


def damaged(text: str, rng: random.Random) -> str:
    """Return the document, or the document of each line, with one value replaced or one key dropped."""
    try:
        documents, by_line = [json.loads(text)], False
    except ValueError:
        documents, by_line = [json.loads(line) for line in text.splitlines()], True
    container, key = rng.choice([place for document in documents for place in places(document)])
    if isinstance(container, dict) and rng.random() < 0.2:
        del container[key]
    else:
        container[key] = rng.choice(WRONG)
    return "\n".join(json.dumps(document, indent=None if by_line else 1) for document in documents)


@pytest.mark.parametrize("file", JSON_FILES, ids=str)
def test_only_input_errors(file: Path, tmp_path: Path) -> None:
    name = file.parts[0]
    shutil.copytree(FIXTURES / name, tmp_path / name)
    text = (FIXTURES / file).read_text(encoding="utf-8")
    rng = random.Random(0)
    for _ in range(ROUNDS):
        broken = damaged(text, rng)
        (tmp_path / file).write_text(broken, encoding="utf-8")
        for split in DATASETS[name].splits:
            try:
                for example in Dataset(name, tmp_path / name).iterate(split.name):
                    assert hash(example) and DATASETS[name].keys(example)
            except InputError as error:
                assert "\n" not in str(error), broken
