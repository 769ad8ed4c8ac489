import io

import pytest
from rich.console import Console

from kvqa.progress import build_progress


def test_each_step_is_a_bar_and_is_finished_when_the_next_begins() -> None:
    stream = io.StringIO()
    with build_progress(Console(file=stream, width=100)) as progress:
        progress("reading facts", 5000, 0)
        progress("embedding facts", 10, 40)
        progress("embedding facts", 40, 40)
        progress("indexing facts", 0, 0)
    lines = [line for line in stream.getvalue().splitlines() if line.strip()]
    assert [line.split("━")[0].strip() for line in lines] == ["reading facts", "embedding facts", "indexing facts"]
    assert "5000/5000" in lines[0] and "40/40" in lines[1] and "1/1" in lines[2]


def test_before_the_first_step_nothing_is_printed() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError, match="early"), build_progress(Console(file=stream)):
        raise ValueError("early")
    assert stream.getvalue() == ""
