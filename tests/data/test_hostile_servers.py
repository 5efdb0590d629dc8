"""Servers that are slow, broken or hostile: a download ends soon, in one line, and leaves nothing behind."""

import gzip
import hashlib
import http.server
import io
import os
import socketserver
import struct
import threading
import time
import zipfile

import pytest

from refrain.data.archive import LARGEST_DIRECTORY, extract
from refrain.data.download import MOST_REDIRECTIONS, Patience
from refrain.data.fetch import fetch
from refrain.data.known import KNOWN, KnownCorpus, Remote
from refrain.errors import DataError

CONTENT = b"ant bee cat\n" * 100
PATIENCE = Patience(silence_seconds=0.4, whole_seconds=0.8, slowest_rate=1e12, report_seconds=0.1)
# of the clock: far more than the times above, far less than for ever
SECONDS = 20


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the first part of the path."""

    protocol_version = "HTTP/1.0"

    def do_GET(self):
        kind = self.path.split("/")[1]
        with_body = {
            "right": [(b"Content-Length", b"%d" % len(CONTENT))],
            "no-length": [],
            "gzip": [(b"Content-Encoding", b"gzip")],
            "says-more": [(b"Content-Length", b"1000000000000")],
            "says-little": [(b"Content-Length", b"3")],
            "says-nonsense": [(b"Content-Length", b"9" * 10_000)],
            "wrong": [],
        }
        try:
            if kind in with_body:
                self.raw(200, with_body[kind], {"gzip": gzip.compress(CONTENT), "wrong": b"x"}.get(kind, CONTENT))
            else:
                getattr(self, kind.replace("-", "_"))()
        except OSError:
            # the other side has left, which is the point
            pass

    def raw(self, status, headers=(), body=b""):
        lines = [b"HTTP/1.0 %d because" % status, *(name + b": " + value for name, value in headers), b"", b""]
        self.wfile.write(b"\r\n".join(lines) + body)

    def log_message(self, *arguments):
        pass

    def gone(self):
        self.raw(404)

    def broken(self):
        self.raw(500)

    def nothing(self):
        self.raw(204)

    def partial(self):
        self.raw(206, [(b"Content-Range", b"bytes 0-9/1200")], CONTENT[:10])

    def cut(self):
        self.raw(200, [(b"Content-Length", b"1200")], CONTENT[:10])

    def garbage(self):
        self.wfile.write(bytes(range(256)) * 10)

    def silent(self):
        self.server.closing.wait(SECONDS)

    def drip(self, start=b"HTTP/1.0 200 OK\r\n\r\n", drop=b"a"):
        self.wfile.write(start)
        while not self.server.closing.wait(0.05):
            self.wfile.write(drop)

    def dripping_status(self):
        self.drip(b"HTTP/1.0 2")

    def dripping_header(self):
        self.drip(b"HTTP/1.0 200 OK\r\nX: ")

    def endless_headers(self):
        self.wfile.write(b"HTTP/1.0 200 OK\r\n")
        while not self.server.closing.is_set():
            self.wfile.write(b"X: y\r\n" * 1000)

    def long_header(self):
        self.raw(200, [(b"X", b"y" * 10_000_000)], CONTENT)

    def huge(self):
        self.raw(200)
        while not self.server.closing.is_set():
            self.wfile.write(b"a" * 100_000)

    def redirect(self):
        kind = self.path.split("/")[2]
        loop = f"/redirect/loop/{self.path.count('x') * 'x'}x/a.txt"
        to = {
            "file": f"file://{__file__}",
            "ftp": "ftp://127.0.0.1/a.txt",
            "data": "data:text/plain,hello",
            "nowhere": "",
            "control": "/right/a.txt\x01\x1b[31m",
            "right": "/right/a.txt",
            "loop": loop,
            "long": "/" + "x" * 60_000,
        }[kind]
        self.raw(302, [(b"Location", to.encode("latin-1"))])


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    closing: threading.Event

    def handle_error(self, request, client_address):
        pass


@pytest.fixture(scope="module")
def server():
    with Server(("127.0.0.1", 0), Handler) as running:
        running.closing = threading.Event()
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.closing.set()
            running.shutdown()
            thread.join()


@pytest.fixture
def known(monkeypatch, tmp_path):
    """A corpus of one file, of which a server can send at most twice its size."""
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    # a server on this machine is not asked for through a proxy, which could not reach it
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    remote = Remote("http://unused/a.txt", hashlib.sha256(CONTENT).hexdigest(), "a.txt", largest=2 * len(CONTENT))
    monkeypatch.setitem(KNOWN, "mine", KnownCorpus("A corpus", "word", "none", (remote,)))


@pytest.mark.parametrize("kind", ["right", "no-length", "says-nonsense", "redirect/right", "redirect/control"])
def test_what_is_right_is_kept(server, known, tmp_path, kind):
    folder = fetch("mine", to=tmp_path / "mine", base_url=f"{server}/{kind}", patience=PATIENCE)
    assert [path.name for path in folder.iterdir()] == ["a.txt"] and (folder / "a.txt").read_bytes() == CONTENT


HOSTILE = {
    "gone": "cannot be fetched (",
    "broken": "cannot be fetched (",
    "nothing": "cannot be fetched (the server answers 204 because)",
    "partial": "cannot be fetched (the server answers 206 because)",
    "cut": "cannot be fetched (the connection ended after 10 of 1,200 bytes)",
    "garbage": "cannot be fetched (",
    "silent": "cannot be fetched (",
    "drip": "cannot be fetched (not complete after 1 s, with ",
    "dripping-status": "cannot be fetched (not complete after 1 s, with 0 bytes)",
    "dripping-header": "cannot be fetched (not complete after 1 s, with 0 bytes)",
    "endless-headers": "cannot be fetched (got more than 100 headers)",
    "long-header": "cannot be fetched (got more than 65536 bytes when reading header line)",
    "huge": "cannot be fetched (it is larger than the 2,400 bytes that it should have at most)",
    "says-more": "cannot be fetched (it has 1,000,000,000,000 bytes, more than the 2,400 that it should have at most)",
    "says-little": ": sha256 is ",
    "gzip": ": sha256 is ",
    "wrong": ": sha256 is ",
    "redirect/file": "cannot be fetched (because - Redirection to url 'file:///",
    "redirect/ftp": "cannot be fetched (redirected to ftp://127.0.0.1/a.txt, which is not on a web server)",
    "redirect/data": "cannot be fetched (because - Redirection to url 'data:text/plain,hello' is not allowed)",
    "redirect/nowhere": "cannot be fetched (",
    "redirect/loop": "cannot be fetched (",
    "redirect/long": "cannot be fetched (",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_a_server_does_it_ends_and_leaves_nothing(server, known, tmp_path, kind):
    url = f"{server}/{kind}"
    said = []
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        fetch("mine", to=tmp_path / "mine", base_url=url, log=said.append, patience=PATIENCE)
    assert time.monotonic() - start < SECONDS
    message = str(caught.value)
    assert message.startswith(f"{url}/a.txt: ") and HOSTILE[kind] in message
    assert message.isprintable() and len(message) < 700
    assert "was not kept" in message or "get the file by other means and give its folder with --data" in message
    assert list(tmp_path.iterdir()) == []
    assert said[0] == f"fetching {url}/a.txt"


def test_few_redirections_are_followed(server, known, tmp_path, monkeypatch):
    asked = []
    answer = Handler.redirect
    monkeypatch.setattr(Handler, "redirect", lambda self: (asked.append(self.path), answer(self)))
    with pytest.raises(DataError):
        fetch("mine", to=tmp_path / "mine", base_url=f"{server}/redirect/loop", patience=PATIENCE)
    assert len(asked) == 1 + MOST_REDIRECTIONS


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_a_pipe_in_the_place_of_a_local_mirror_is_not_waited_for(known, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    os.mkfifo(mirror / "a.txt")
    with pytest.raises(DataError, match=r"cannot be fetched \(.*is a pipe, not a file"):
        fetch("mine", to=tmp_path / "mine", base_url=mirror.as_uri(), patience=PATIENCE)
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]


def bundle(*members, compression=zipfile.ZIP_DEFLATED):
    """An archive of pairs of a name (or a ZipInfo) and a content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


def special(name, mode, target=b"/etc/passwd"):
    """A member whose Unix mode is that of a link, a device or a pipe."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info, target


def lying(size):
    """An archive that gives another size of the content than it has."""
    packed = bytearray(bundle(("a", b"x" * 5000)))
    real = struct.pack("<I", 5000)
    at = packed.rindex(real)
    packed[at : at + 4] = struct.pack("<I", size)
    return bytes(packed)


def with_name(old, new):
    assert len(old) == len(new)
    return bundle(("a", b"right"), (old.decode(), b"wrong")).replace(old, new)


def of_many():
    """A list of a million members, as its end declares; the rest may be missing."""
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 64_000_000, 0, 0)
    return bundle(("a", b"right"))[:-22] + end


RIGHT = ("a", b"right")
HARMLESS = {
    "a path upwards": bundle(("../evil", b"wrong"), RIGHT, ("../../evil", b"wrong")),
    "an absolute path": bundle(("/tmp/refrain-evil", b"wrong"), RIGHT, ("C:\\evil", b"wrong")),
    "a link": bundle(special("link", 0o120777), ("link/evil", b"wrong"), RIGHT),
    "a device": bundle(special("device", 0o020666), RIGHT),
    "a pipe": bundle(special("pipe", 0o010666), RIGHT),
    "names that differ in case": bundle(("A", b"wrong"), RIGHT, ("A/", b"")),
    "a reserved name": bundle(("NUL", b"wrong"), ("con.txt", b"wrong"), RIGHT),
    "NUL in a name": with_name(b"bXb", b"b\0b"),
    "a folder of the name of the target": bundle(("out.txt/", b""), ("out.txt/evil", b"wrong"), RIGHT),
    "a bomb beside it": bundle(RIGHT, ("bomb", b"0" * 5_000_000)),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_only_the_named_member_is_written(tmp_path, write, name):
    archive = write("in/.download", HARMLESS[name])
    extract(archive, "a", tmp_path / "out.txt", 1000)
    assert (tmp_path / "out.txt").read_bytes() == b"right"
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["in", "in/.download", "out.txt"]
    assert not os.path.exists("/tmp/refrain-evil")


def test_a_member_that_is_a_link_is_written_as_a_file(tmp_path, write):
    extract(write("in/.download", bundle(special("a", 0o120777))), "a", tmp_path / "out.txt", 1000)
    assert (tmp_path / "out.txt").read_bytes() == b"/etc/passwd" and not (tmp_path / "out.txt").is_symlink()


REFUSED = {
    "no member": (bundle(("b", b"wrong")), "There is no item named 'a' in the archive"),
    "a bomb": (bundle(("a", b"0" * 5_000_000)), "a has 5,000,000 bytes, more than the 1,000"),
    "a size that is too small": (lying(10), "Bad CRC-32"),
    "a size that is too large": (lying(900), "Bad CRC-32"),
    "4 GiB": (lying(0xFFFFFFFE), "a has 4,294,967,294 bytes, more than the 1,000"),
    "a million members": (of_many(), f"its list of members has more than {LARGEST_DIRECTORY:,} bytes"),
    "no archive": (b"plain text", "File is not a zip file"),
    "nothing": (b"", "File is not a zip file"),
    "half an archive": (bundle(RIGHT)[:-30], "File is not a zip file"),
    "damaged content": (bundle(RIGHT, compression=zipfile.ZIP_STORED).replace(b"right", b"wrong"), "Bad CRC-32"),
    "an unknown compression": (bundle(RIGHT).replace(b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0"), "compression"),
    "encrypted": (bundle(RIGHT).replace(b"\x14\0\0\0\x08\0", b"\x14\0\1\0\x08\0"), "encrypted"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_archive_that_is_not_right_is_refused(tmp_path, write, name):
    content, cause = REFUSED[name]
    with pytest.raises(DataError) as caught:
        extract(write("in/.download", content), "a", tmp_path / "out.txt", 1000)
    assert cause in str(caught.value) and str(caught.value).isprintable()
    written = (tmp_path / "out.txt").stat().st_size if (tmp_path / "out.txt").exists() else 0
    assert written <= 1000


def test_a_refused_archive_leaves_nothing(server, known, tmp_path, monkeypatch):
    remote = Remote("unused/a.txt", hashlib.sha256(CONTENT).hexdigest(), "out.txt", "member")
    monkeypatch.setitem(KNOWN, "mine", KnownCorpus("A corpus", "word", "none", (remote,)))
    with pytest.raises(DataError, match="File is not a zip file"):
        fetch("mine", to=tmp_path / "mine", base_url=f"{server}/right", patience=PATIENCE)
    assert list(tmp_path.iterdir()) == []
