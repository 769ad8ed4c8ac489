"""The download script against a server on 127.0.0.1 that can resume, break off, change its file and refuse."""

import hashlib
import importlib.util
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from kvqa.data.published import File
from kvqa.errors import InputError

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "download_data.py"
spec = importlib.util.spec_from_file_location("download_data", SCRIPT)
assert spec is not None and spec.loader is not None
download_data = importlib.util.module_from_spec(spec)
spec.loader.exec_module(download_data)

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server gives and what it was asked.

    Attributes:
        files: Content by path.
        tag: ETag of everything; "" sends none.
        cut: Break off after this many bytes of a body, as often as `cuts` says.
        status: Answer with this status in place of the file, as often as `refusals` says.
        asked: The Range header of each request, "" where there is none.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: {"/file.bin": CONTENT})
    tag: str = '"one"'
    cut: int = 0
    cuts: int = 0
    status: int = 0
    refusals: int = 0
    ranges: bool = True
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append(wanted)
            if state.refusals:
                state.refusals -= 1
                self.send_error(state.status)
                return
            if self.path not in state.files:
                self.send_error(404)
                return
            self._give(state.files[self.path], wanted)

        def _give(self, body: bytes, wanted: str) -> None:
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            if start and self.headers.get("If-Range") == state.tag:
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                body = body[start:]
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            if state.tag:
                self.send_header("ETag", state.tag)
            self.end_headers()
            if state.cuts:
                state.cuts -= 1
                body = body[: state.cut]
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def fetch(server: Server, target: Path, *, sha256: str = "") -> str:
    digest: str = download_data.fetch(f"{server.address}/file.bin", target, sha256=sha256, pause=0)
    return digest


def test_a_file_is_fetched_with_progress(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    target = tmp_path / "new" / "file.bin"
    digest = download_data.fetch(f"{server.address}/file.bin", target, advance=lambda *both: told.append(both))
    assert (digest, target.read_bytes(), told[-1]) == (DIGEST, CONTENT, (len(CONTENT), len(CONTENT)))
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_a_connection_that_breaks_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cut, server.cuts = 4000, 2
    assert fetch(server, tmp_path / "file.bin", sha256=DIGEST) == DIGEST
    assert server.asked == ["", "bytes=4000-", "bytes=8000-"]


def test_a_later_call_goes_on_where_the_last_stopped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    (tmp_path / "file.bin.part.tag").write_text('"one"', encoding="utf-8")
    assert fetch(server, tmp_path / "file.bin") == DIGEST
    assert server.asked == ["bytes=1000-"]


def test_a_call_that_was_stopped_before_renaming_fetches_nothing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    (tmp_path / "file.bin.part.tag").write_text('"one"', encoding="utf-8")
    assert fetch(server, tmp_path / "file.bin", sha256=DIGEST) == DIGEST


@pytest.mark.parametrize("change", ["tag", "no ranges", "no tag kept", "shorter"])
def test_another_file_or_server_begins_anew(server: Server, tmp_path: Path, change: str) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"old" * 5000)
    if change != "no tag kept":
        (tmp_path / "file.bin.part.tag").write_text('"old"' if change == "tag" else '"one"', encoding="utf-8")
    server.ranges = change != "no ranges"
    assert fetch(server, tmp_path / "file.bin") == DIGEST


def test_a_wrong_checksum_keeps_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"has sha256 {DIGEST}; expected 00"):
        fetch(server, tmp_path / "file.bin", sha256="00" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_busy_server_is_asked_again_and_a_refusal_is_final(server: Server, tmp_path: Path) -> None:
    server.status, server.refusals = 503, 2
    assert fetch(server, tmp_path / "file.bin") == DIGEST
    with pytest.raises(InputError, match=r"answers 404 .*; look at its page"):
        download_data.fetch(f"{server.address}/none", tmp_path / "none", pause=0)
    server.refusals = 99
    with pytest.raises(InputError, match=r"cannot be fetched \(503 .*; try again later"):
        fetch(server, tmp_path / "again.bin")
    assert server.refusals == 99 - 5


def test_only_addresses_of_the_web_are_fetched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected http or https"):
        download_data.fetch("file:///etc/hostname", tmp_path / "file")


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _tar(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def test_a_data_set_is_fetched_unpacked_and_placed(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = {"__MACOSX/a.json": b"fork", "v1/a.json": b"[1]", "../b.json": b"[2]", "other.txt": b"x"}
    server.files |= {"/both.zip": _zip(members), "/c.tar.gz": _tar({"deep/c.json": b"[3]"}), "/d.json": b"[4]"}
    files = [
        File(("a.json",), "a", f"{server.address}/both.zip", ("train",), direct=True),
        File(("sub/b.json", "b.json"), "b", f"{server.address}/both.zip", ("val",), direct=True),
        File(("c.json",), "c", f"{server.address}/c.tar.gz", ("val",), direct=True),
        File(("d.json",), "d", f"{server.address}/d.json", direct=True, sha256=hashlib.sha256(b"[4]").hexdigest()),
        File(("e.json",), "e", "https://terms.example", ("val",)),
    ]
    download_data.download(files, tmp_path / "out", console=Console(width=200))
    found = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == {"a.json": b"[1]", "sub/b.json": b"[2]", "c.json": b"[3]", "d.json": b"[4]"}
    assert not (tmp_path / "out" / ".download").exists()
    said = capsys.readouterr().out
    assert "by hand: e.json (e): https://terms.example" in said
    assert f"c.tar.gz: sha256 {hashlib.sha256(server.files['/c.tar.gz']).hexdigest()} (none is recorded)" in said
    asked = len(server.asked)
    download_data.download(files, tmp_path / "out", console=Console(quiet=True))
    assert len(server.asked) == asked  # what is there is left alone
    download_data.download(files, tmp_path / "train", splits=["train"], console=Console(quiet=True))
    assert [path.name for path in (tmp_path / "train").iterdir()] == ["a.json"]


def test_an_archive_without_the_file_or_no_archive_is_an_error(server: Server, tmp_path: Path) -> None:
    server.files |= {"/a.zip": _zip({"b.json": b""}), "/b.zip": b"no zip"}
    for name, message in (("a", r"a\.zip has no a\.json"), ("b", r"b\.zip cannot be unpacked")):
        file = File((f"{name}.json",), name, f"{server.address}/{name}.zip", direct=True)
        with pytest.raises(InputError, match=message):
            download_data.download([file], tmp_path, console=Console(quiet=True))


def test_an_archive_that_is_wanted_whole_stays_packed(server: Server, tmp_path: Path) -> None:
    server.files["/photos.tar"] = _tar({"a.png": b""})
    file = File(("photos.tar",), "photos", f"{server.address}/photos.tar", direct=True)
    download_data.download([file], tmp_path, console=Console(quiet=True))
    assert (tmp_path / "photos.tar").read_bytes() == server.files["/photos.tar"]


def test_the_script_lists_data_sets_and_names_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["download_data.py", "--list"])
    assert download_data.main() == 0
    assert "vqa2            direct" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["download_data.py", "nothing"])
    assert download_data.main() == 2
    assert "there is no data set 'nothing'" in capsys.readouterr().err
