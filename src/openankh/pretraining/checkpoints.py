"""The checkpoints of a training run: numbered folders, each complete or absent, the newest whole one always kept.

RUN/checkpoints/step-00000123/ holds model.safetensors, optimiser.safetensors, random.safetensors, state.json, small
texts such as config.json, and manifest.json with the size and SHA-256 of each, written last.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from openankh.errors import UserError
from openankh.files import atomic_folder, fsync_folder, require_free_space, sha256_of
from openankh.pretraining.state import TrainingState
from openankh.pretraining.tensor_file import size_of, write_tensors

FORMAT = 1
_TENSOR_FILES = ("model", "optimiser", "random")
T = TypeVar("T")
_STEP = re.compile(r"step-(\d{8,})")
# What a folder takes beside its tensors: texts, the manifest, the file system's own blocks.
_SPARE_BYTES = 1 << 20


@dataclass(frozen=True)
class Restored:
    """A state read back, the folder it came from, and one line for each newer checkpoint that could not be used."""

    state: TrainingState
    folder: Path
    refused: tuple[str, ...]


class _UnusableError(Exception):
    """Why a checkpoint cannot be used; the next older one is tried."""


class Checkpoints:
    """The checkpoints under RUN/checkpoints; one process at a time may use them (see `run_lock`).

    The last `keep_last` are kept and those written with `protect=True`; older ones go only after a newer one is safely
    on the disk. Those of later steps than the one just written belong to a course that was left, and go too.
    """

    def __init__(self, run: Path, keep_last: int = 3):
        if keep_last < 1:
            raise UserError(f"keep_last is {keep_last}: at least 1 checkpoint has to be kept")
        self.folder = run / "checkpoints"
        self.keep_last = keep_last
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[Path] | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()

    def steps(self) -> list[int]:
        """The steps that have a folder, oldest first; a folder under its final name has been written to its end."""
        return _steps(self.folder)

    def path(self, step: int) -> Path:
        """The folder of a step."""
        return _path(self.folder, step)

    def write(self, state: TrainingState, *, protect: bool = False) -> Path:
        """Write a state durably, then remove what need not be kept; returns its folder.

        Raises UserError when the disk is too small or fills up, and then leaves every earlier checkpoint.
        """
        self.wait()
        return self._write(state, protect)

    def write_behind(self, state: TrainingState, *, protect: bool = False) -> None:
        """As `write`, in a thread, while training goes on; the next call of any method that writes waits for it.

        What goes wrong is raised there, or by `wait`.
        """
        self.wait()
        self._pending = self._writer.submit(self._write, state, protect)

    def wait(self) -> None:
        """Return when nothing is being written; raises what the writing raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def read_newest(self) -> Restored | None:
        """The newest state whose every byte is as it was written; None when the run has no checkpoint.

        Raises UserError when there are checkpoints and none of them is whole.
        """
        self.wait()
        return _newest(self.folder)

    def _write(self, state: TrainingState, protect: bool) -> Path:
        path = self.path(state.step)
        needed = _num_bytes(state) + _SPARE_BYTES
        require_free_space(path, needed)
        with atomic_folder(path, needed_bytes=needed) as folder:
            _write_files(state, folder, protect)
        self._prune(state.step)
        return path

    def _prune(self, newest: int) -> None:
        earlier = [step for step in self.steps() if step < newest]
        later = [step for step in self.steps() if step > newest]
        num_kept = self.keep_last - 1
        outdated = earlier[: len(earlier) - num_kept] if num_kept else earlier
        for step in later + outdated:
            if step in later or not _is_protected(self.path(step), step):
                self._remove(self.path(step))

    def _remove(self, path: Path) -> None:
        # Under its final name a folder counts as complete, so it loses that name before it loses files.
        doomed = path.rename(path.with_name(f"{path.name}.tmp-removed"))
        fsync_folder(self.folder)
        shutil.rmtree(doomed)

    def _remove_leftovers(self) -> None:
        """What a killed process was writing or removing."""
        for entry in self.folder.glob("step-*.tmp-*"):
            shutil.rmtree(entry)


def read_newest_of(run: Path) -> Restored | None:
    """As `Checkpoints.read_newest`, of a run that another process may be training: nothing is changed there."""
    folder = run / "checkpoints"
    return _newest(folder) if folder.is_dir() else None


def _steps(folder: Path) -> list[int]:
    matches = (_STEP.fullmatch(entry.name) for entry in folder.iterdir() if entry.is_dir())
    return sorted(int(match[1]) for match in matches if match)


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def _newest(folder: Path) -> Restored | None:
    refused: list[str] = []
    for step in reversed(_steps(folder)):
        path = _path(folder, step)
        try:
            return Restored(_read(path, step), path, tuple(refused))
        except _UnusableError as fault:
            refused.append(f"checkpoint {path} is not used: {fault}")
    if refused:
        raise UserError(f"no checkpoint of this run can be used ({'; '.join(refused)}); begin anew in another folder")
    return None


def _num_bytes(state: TrainingState) -> int:
    return sum(size_of(getattr(state, name)) for name in _TENSOR_FILES) + sum(len(t) for t in state.texts.values())


def _write_files(state: TrainingState, folder: Path, protect: bool) -> None:
    files: dict[str, dict[str, Any]] = {}
    texts = {**state.texts, "state.json": _canonical({"step": state.step, "facts": state.facts})}
    for name in _TENSOR_FILES:
        path = folder / f"{name}.safetensors"
        with open(path, "wb") as file:
            digest = write_tensors(getattr(state, name), file)
        files[path.name] = {"size": path.stat().st_size, "sha256": digest}
    for name, text in texts.items():
        assert "/" not in name and name not in files, f"{name} cannot be a text beside a checkpoint"
        (folder / name).write_bytes(text.encode())
        files[name] = {"size": len(text.encode()), "sha256": sha256_of(folder / name)}
    manifest = {"format": FORMAT, "step": state.step, "protected": protect, "files": files}
    signed = {**manifest, "sha256": _sha256_of_value(manifest)}
    (folder / "manifest.json").write_bytes(_canonical(signed).encode())


def _canonical(value: Any) -> str:
    """JSON with one way of writing each value; numbers come back as the same bits."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _sha256_of_value(value: Any) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


def _read(folder: Path, step: int) -> TrainingState:
    """The state in a folder; raises _UnusableError unless each file is, byte by byte, what was written."""
    manifest = _read_manifest(folder, step)
    names: dict[str, dict[str, Any]] = manifest["files"]
    present = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")} - {"manifest.json"}
    if foreign := sorted(present ^ names.keys()):
        raise _UnusableError(f"{foreign[0]} is {'missing' if foreign[0] in names else 'not in its manifest'}")
    for name, expected in names.items():
        _check_file(folder / name, expected["size"], expected["sha256"])
    facts = _read_json(folder / "state.json")
    if facts["step"] != step:
        raise _UnusableError(f"state.json is of step {facts['step']}")
    tensors = {name: _read_tensors(folder / f"{name}.safetensors") for name in _TENSOR_FILES}
    beside = {"state.json", *(f"{name}.safetensors" for name in _TENSOR_FILES)}
    texts = {name: (folder / name).read_bytes().decode() for name in names if name not in beside}
    return TrainingState(step, tensors["model"], tensors["optimiser"], tensors["random"], facts["facts"], texts)


def _read_manifest(folder: Path, step: int) -> dict[str, Any]:
    manifest = _read_json(folder / "manifest.json")
    if manifest.pop("sha256", None) != _sha256_of_value(manifest):
        raise _UnusableError("manifest.json has been altered")
    if manifest["format"] != FORMAT:
        raise _UnusableError(f"its format is {manifest['format']!r}, this version reads {FORMAT}")
    if manifest["step"] != step:
        raise _UnusableError(f"manifest.json is of step {manifest['step']}")
    return manifest


def _check_file(path: Path, size: int, sha256: str) -> None:
    if path.stat().st_size != size:
        raise _UnusableError(f"{path.name} has {path.stat().st_size:,} bytes, {size:,} were written")
    if _or_unusable(lambda: sha256_of(path), path) != sha256:
        raise _UnusableError(f"{path.name} has been altered (its SHA-256 differs)")


def _read_json(path: Path) -> dict[str, Any]:
    """An object as `_canonical` wrote it; any other spelling counts as damage."""
    text = _or_unusable(lambda: path.read_bytes().decode(), path)
    value = _or_unusable(lambda: json.loads(text), path)
    if not isinstance(value, dict) or _or_unusable(lambda: _canonical(value), path) != text:
        raise _UnusableError(f"{path.name} has been altered")
    return value


def _read_tensors(path: Path) -> dict[str, Tensor]:
    return _or_unusable(lambda: load_file(path), path)


def _or_unusable(read: Callable[[], T], path: Path) -> T:
    try:
        return read()
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise _UnusableError(f"{path.name} cannot be read ({reason})") from None


def _is_protected(folder: Path, step: int) -> bool:
    try:
        return _read_manifest(folder, step)["protected"]
    except _UnusableError:
        return False
