import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kb.errors import KnowledgeError
from retrieval.embedding import SentenceEncoder

SENTENCES = [
    "cat is capable of hunting mice",
    "dog",
    "an umbrella is used for keeping dry on a long walk through the old town when it rains all day",
    "dog",
    "ice cream can melt",
    "CAT is capable of hunting mice!",
]


@pytest.fixture(scope="module")
def exact() -> SentenceEncoder:
    return SentenceEncoder(dtype="float32")


@pytest.fixture(scope="module")
def reference(exact: SentenceEncoder) -> NDArray[np.float32]:
    """What sentence-transformers itself says of SENTENCES."""
    from sentence_transformers import SentenceTransformer

    found: NDArray[np.float32] = SentenceTransformer(str(exact.folder)).encode(SENTENCES)
    return found


def cosines(left: NDArray[np.float16], right: NDArray[np.float32]) -> NDArray[np.float32]:
    left32 = left.astype(np.float32)
    return (left32 * right).sum(1) / np.linalg.norm(left32, axis=1) / np.linalg.norm(right, axis=1)


def test_float32_equals_sentence_transformers(exact: SentenceEncoder, reference: NDArray[np.float32]) -> None:
    vectors = exact.encode(SENTENCES, batch=2)
    assert (vectors.shape, vectors.dtype) == ((6, exact.dimension), np.float16)
    assert cosines(vectors, reference).min() >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=1e-3)


def test_bfloat16_is_close_to_it(reference: NDArray[np.float32]) -> None:
    assert cosines(SentenceEncoder().encode(SENTENCES), reference).min() >= 0.999


def test_rows_are_in_the_order_of_the_texts(exact: SentenceEncoder) -> None:
    forwards, backwards = exact.encode(SENTENCES), exact.encode(SENTENCES[::-1])
    np.testing.assert_allclose(forwards.astype(np.float32), backwards[::-1].astype(np.float32), atol=2e-3)
    np.testing.assert_array_equal(forwards[1], forwards[3])
    assert not np.allclose(forwards[0], forwards[1], atol=0.01)


def test_equal_texts_are_embedded_once(exact: SentenceEncoder) -> None:
    done: list[int] = []
    exact.encode(SENTENCES, batch=2, progress=done.append)
    assert done == [3, 2, 1]  # five different texts, one of them twice


def test_no_text_gives_no_row(exact: SentenceEncoder) -> None:
    assert exact.encode([]).shape == (0, exact.dimension)


def test_checksum_is_that_of_the_weights_file(exact: SentenceEncoder) -> None:
    assert exact.folder is not None
    assert exact.sha256 == hashlib.sha256((exact.folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_folder_is_an_encoder_too(exact: SentenceEncoder) -> None:
    assert SentenceEncoder(str(exact.folder)).sha256 == exact.sha256


@pytest.mark.parametrize("name", ["no_such_encoder", "no/such/encoder", "folder"])
def test_an_unknown_encoder_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()  # one that holds no model
    with pytest.raises(
        KnowledgeError, match=f"encoder {name} cannot be loaded .*installed package, a folder"
    ) as caught:
        SentenceEncoder(name).encode(["cat"])
    assert "\n" not in str(caught.value)
