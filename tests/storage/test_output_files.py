"""Files that a user has named: nothing is overwritten unasked, nothing is half written, and no temporary file stays."""

import os
import pathlib
import stat
import subprocess
import sys
import threading

import pytest

from refrain.errors import UserError
from refrain.storage import output_files
from refrain.storage.output_checks import check_folder, check_outputs, run_files, run_parts
from refrain.storage.output_files import replace_file, replace_text, write_files

posix = pytest.mark.skipif(os.name != "posix", reason="needs links, pipes and permissions")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def put(path, content=b"new", **options):
    with replace_file(path, **options) as file:
        file.write(content)


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "x.tsv"
    with replace_file(path) as file:
        file.write(b"new")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["x.tsv"]


def test_a_file_that_exists_is_replaced_on_request_only(write, tmp_path):
    path = write("x.tsv", "old")
    with pytest.raises(UserError, match=r"x.tsv exists; choose another path, or replace it with force=True"):
        put(path)
    assert path.read_text() == "old"
    with replace_file(path, force=True) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["x.tsv"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError(28, "No space left on device")])
@pytest.mark.parametrize("force", [False, True])
def test_nothing_stays_of_a_file_that_was_not_finished(write, tmp_path, error, force):
    old = write("old", "old")
    with (
        pytest.raises(error if isinstance(error, type) else OSError),
        replace_file(old if force else tmp_path / "new", force=force) as file,
    ):
        file.write(b"half")
        raise error
    assert names(tmp_path) == ["old"] and old.read_text() == "old"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_in_the_meantime_is_kept(tmp_path, monkeypatch, links):
    def refuse(*arguments):
        raise OSError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    put(tmp_path / "x")
    with pytest.raises(UserError, match="another program has made this file"), replace_file(tmp_path / "y") as file:
        (tmp_path / "y").write_text("mine")
        file.write(b"new")
    assert (tmp_path / "y").read_text() == "mine" and (tmp_path / "x").read_text() == "new"
    assert names(tmp_path) == ["x", "y"]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_the_permissions_of_a_replaced_file_stay(write, mode):
    path = write("x", "old")
    path.chmod(mode)
    put(path, force=True)
    assert stat.S_IMODE(path.stat().st_mode) == mode and path.read_text() == "new"


@posix
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "other").touch()
    put(tmp_path / "x")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "other").stat().st_mode


@posix
def test_another_group_gets_no_permissions_of_the_old_one(write, monkeypatch):
    path = write("x", "old")
    path.chmod(0o664)
    old = path.stat()

    def refuse(*arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    monkeypatch.setattr(
        output_files, "existing", lambda path: os.stat_result((old.st_mode, *old[1:5], old.st_gid + 1, *old[6:]))
    )
    put(path, force=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@posix
def test_the_file_that_a_link_leads_to_is_written(write, tmp_path):
    target = write("there/target", "old")
    link = tmp_path / "link"
    link.symlink_to(pathlib.Path("there") / "target")
    with pytest.raises(UserError, match="link exists"):
        put(link)
    put(link, force=True)
    assert link.is_symlink() and target.read_text() == "new"
    # a link that leads nowhere yet
    target.unlink()
    put(link)
    assert link.is_symlink() and target.read_text() == "new"
    assert names(tmp_path) == ["link", "there"] and names(target.parent) == ["target"]


@posix
def test_a_device_and_a_pipe_are_written_to(tmp_path):
    put(pathlib.Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    put(pipe)
    reader.join(timeout=60)
    assert read == [b"new"] and stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["pipe"]


WRITING = """
import pathlib, sys
from refrain.storage.output_files import replace_file
print("before")
with replace_file(pathlib.Path(sys.argv[1])) as file:
    file.write(b"table\\n")
print("after")
"""


@posix
@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/dev/../dev/stdout"])
@pytest.mark.skipif(not os.path.exists("/dev/fd/1"), reason="needs /dev/fd")
def test_standard_output_is_written_to_wherever_it_leads(tmp_path, own_environment, path):
    words = [sys.executable, "-c", WRITING, path]
    done = subprocess.run(words, capture_output=True, text=True, env=own_environment, timeout=120)
    assert done.stdout == "before\ntable\nafter\n", done.stderr
    # a file that the shell has just made is not one that may be overwritten, and is not replaced
    with (tmp_path / "out").open("w") as file:
        subprocess.run(words, stdout=file, env=own_environment, timeout=120, check=True)
    assert (tmp_path / "out").read_text() == "before\ntable\nafter\n"


def test_text_is_written_as_it_is(tmp_path):
    with replace_text(tmp_path / "x") as file:
        file.write("a\r\nb\n\u00e9\udc80")
    assert (tmp_path / "x").read_bytes() == b"a\r\nb\n\xc3\xa9\\udc80"


def test_files_appear_together(tmp_path):
    write_files([(tmp_path / "a", "text\n"), (tmp_path / "b", b"bytes")])
    assert (tmp_path / "a").read_bytes() == b"text\n" and (tmp_path / "b").read_bytes() == b"bytes"
    with pytest.raises(UserError, match="b exists"):
        write_files([(tmp_path / "c", "c"), (tmp_path / "b", "new")])
    with pytest.raises(TypeError):
        write_files([(tmp_path / "a", "new"), (tmp_path / "c", None)], force=True)
    assert names(tmp_path) == ["a", "b"] and (tmp_path / "a").read_text() == "text\n"


def test_a_name_of_the_largest_length(tmp_path):
    name = "\u00e9" * 127
    put(tmp_path / name)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]
    with pytest.raises(UserError, match="cannot be a file"):
        check_outputs([("--out", tmp_path / (name * 2))], force=True)


def test_what_cannot_be_a_file(write, tmp_path):
    for path in (tmp_path, tmp_path / "gone" / "x", write("x", "") / "y", pathlib.Path()):
        for force in (False, True):
            with pytest.raises(UserError, match=r"--out: .* must be a file in a folder that exists"):
                check_outputs([("--out", path)], force=force)
    with pytest.raises(UserError, match=r"cannot be a file .*null"):
        check_outputs([("--out", tmp_path / "a\0b")], force=True)


@posix
def test_links_that_lead_round_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match="cannot be a file"):
        check_outputs([("--out", tmp_path / "a")], force=True)


def ways(path):
    """Paths that lead to a file: itself, in other words, by a link and by a hard link."""
    folder = path.parent
    (folder / "link").symlink_to(path.name)
    os.link(path, folder / "hard")
    (folder / "folder").symlink_to(".")
    relative = pathlib.Path(os.path.relpath(path))
    return [path, relative, folder / "folder" / path.name, folder / "link", folder / "hard"]


@posix
@pytest.mark.parametrize("kind", ["file", "folder", "link to a folder", "pattern"])
def test_what_is_read_is_never_replaced(write, tmp_path, kind):
    text = write("corpus/deep/text.txt", "mine")
    (tmp_path / "again").symlink_to("corpus")
    if kind != "pattern":
        # which a pattern follows very often
        (tmp_path / "corpus" / "round").symlink_to(tmp_path)
    given = {
        "file": text,
        "folder": tmp_path / "corpus",
        "link to a folder": tmp_path / "again",
        "pattern": str(tmp_path / "corpus" / "*" / "*.txt"),
    }[kind]
    for path in ways(text):
        for force in (False, True):
            with pytest.raises(
                UserError, match=r"--out: .* is also read, so it is never replaced; choose another path"
            ):
                check_outputs([("--out", path)], ["gone", given], force=force)
    assert text.read_text() == "mine"
    # a new file beside what is read is none of it
    check_outputs([("--out", text.parent / "new")], [given], force=False)


@posix
def test_standard_input_is_never_replaced(write, own_environment):
    path = write("x", "mine")
    script = f"""
import pathlib
from refrain.storage.output_checks import check_outputs
check_outputs([("--out", pathlib.Path({str(path)!r}))], ["-"], force=True)
"""
    with path.open() as file:
        done = subprocess.run(
            [sys.executable, "-c", script], stdin=file, capture_output=True, text=True, env=own_environment, timeout=120
        )
    assert "is also read, so it is never replaced" in done.stderr


def test_a_case_that_the_file_system_ignores(write, tmp_path):
    text = write("Text", "mine")
    if not (tmp_path / "text").exists():
        pytest.skip("this file system distinguishes upper case from lower case")
    with pytest.raises(UserError, match="is also read"):
        check_outputs([("--out", tmp_path / "text")], [text], force=True)


@posix
def test_two_outputs_are_two_files(write, tmp_path):
    (tmp_path / "folder").symlink_to(".")
    old = write("old", "")
    os.link(old, tmp_path / "hard")
    for first, second in [("x", "x"), ("x", "folder/x"), ("x", "X"), ("old", "hard")]:
        with pytest.raises(UserError, match=r"--b: .* is the same file as --a"):
            check_outputs([("--a", tmp_path / first), ("--b", tmp_path / second)], force=True)
    check_outputs([("--a", tmp_path / "x"), ("--b", tmp_path / "y")], force=True)
    check_outputs([("--a", pathlib.Path("/dev/null")), ("--b", pathlib.Path("/dev/null"))], force=False)


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_found_before_the_work(tmp_path):
    (tmp_path / "folder").mkdir(mode=0o500)
    with pytest.raises(PermissionError) as caught:
        check_outputs([("--out", tmp_path / "folder" / "x")], force=False)
    assert caught.value.filename == str(tmp_path / "folder")


def test_a_check_leaves_nothing(write, tmp_path):
    write("old", "mine")
    check_outputs([("--a", tmp_path / "x"), ("--b", tmp_path / "old")], force=True)
    assert names(tmp_path) == ["old"]


def test_what_is_read_is_not_removed(write, tmp_path):
    text = write("run/checkpoints/text", "mine")
    run = tmp_path / "run"
    beside = write("run/corpus/text", "mine")
    for path in (text, text.parent, pathlib.Path(os.path.relpath(text)), run):
        with pytest.raises(UserError, match=r"--out: .* is also read, so it is never replaced; choose another folder"):
            check_folder("--out", run, run_parts(run), [None, path])
    check_folder("--out", run, run_parts(run), [beside, tmp_path, tmp_path / "gone", None])
    check_folder("--out", tmp_path / "gone", run_parts(tmp_path / "gone"), [run, text])


@posix
def test_the_files_of_a_run(write, tmp_path):
    file = write("run/checkpoints/step-1/model.safetensors", "")
    (tmp_path / "run" / "best").symlink_to("checkpoints/step-1")
    settings = write("run/config.json", "{}")
    mine = write("run/mine.png", "")
    for given in (tmp_path / "run", tmp_path / "run" / "best", file.parent):
        for path in (file, settings):
            with pytest.raises(UserError, match="is also read"):
                check_outputs([("--out", path)], run_files(given), force=True)
        # a picture that an earlier command has put there
        check_outputs([("--out", mine)], run_files(given), force=True)
    copy = write("copy/model.safetensors", "")
    with pytest.raises(UserError, match="is also read"):
        check_outputs([("--out", copy)], run_files(copy.parent), force=True)
