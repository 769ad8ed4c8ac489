import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from kvqa.errors import InputError
from kvqa.vision import detector_file
from kvqa.vision.detector_file import cache_path, describe_file, fetch_detector, find_detector

CONTENT = b"stands for the network"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without data and without cache."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KVQA_DATA", raising=False)
    return tmp_path / "home"


def _put(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return path


def test_the_option_comes_first_then_the_data_then_the_cache(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = _put(home / ".cache" / "kvqa" / "yolox_nano.onnx")
    assert find_detector() == cached == cache_path()
    monkeypatch.setenv("KVQA_DATA", str(tmp_path / "store"))
    assert find_detector() == cached
    flat = _put(tmp_path / "store" / "weights" / "yolox_nano.onnx")
    assert find_detector() == flat
    deep = _put(tmp_path / "store" / "data" / "weights" / "yolox_nano.onnx")
    assert find_detector() == deep
    assert find_detector(flat) == flat


def test_without_a_detector_the_message_names_three_ways() -> None:
    with pytest.raises(InputError, match="no detector found") as caught:
        find_detector()
    for way in ("kvqa fetch-detector", "--detector FILE", "KVQA_DATA"):
        assert way in str(caught.value)


def test_a_wrong_option_is_not_replaced_by_another_file(tmp_path: Path, home: Path) -> None:
    _put(home / ".cache" / "kvqa" / "yolox_nano.onnx")
    with pytest.raises(InputError, match=r"--detector .*typo\.onnx is not a file"):
        find_detector(tmp_path / "typo.onnx")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Address of a file that a server on this machine gives out."""
    _put(tmp_path / "served" / "net.onnx")
    handler = functools.partial(_Quiet, directory=str(tmp_path / "served"))
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/net.onnx"
        server.shutdown()


def test_fetch_writes_to_the_cache_and_is_found_there(url: str) -> None:
    assert fetch_detector(url=url, sha256=SHA256) == cache_path() == find_detector()
    assert describe_file(cache_path()) == f"{len(CONTENT)} bytes, sha256 {SHA256}"


def test_fetch_takes_a_file_or_a_folder(url: str, tmp_path: Path) -> None:
    assert fetch_detector(tmp_path / "my.onnx", url=url, sha256=SHA256) == tmp_path / "my.onnx"
    assert fetch_detector(tmp_path, url=url, sha256=None) == tmp_path / "yolox_nano.onnx"


def test_fetch_leaves_nothing_of_a_file_with_another_hash(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"could not be fetched .*hash.*download it by hand") as caught:
        fetch_detector(tmp_path / "my.onnx", url=url)  # the default hash is that of the official file
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "my.onnx").exists()


def test_fetch_without_a_network_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"could not be fetched from http://127\.0\.0\.1:9/x .*--detector FILE"):
        fetch_detector(tmp_path / "my.onnx", url="http://127.0.0.1:9/x")
    assert len(detector_file.OFFICIAL_SHA256) == 64
