"""The lock of an output: one holder, free again however the holder ended, never inherited."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openankh import lock
from openankh.errors import UserError
from openankh.lock import sole_writer

HOLDER = """
import os, subprocess, sys
from openankh.lock import sole_writer
with sole_writer(sys.argv[1]):
    if sys.argv[2:] == ["with a child"]:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(1)
            os.write(writing, b"up")
            sys.stdin.read()
            os._exit(0)
        os.read(reading, 2)
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(target: Path, *how: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is killed or the block ends."""
    command = [sys.executable, "-W", "ignore", "-c", HOLDER, str(target), *how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == f"{holder.pid}\n"
        yield holder


def test_a_second_writer_is_refused_in_one_line_that_names_the_first(tmp_path: Path) -> None:
    with held(tmp_path / "s") as holder:
        with (
            pytest.raises(UserError, match=rf"another process \({holder.pid} on .+\) is writing it; wait") as refusal,
            sole_writer(tmp_path / "s"),
        ):
            pass
        assert "\n" not in str(refusal.value)
        with sole_writer(tmp_path / "other"):
            pass
    with sole_writer(tmp_path / "s"):
        assert [entry.name for entry in tmp_path.iterdir()] == [".s.lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_stale_lock_never_blocks(tmp_path: Path) -> None:
    with held(tmp_path / "s") as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    for _ in range(50):
        (tmp_path / ".s.lock").write_text("4242 on a machine that is gone")
        with sole_writer(tmp_path / "s"):
            assert (tmp_path / ".s.lock").read_text() == f"{os.getpid()} on {os.uname().nodename}"
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_outlives_its_killed_parent_keeps_nothing_locked(tmp_path: Path) -> None:
    with held(tmp_path / "s", "with a child") as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with sole_writer(tmp_path / "s"):
            pass


def test_a_lock_taken_in_the_moment_of_its_removal_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = lock._take, []

    def removed_once(descriptor: int, target: Path) -> None:
        real(descriptor, target)
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / ".s.lock").unlink()

    monkeypatch.setattr(lock, "_take", removed_once)
    with sole_writer(tmp_path / "s"):
        assert len(calls) == 2 and (tmp_path / ".s.lock").exists()


def test_a_link_and_what_it_points_to_have_one_lock(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    refused = pytest.raises(UserError, match="another process")
    with sole_writer(tmp_path / "link"), refused, sole_writer(tmp_path / "real"):
        pass


def test_where_no_lock_can_be_made_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="does not exist; create it first"), sole_writer(tmp_path / "no" / "s"):
        pass

    def without_locks(*_: object) -> None:
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr(fcntl, "flock", without_locks)
    with pytest.raises(UserError, match="function not implemented; choose another place"), sole_writer(tmp_path / "s"):
        pass
