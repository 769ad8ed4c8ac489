import subprocess
import sys

import pytest

from kb import lemmas as module
from kb.errors import KnowledgeError
from kb.lemmas import lemmas, lemmatise


@pytest.mark.parametrize(
    ("text", "lemma"),
    [
        ("The Traffic_Lights!", "the traffic light"),
        ("two (old) dogs.", "two old dog"),
        ("dog's \u201cbowl\u201d", "dog bowl"),
        ("C++ and 50%", "c++ and 50%"),
        ("x-ray mice", "x-ray mouse"),
        ("?! ...", ""),
        ("", ""),
    ],
)
def test_lemmatise(text: str, lemma: str) -> None:
    assert lemmatise(text) == lemma


def test_articles_go_on_request_only() -> None:
    assert lemmas("The cup on a table", drop_articles=True) == ["cup", "on", "table"]
    assert lemmas("The cup") == ["the", "cup"]
    assert lemmas("A", drop_articles=True) == ["a"]


def test_agrees_with_the_lookup_lemmatizer_of_spacy() -> None:
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("en")
    pipeline.add_pipe("lemmatizer", config={"mode": "lookup"})
    pipeline.initialize()
    text = "two children sitting left of buses with knives while wolves ate better leaves in glasses"
    assert lemmas(text) == [token.lemma_ for token in pipeline(text)]


def test_import_is_cheap() -> None:
    code = "import sys, kb.lemmas; print([m for m in ('spacy', 'spacy_lookups_data', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_missing_table_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_package(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(module, "files", no_package)
    module._table.cache_clear()
    with pytest.raises(KnowledgeError, match="pip install spacy-lookups-data"):
        lemmatise("dogs")
    module._table.cache_clear()
