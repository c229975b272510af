"""Atomic writing: a reader sees the old file or folder or the whole new one, whatever happens in between."""

import errno
import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from openankh import files
from openankh.errors import UserError


def test_a_written_file_holds_the_bytes_and_leaves_no_temporary(tmp_path: Path) -> None:
    files.write_file_atomically(tmp_path / "a.json", '{"é": 1}')
    files.write_file_atomically(tmp_path / "b.bin", lambda file: file.writelines([b"x", b"yz"]))
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{"é": 1}'
    assert (tmp_path / "b.bin").read_bytes() == b"xyz"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.json", "b.bin"]


def test_an_exception_while_writing_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    files.write_file_atomically(target, "old")
    with pytest.raises(KeyError), files.atomic_file(target) as file:
        file.write(b"half")
        raise KeyError("boom")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_exception_while_filling_a_folder_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with files.atomic_folder(target) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(KeyError), files.atomic_folder(target) as folder:
        (folder / "a").write_text("new")
        raise KeyError("boom")
    assert (target / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool) -> None:
    if not can_exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    target = tmp_path / "model"
    with files.atomic_folder(target) as folder:
        (folder / "only-old").write_text("1")
    with files.atomic_folder(target) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "new").write_text("2")
    assert [entry.relative_to(target).as_posix() for entry in sorted(target.rglob("*"))] == ["deep", "deep/new"]
    assert list(tmp_path.iterdir()) == [target]


def test_when_the_second_rename_fails_the_old_folder_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    with files.atomic_folder(target) as folder:
        (folder / "a").write_text("old")
    rename, calls = os.rename, []

    def fails_second(source: Path, goal: Path) -> None:
        calls.append(goal)
        if len(calls) == 2:
            raise PermissionError(errno.EACCES, "Permission denied")
        rename(source, goal)

    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    monkeypatch.setattr(os, "rename", fails_second)
    with pytest.raises(UserError, match="permission denied"), files.atomic_folder(target) as folder:
        (folder / "a").write_text("new")
    assert (target / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_at_any_step_names_needed_and_free_bytes_and_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target = tmp_path / "a.bin"
    files.write_file_atomically(target, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(
        UserError, match=r"cannot write .*a\.bin: no space left on device \(1,000 bytes needed, [\d,]+ free\)"
    ):
        files.write_file_atomically(target, bytes(1000))
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_told_in_another_librarys_words_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"more than 7 bytes needed"), files.atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_bytes(bytes(7))
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert list(tmp_path.iterdir()) == []


def test_a_real_limit_on_file_size_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom openankh import files\n"
        "try:\n    files.write_file_atomically(sys.argv[1], bytes(1 << 20))\n"
        "except files.UserError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "big")],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert "file too large (1,048,576 bytes needed" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_size_known_beforehand_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    files.require_free_space(tmp_path / "not" / "yet" / "there", 1)
    with pytest.raises(UserError, match=r"bytes needed"):
        files.require_free_space(tmp_path / "x", files.free_bytes(tmp_path) * 10)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no/such/folder", "does not exist; create it first"),
        ("folder", "not a plain file"),
        ("/dev/null", "not a plain file"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(tmp_path: Path, target: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=message) as caught:
        files.write_file_atomically(tmp_path / target, b"")
    assert "\n" not in str(caught.value)


def test_a_file_is_never_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(UserError, match="not a folder"), files.atomic_folder(tmp_path / "a"):
        pass
    assert (tmp_path / "a").read_text() == "mine"


def test_a_link_stays_a_link_and_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "real")
    files.write_file_atomically(tmp_path / "link", b"1")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "real").read_bytes() == b"1"


def test_temporaries_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("run", "run.tmp-1", "run.tmp-2/deep", "runner.tmp-3", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "run.tmp-9").write_text("")
    assert files.remove_temporaries_of(tmp_path / "run") == 3
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["other", "run", "runner.tmp-3"]


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"MKT" * 100_000)
    assert files.sha256_of(tmp_path / "a") == hashlib.sha256(b"MKT" * 100_000).hexdigest()
