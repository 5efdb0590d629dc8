"""Fetching from a server on loopback: what is not exactly the expected file is not kept."""

import hashlib
import http.server
import io
import socket
import threading
import zipfile

import pytest

from refrain.assembly import locate
from refrain.data.fetch import fetch
from refrain.data.known import KNOWN, KnownCorpus, Remote, fetched_folder, fetched_path
from refrain.errors import DataError

TORCH = {"a.train.txt": b"one\n", "a.valid.txt": b"two\n"}


def archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("deep/inside.txt", b"the member\n")
        file.writestr("../evil.txt", b"never written\n")
    return buffer.getvalue()


FILES = {**TORCH, "packed.zip": archive(), "not-a.zip": b"plain text"}


def sha256(name):
    return hashlib.sha256(FILES[name]).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves FILES; `/cut/` ends before the file does, `/garbage` does not speak HTTP."""

    requests: list[str]

    def do_GET(self):
        self.requests.append(self.path)
        name = self.path.rpartition("/")[2]
        if self.path == "/garbage/a.train.txt":
            self.wfile.write(b"what?\r\n\r\n")
        elif name in FILES:
            self.send_response(200)
            self.send_header("Content-Length", str(len(FILES[name])))
            self.end_headers()
            self.wfile.write(FILES[name][: 2 if self.path.startswith("/cut/") else None])
        else:
            self.send_error(404)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The address of the server, with corpora `plain`, `packed`, `changed`, `gone` and others known there."""
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = type("Recording", (Handler,), {"requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{running.server_port}"

        def corpus(*files):
            return KnownCorpus("A corpus", "word", "none", files)

        plain = [Remote(f"{url}/{name}", sha256(name), name) for name in TORCH]
        first = plain[0]
        packed = Remote(f"{url}/packed.zip", sha256("packed.zip"), "out.txt", "deep/inside.txt")
        known = {
            "plain": corpus(*plain),
            "packed": corpus(packed, Remote(packed.url, packed.sha256, "again.txt", packed.member)),
            "single": corpus(first),
            "changed": corpus(first, Remote(plain[1].url, "0" * 64, "a.valid.txt")),
            "gone": corpus(first, Remote(f"{url}/gone.txt", "0" * 64, "gone.txt")),
            "no-member": corpus(Remote(packed.url, packed.sha256, "out.txt", "missing.txt")),
            "no-zip": corpus(Remote(f"{url}/not-a.zip", sha256("not-a.zip"), "out.txt", "member")),
        }
        for name in list(KNOWN):
            monkeypatch.delitem(KNOWN, name)
        for name, entry in known.items():
            monkeypatch.setitem(KNOWN, name, entry)
        try:
            yield url, handler.requests
        finally:
            running.shutdown()
            thread.join()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_plain_files(server):
    said = []
    folder = fetch("plain", log=said.append)
    assert folder == fetched_folder("plain") == fetched_path("plain") == locate("plain")
    assert contents(folder) == TORCH
    assert said == [f"fetching {server[0]}/{name}" for name in TORCH]


def test_a_member_of_an_archive(server, tmp_path):
    folder = fetch("packed", to=tmp_path / "mine")
    assert contents(folder) == {"out.txt": b"the member\n", "again.txt": b"the member\n"}
    # the archive came over once, and only the named member was unpacked
    assert server[1] == ["/packed.zip"]
    assert not list(tmp_path.rglob("evil*"))


def test_a_corpus_of_one_file_is_that_file(server):
    fetch("single")
    assert locate("single") == fetched_folder("single") / "a.train.txt"


def test_before_it_is_fetched_the_error_says_how(server):
    with pytest.raises(DataError, match=r"'plain' has not been fetched; give its folder .* or get it with"):
        locate("plain")


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("changed", f"a.valid.txt: sha256 is {sha256('a.valid.txt')}, expected {'0' * 64}; "),
        ("gone", "gone.txt: cannot be fetched (Not Found)"),
        ("no-member", "There is no item named 'missing.txt' in the archive"),
        ("no-zip", "File is not a zip file"),
    ],
)
def test_a_wrong_file_keeps_nothing(server, tmp_path, name, cause):
    with pytest.raises(DataError) as caught:
        fetch(name)
    assert cause in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith(".tmp")] == []
    assert not fetched_folder(name).exists()


def test_a_mirror(server, tmp_path):
    folder = fetch("plain", to=tmp_path / "mine", base_url=f"{server[0]}/mirror/")
    assert contents(folder) == TORCH
    assert server[1] == [f"/mirror/{name}" for name in TORCH]
    with pytest.raises(DataError, match="a\\.train\\.txt: sha256 is"):
        (tmp_path / "a.train.txt").write_text("other text")
        fetch("plain", to=tmp_path / "other", base_url=tmp_path.as_uri())


def test_a_connection_that_ends_early(server, tmp_path):
    with pytest.raises(DataError, match=r"a\.train\.txt: (sha256 is|cannot be fetched)"):
        fetch("plain", to=tmp_path / "mine", base_url=f"{server[0]}/cut")
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("url", ["no address", "ftp//x", "http://[1", "http://127.0.0.1:notaport", "{server}/garbage"])
def test_an_address_that_is_none(server, tmp_path, url):
    with pytest.raises(DataError, match=r"cannot be fetched \(.*\); get the file by other means .* mirror with --url"):
        fetch("plain", to=tmp_path / "mine", base_url=url.format(server=server[0]))
    assert not (tmp_path / "mine").exists()


def test_a_host_that_does_not_answer(server, tmp_path):
    with socket.socket() as taken:
        # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DataError, match=r"cannot be fetched \(.*refused.*\)"):
            fetch("plain", to=tmp_path / "mine", base_url=url)
    assert list(tmp_path.glob("*mine*")) == []


def test_a_folder_that_stands_there_is_left_alone(server, write):
    folder = write("mine/precious.txt", "keep").parent
    with pytest.raises(DataError, match=r"mine: exists already; use it with --data .*, or delete it to fetch again"):
        fetch("plain", to=folder)
    assert contents(folder) == {"precious.txt": b"keep"}
    assert server[1] == []


def test_an_unknown_name_lists_the_known(server):
    with pytest.raises(DataError, match=r"^unknown corpus 'plane'; known: plain, packed, single, "):
        fetch("plane")


def test_the_known_corpora_are_well_formed():
    assert set(KNOWN) == {
        "ptb",
        "wikitext-2",
        "wikitext-103",
        "text8",
        "enwik8",
        "tiny-shakespeare",
        "ud-english-ewt",
    }
    for known in KNOWN.values():
        names = [remote.name for remote in known.files]
        assert len(set(names)) == len(names)
        for remote in known.files:
            assert remote.url.startswith(("https://", "http://"))
            assert len(bytes.fromhex(remote.sha256)) == 32
            assert "/" not in remote.name
