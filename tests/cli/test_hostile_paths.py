"""Paths on the command line that lead to pipes and devices: refused at once, in one line."""

import os
import socket

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")


@pytest.fixture(params=["pipe", "socket", "device"])
def special(request, tmp_path, monkeypatch):
    """A path and what is in its place."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"special.{request.param}"
    with socket.socket(socket.AF_UNIX) as listening:
        if request.param == "pipe":
            os.mkfifo(path)
        elif request.param == "socket":
            listening.bind(path.name)
        else:
            path.symlink_to("/dev/zero")
        yield path, request.param


@pytest.mark.parametrize(
    "words", [["check", "zaremba-small"], ["train", "zaremba-small"], ["train", "pos-default"], ["data", "check"]]
)
def test_a_corpus(mistake, special, words):
    path, what = special
    given = [*words, path] if words[0] == "data" else [*words, "--data", path]
    remedy = "; write it to a file first" if what == "pipe" else ""
    mistake(3, given, f"{path}: is a {what}, not a file{remedy}")


@pytest.mark.parametrize("words", [["check"], ["check", "zaremba-small", "--iss-json"]])
def test_settings(mistake, special, words, tmp_path):
    path, what = special
    if len(words) == 1:
        path = path.rename(tmp_path / "mine.toml")
    if words[0] == "check" and len(words) > 1:
        words = ["train", *words[1:]]
    mistake(2, [*words, path], f"{path}: is a {what}, not a file")


def test_the_descriptor_of_a_pipe_as_a_corpus(mistake):
    """As in --data <(command)."""
    read, write = os.pipe()
    try:
        if not os.path.exists(f"/dev/fd/{read}"):
            pytest.skip("descriptors have no paths here")
        mistake(3, ["check", "zaremba-small", "--data", f"/dev/fd/{read}"], "is a pipe, not a file; write it to a file")
    finally:
        os.close(read)
        os.close(write)


def test_texts(mistake, special, tiny_run, tmp_path):
    path, what = special
    if what == "pipe":
        # it is read as it comes, see test_texts.py
        return
    wanted = f"{path}: is a {what}, not a file; give a text file, or - for standard input"
    mistake(3, ["score", tiny_run, path], wanted)
    mistake(3, ["features", tiny_run, path, "--out", tmp_path / "x.npz"], wanted)
