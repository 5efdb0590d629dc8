"""The cores of this machine that a process may use and that are free, as Linux reports them in files."""

import os

import pytest

from refrain.storage import machine
from refrain.storage.machine import idle_cores, quota_cores


@pytest.fixture
def root(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


@pytest.fixture
def cores(monkeypatch):
    """Two cores may be used, 1 and 3."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 3}, raising=False)
    monkeypatch.setattr(os, "nice", lambda more: 0, raising=False)


def test_without_control_groups_there_is_no_quota(tmp_path, root):
    assert quota_cores(tmp_path) is None
    root("proc/self/cgroup", "0::/\n")
    assert quota_cores(tmp_path) is None
    root("sys/fs/cgroup/cpu.max", "max 100000\n")
    assert quota_cores(tmp_path) is None


def test_the_smallest_quota_of_a_group_and_those_above_it(tmp_path, root):
    root("proc/self/cgroup", "0::/outer/inner\n")
    root("sys/fs/cgroup/outer/cpu.max", "150000 100000\n")
    assert quota_cores(tmp_path) == 1.5
    root("sys/fs/cgroup/outer/inner/cpu.max", "400000 100000\n")
    assert quota_cores(tmp_path) == 1.5
    root("sys/fs/cgroup/outer/inner/cpu.max", "50000 100000\n")
    assert quota_cores(tmp_path) == 0.5
    root("sys/fs/cgroup/outer/inner/cpu.max", "damaged\n")
    assert quota_cores(tmp_path) == 1.5


def test_the_older_control_groups(tmp_path, root):
    root("proc/self/cgroup", "5:memory:/x\n3:cpu,cpuacct:/a\n")
    root("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n")
    root("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
    assert quota_cores(tmp_path) is None
    root("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "300000\n")
    assert quota_cores(tmp_path) == 3.0


def stat(busy, nice, idle):
    """Times of four cores of which two may be used."""
    rows = [f"cpu{core} {busy[core]} {nice[core]} 0 {idle[core]} 0 0 0 0 0 0" for core in range(4)]
    return "\n".join(["cpu 1 2 3 4 5 6 7 8 9 10", *rows, "intr 5 0"]) + "\n"


@pytest.mark.parametrize(
    ("busy", "nice", "idle", "wanted"),
    [
        # cores 0 and 2 belong to others
        ([20, 0, 20, 0], [0] * 4, [0, 20, 0, 20], 2.0),
        ([0, 20, 0, 5], [0] * 4, [20, 0, 20, 15], 0.75),
        # a program of lower priority leaves its core
        ([0, 0, 0, 20], [0, 20, 0, 0], [20, 0, 20, 0], 1.0),
        # a core that sleeps counts nothing
        ([0, 20, 0, 0], [0] * 4, [0] * 4, 1.0),
    ],
)
def test_idle_cores(tmp_path, root, cores, monkeypatch, busy, nice, idle, wanted):
    root("proc/stat", stat([100] * 4, [100] * 4, [100] * 4))
    later = ([100 + each for each in part] for part in (busy, nice, idle))
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: root("proc/stat", stat(*later)))
    assert idle_cores(root=tmp_path) == pytest.approx(wanted)


def test_a_process_of_low_priority_does_not_displace_others_like_it(tmp_path, root, cores, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda more: 10)
    root("proc/stat", stat([0] * 4, [0] * 4, [0] * 4))
    later = stat([0] * 4, [20] * 4, [0] * 4)
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: root("proc/stat", later))
    assert idle_cores(root=tmp_path) == 0.0


def test_without_times_of_cores_the_load_counts(tmp_path, monkeypatch, cores):
    monkeypatch.setattr(os, "getloadavg", lambda: (1.25, 9, 9), raising=False)
    assert idle_cores(root=tmp_path) == 0.75
    monkeypatch.setattr(os, "getloadavg", lambda: (7.0, 9, 9))
    assert idle_cores(root=tmp_path) == 0.0
    monkeypatch.delattr(os, "getloadavg")
    assert idle_cores(root=tmp_path) is None
