"""`refrain models`: names of runs, packing a run, and fetching one from a server that may send anything."""

import hashlib
import http.server
import io
import json
import shutil
import tarfile
import threading

import pytest

import refrain as library
from refrain.errors import CheckpointError, DataError, UserError
from refrain.runs import fetching, find, named
from refrain.runs.packed import MOST_MEMBERS, pack, unpack
from refrain.training import PlainProgress


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty current folder and a cache of its own."""
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def bundled(home, tiny_run, monkeypatch):
    """One model comes with refrain: `tiny`."""
    folder = home / "bundled"
    shutil.copytree(tiny_run, folder / "tiny", symlinks=True)
    monkeypatch.setattr(named, "BUNDLED", folder)
    return folder / "tiny"


def members_of(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def tar_of(members):
    """A tar of TarInfo or (name, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def packed(tiny_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "small.tar"
    pack(find(tiny_run), out)
    return out.read_bytes()


def test_a_name_is_a_run_and_a_path_is_a_path(home, bundled, tiny_run):
    assert named.named_run("tiny") == bundled
    assert named.named_run(str(tiny_run)) == tiny_run
    assert named.named_run("./tiny") == home / "here" / "tiny"
    # a folder that is no run does not take the name
    (home / "here" / "tiny").mkdir()
    assert named.named_run("tiny") == bundled
    with pytest.raises(CheckpointError, match="is not a run folder"):
        library.load("./tiny")
    shutil.copytree(tiny_run, home / "here" / "tiny", symlinks=True, dirs_exist_ok=True)
    assert str(named.named_run("tiny")) == "tiny"
    assert named.named_run("other") == named.Path("other")


@pytest.mark.parametrize("words", [["./tiny"], ["../here/tiny"]])
def test_a_path_on_the_command_line_is_no_name(bundled, mistake, words):
    mistake(4, ["score", *words, "-"], "here/tiny: no such run folder")


def test_a_name_of_many_commands(bundled, refrain, tree, write):
    write("text.txt", "ant bee\ncat\n")
    before = tree(bundled)
    for words in (
        ["evaluate", "tiny"],
        ["generate", "tiny", "--tokens", "3"],
        ["score", "tiny", write("here/text.txt", "ant bee\n")],
        ["compare", "tiny"],
        ["sparsity", "tiny"],
        ["compress", "tiny", "--weights", "int8", "--out", "smaller"],
        ["models", "pack", "tiny", "--out", "tiny.tar"],
    ):
        assert refrain(*words).status == 0, words
    assert tree(bundled) == before
    assert library.load("tiny").generate("ant", tokens=2, seed=1)


def test_a_name_to_start_from_in_python(bundled, home):
    experiment = find("tiny").experiment
    quiet = PlainProgress(quiet=True)
    summary = library.train(experiment, home / "here" / "on", start_from="tiny", progress=quiet)
    assert summary["epochs"] == experiment.training.epochs
    start = json.loads((home / "here" / "on" / "manifest.json").read_text())["start"]
    assert str(bundled) in json.dumps(start)


def test_a_name_with_a_mistake(bundled, mistake):
    mistake(4, ["generate", "tniy"], "tniy: no such run folder; did you mean tiny?")


def test_the_list(home, bundled, refrain, mistake, tiny_run):
    (row,) = refrain("models", "--json").json["models"]
    assert row["name"] == "tiny" and row["origin"] == "comes with refrain" and row["kind"] == "language model"
    assert row["test"]["perplexity"] > 1 and row["run"] == str(bundled)
    assert "tiny   words  " in refrain("models").out
    (row,) = refrain("models", "list", tiny_run.parent, "--json").json["models"]
    assert row["run"] == str(tiny_run) and row["origin"] == "run folder"
    mistake(4, ["models", "list", "gone"], "gone: no such folder")
    mistake(2, ["models", "ftch"], "unknown command 'models ftch'; did you mean 'fetch'?")


def test_the_same_run_gives_the_same_file_without_the_host(tiny_run, tmp_path, packed, refrain):
    found = refrain("models", "pack", tiny_run, "--out", tmp_path / "again.tar", "--json").json
    content = (tmp_path / "again.tar").read_bytes()
    assert content == packed
    assert found["sha256"] == hashlib.sha256(packed).hexdigest() and found["bytes"] == len(packed)
    members = members_of(packed)
    assert {"README.md", "config.json", "summary.json", "best"} <= set(members) == set(found["members"])
    assert not any(name.endswith("training.safetensors") for name in members)
    assert "host" in json.loads((tiny_run / "manifest.json").read_text())
    assert "host" not in json.loads(members["manifest.json"])
    assert refrain("models", "pack", tiny_run, "--out", tmp_path / "again.tar").status == 4


def test_the_card_and_the_summary_have_no_folder_of_the_machine(tiny_run, packed):
    folder, name = str(tiny_run.parent), tiny_run.name
    members = members_of(packed)
    for file in ("summary.json", "README.md"):
        assert folder in (tiny_run / file).read_text()
        assert folder not in members[file].decode()
    summary = json.loads((tiny_run / "summary.json").read_text())
    assert json.loads(members["summary.json"]) == {**summary, "run": name}
    assert f"refrain evaluate {name}\n" in members["README.md"].decode()


def test_a_relative_path_and_the_files_of_an_import_have_no_folders(tiny_run, tmp_path):
    run = tmp_path / "mine"
    shutil.copytree(tiny_run, run, symlinks=True)
    files = [{"file": "/home/someone/model.pt", "bytes": 1}, "odd"]
    for name, more in (
        ("summary.json", {"run": "runs/mine", "files": files}),
        ("manifest.json", {"imported": {"files": files}}),
    ):
        (run / name).write_text(json.dumps(json.loads((run / name).read_text()) | more))
    (run / "README.md").write_text("refrain evaluate runs/mine\n")
    pack(find(run), tmp_path / "mine.tar")
    members = members_of((tmp_path / "mine.tar").read_bytes())
    summary, manifest = (json.loads(members[name]) for name in ("summary.json", "manifest.json"))
    assert summary["run"] == "mine" and members["README.md"] == b"refrain evaluate mine\n"
    for found in (summary, manifest["imported"]):
        assert found["files"] == [{"file": "model.pt", "bytes": 1}, "odd"]


def test_a_checkpoint_alone_is_not_packed(tiny_run, tmp_path, mistake):
    (step,) = [path for path in [(tiny_run / "best").resolve()]]
    mistake(4, ["models", "pack", step, "--out", tmp_path / "x.tar"], "give its run folder")
    assert not (tmp_path / "x.tar").exists()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `files`; `/elsewhere/` leads to a file on the disk."""

    files: dict[str, bytes]

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        if self.path.startswith("/elsewhere/"):
            self.send_response(302)
            self.send_header("Location", f"file:///{name}")
            self.end_headers()
        elif name in self.files:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.files[name])))
            self.end_headers()
            self.wfile.write(self.files[name])
        else:
            self.send_error(404)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(home):
    """The address of a server, and the files that it serves."""
    files: dict[str, bytes] = {}
    handler = type("Own", (Handler,), {"files": files})
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=served.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}", files
    served.shutdown()
    thread.join()
    served.server_close()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_a_run_that_is_fetched_is_found_by_its_name(server, home, packed, refrain, tiny_run):
    url, files = server
    files["small.tar"] = packed
    found = refrain("models", "fetch", f"{url}/at/small.tar", "--sha256", sha256(packed), "--json").json
    assert found == {"name": "small", "run": str(home / "cache" / "models" / "small")}
    wanted = library.load(tiny_run).generate("ant", tokens=5, seed=2)
    assert library.load("small").generate("ant", tokens=5, seed=2) == wanted
    assert [row["origin"] for row in refrain("models", "--json").json["models"] if row["name"] == "small"] == [
        "fetched"
    ]
    again = refrain("models", "fetch", f"{url}/small.tar", "--sha256", sha256(packed))
    assert again.status == 4 and "exists already" in again.err
    (home / "here" / "x.tar").write_bytes(packed)
    words = ["models", "fetch", (home / "here" / "x.tar").as_uri(), "--sha256", sha256(packed), "--out", "mine"]
    assert refrain(*words).status == 0
    assert refrain("evaluate", "mine", "--json").json["perplexity"] == pytest.approx(
        refrain("evaluate", tiny_run, "--json").json["perplexity"]
    )
    # what it lacks is said
    resumed = refrain("train", "--resume", "--out", "mine")
    assert resumed.status == 4 and "holds no training.safetensors" in resumed.err


def test_addresses_and_hashes(server, bundled, home, packed, mistake):
    url, files = server
    files.update({"small.tar": packed, "tiny.tar": packed, "%2e%2e.tar": packed, "...tar": packed})
    digest = ["--sha256", sha256(packed)]
    for words, status, part in (
        ([f"{url}/gone.tar", *digest], 3, "cannot be fetched (Not Found); check the address"),
        ([f"{url}/small.tar", "--sha256", "0" * 64], 3, f"sha256 is {sha256(packed)}, expected 0000"),
        ([f"{url}/small.tar", "--sha256", "0"], 2, "--sha256 must be the 64 hexadecimal digits"),
        (["small.tar", *digest], 2, "small.tar: is no address"),
        (["ftp://h/small.tar", *digest], 2, "is no address; give one that begins with http://, https://, file://"),
        (["file://small.tar", *digest], 2, "names no file of this machine; write file:///PATH/TO/FILE.tar"),
        (["file:small.tar", *digest], 2, "names no file of this machine"),
        ([f"{url}/%2e%2e.tar", *digest], 2, "is no name for a run; give a folder with --out"),
        ([f"{url}/", *digest], 2, "is no name for a run"),
        ([f"{url}/tiny.tar", *digest], 2, "tiny is the name of a model that comes with refrain"),
        ([f"{url}/elsewhere/small.tar", *digest], 3, "cannot be fetched (Found"),
        (["file:///gone/small.tar", *digest], 3, "cannot be fetched"),
    ):
        mistake(status, ["models", "fetch", *words], part)
    with pytest.raises(DataError, match="more than the 1,000 that it should have at most"):
        fetching.fetch_run(f"{url}/small.tar", sha256(packed), largest=1000)
    assert not list(home.rglob("small*")) and not list(home.rglob(".tmp-*"))


def link(name, kind, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def changed(packed, **contents):
    """The members of a packed run, with other contents; None leaves one out."""
    members = members_of(packed)
    (weights,) = (name for name in members if name.endswith("model.safetensors"))
    names = {"weights": weights, "settings": weights.replace("model.safetensors", "config.json")}
    for name, content in contents.items():
        name = names.get(name, name)
        members.pop(name, None)
        if content is not None:
            members[name] = content
    return members.items()


BAD = {
    "no tar": lambda packed: b"GIF89a" * 500,
    "empty": lambda packed: tar_of([]),
    "a path outside": lambda packed: tar_of([("../evil", b"x")]),
    "an absolute path": lambda packed: tar_of([("/tmp/evil", b"x")]),
    "a path outside in a checkpoint": lambda packed: tar_of([("checkpoints/step-1/../../../evil", b"x")]),
    "another file": lambda packed: tar_of([*members_of(packed).items(), ("evil.py", b"x")]),
    "a link": lambda packed: tar_of([link("best", tarfile.SYMTYPE, "/etc")]),
    "a hard link": lambda packed: tar_of([link("config.json", tarfile.LNKTYPE, "/etc/passwd")]),
    "a pipe": lambda packed: tar_of([link("config.json", tarfile.FIFOTYPE, "")]),
    "a folder": lambda packed: tar_of([link("config.json", tarfile.DIRTYPE, "")]),
    "a file twice": lambda packed: tar_of([("config.json", b"{}")] * 2),
    "many files": lambda packed: tar_of([(f"checkpoints/step-1/{number}", b"") for number in range(MOST_MEMBERS + 1)]),
    "best leads outside": lambda packed: tar_of(changed(packed, best=b"../../etc")),
    "no best": lambda packed: tar_of(changed(packed, best=None)),
    "a file that is not listed": lambda packed: tar_of(
        [*members_of(packed).items(), ("checkpoints/step-7/model.safetensors", b"x")]
    ),
    "other weights": lambda packed: tar_of(changed(packed, weights=b"x" * 100)),
    "no weights": lambda packed: tar_of(changed(packed, weights=None)),
    "other settings": lambda packed: tar_of(changed(packed, settings=b"{}")),
    "cut short": lambda packed: packed[: len(packed) // 2],
    "more bytes than it has": lambda packed: packed[:124] + b"%011o\0" % 2**31 + packed[136:],
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_packed_run_leaves_nothing(name, home, packed, mistake, tree):
    content = BAD[name](packed)
    (home / "here" / "evil.tar").write_bytes(content)
    before = tree(home)
    words = ["models", "fetch", (home / "here" / "evil.tar").as_uri(), "--sha256", sha256(content)]
    damaged = name in ("best leads outside", "other weights", "no weights", "other settings")
    line = mistake(4 if damaged else 3, words, "")
    assert ".tmp-" not in line
    shutil.rmtree(home / "cache", ignore_errors=True)
    assert tree(home) == before


def test_a_tar_of_another_program_is_read_as_far_as_it_is_plain(packed, tmp_path):
    """GNU tar writes sparse files, whose size is not that of their data."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members_of(packed).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if name == "README.md":
                info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.map": "0,1", "GNU.sparse.size": "99999999"}
            tar.addfile(info, io.BytesIO(content))
    buffer.seek(0)
    with pytest.raises(DataError, match=r"README.md, which is not a plain file"):
        unpack(buffer, tmp_path)


def test_a_user_without_a_home_has_the_models_that_come_with_refrain(bundled, monkeypatch):
    def nowhere():
        raise UserError("no home")

    monkeypatch.setattr(named, "cache_folder", nowhere)
    assert named.named_run("tiny") == bundled
    assert named.fetched_names() == []
