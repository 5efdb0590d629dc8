"""Reading from folders that are not trusted."""

import os
import socket
import tracemalloc

import pytest

from refrain.storage.regular_files import open_regular, read_regular


def refusal(path, **options):
    with pytest.raises(OSError) as caught:
        read_regular(path, **{"limit": 100, **options})
    assert caught.value.filename == str(path)
    return caught.value.strerror


def test_a_file_is_read_up_to_the_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_regular(path, limit=100) == b"x" * 100
    assert "larger than 99 bytes" in refusal(path, limit=99)


def test_a_small_file_takes_little_memory_however_large_the_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    tracemalloc.start()
    assert read_regular(path, limit=1 << 28) == b"x" * 100
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22


def test_pipes_sockets_devices_and_folders_are_refused_at_once(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == "is a pipe, not a file"
    assert refusal(tmp_path) == "is a folder, not a file"
    assert refusal("/dev/zero") == "is a device, not a file"
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the path of a socket has to be short
        server.bind("socket")
        assert refusal("socket") == "is a socket, not a file"


def test_links_are_followed_only_where_they_may_be(tmp_path):
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"text"
    assert refusal(tmp_path / "link", follow_links=False) == "is a link to another place"
    assert refusal(tmp_path / "zero") == "is a device, not a file"
