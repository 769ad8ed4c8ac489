from pathlib import Path

from kb.readers import detect_format
from kb.readers.reject import Reject
from kb.readers.sentences import looks_like_sentences, read
from kb.triple import text_fact

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kb"


def test_each_line_is_a_fact() -> None:
    assert list(read(FIXTURES / "sentences.txt", source="notes")) == [
        text_fact("A zither has many strings.", source="notes", line=1),
        text_fact("It is played with a plectrum!", source="notes", line=3),
    ]


def test_broken_lines(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"caf\xe9 is closed.\nA NUL \x00 here.\n_\nCats sleep.\n")
    *bad, good = read(path, source="notes")
    assert good == text_fact("Cats sleep.", source="notes", line=4)
    assert [item.reason for item in bad if isinstance(item, Reject)] == [
        "not UTF-8 at byte 3 of the line",
        "the text holds a NUL character",
        "the text is empty",
    ]


def test_recognition(tmp_path: Path) -> None:
    assert looks_like_sentences(["Cats, dogs, and mice eat.", 'He said "no."', "A heading"])
    assert not looks_like_sentences(["dog,IsA,animal", "dog\tIsA\tan animal."])
    path = tmp_path / "notes.txt"
    path.write_text("no full stop\nanywhere here\n")
    assert detect_format(path) == "sentences"
    path.write_text("dog,IsA,animal\n")
    assert detect_format(path) == "triples"
