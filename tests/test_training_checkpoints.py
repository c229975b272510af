"""Training checkpoints: bits come back, damage falls back, kills and full disks never cost the last whole one."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from openankh.errors import UserError
from openankh.pretraining import checkpoints as checkpoints_module
from openankh.pretraining.checkpoints import Checkpoints
from openankh.pretraining.optimisers import OptimiserSettings, build_optimiser
from openankh.pretraining.run_lock import run_lock
from openankh.pretraining.state import TrainingState, restore, snapshot
from openankh.pretraining.tensor_file import size_of, write_tensors

FACTS = {"position": 12345678901234, "seconds": 0.1 + 0.2, "plan": {"total_steps": None}, "loss": 1e-310}


def state_of(step: int) -> TrainingState:
    """A small state whose every number tells its step."""
    weights = {"a": torch.full((5, 3), float(step)), "b": torch.full((7,), step, dtype=torch.bfloat16)}
    moments = {"rest/a/exp_avg": torch.full((5, 3), step / 3), "rest/num_steps": torch.tensor(step)}
    random_numbers = {"cpu": torch.arange(11, dtype=torch.uint8)}
    return TrainingState(step, weights, moments, random_numbers, {"position": step * 10}, {"config.json": "{}\n"})


def same(one: TrainingState, other: TrainingState) -> bool:
    pairs = [(getattr(one, kind), getattr(other, kind)) for kind in ("model", "optimiser", "random")]
    return (one.step, one.facts, one.texts) == (other.step, other.facts, other.texts) and all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a) for a, b in pairs
    )


def written(run: Path, *steps: int, keep_last: int = 3) -> Checkpoints:
    checkpoints = Checkpoints(run, keep_last)
    for step in steps:
        checkpoints.write(state_of(step))
    return checkpoints


def newest_step(run: Path) -> int:
    restored = Checkpoints(run).read_newest()
    assert restored is not None
    assert same(restored.state, state_of(restored.state.step))
    return restored.state.step


def test_a_state_comes_back_bit_by_bit(tmp_path: Path):
    state = TrainingState(
        7, state_of(7).model, state_of(7).optimiser, state_of(7).random, FACTS, {"vocab.txt": "é\r\n"}
    )
    Checkpoints(tmp_path).write(state)
    restored = Checkpoints(tmp_path).read_newest()
    assert restored is not None
    assert same(restored.state, state)
    assert restored.refused == ()
    assert restored.folder == tmp_path / "checkpoints" / "step-00000007"


def test_a_run_without_checkpoints_has_no_newest(tmp_path: Path):
    assert Checkpoints(tmp_path).read_newest() is None


def test_what_is_written_is_an_ordinary_safetensors_file(tmp_path: Path):
    tensors = {
        "bytes": torch.arange(3, dtype=torch.uint8), "flag": torch.tensor(True), "half": torch.ones(2, 2).bfloat16(),
        "scalar": torch.tensor(3), "single": torch.ones(3, 4),
        "none": torch.zeros(0, 4), "double": torch.ones(1, dtype=torch.float64),
    }  # fmt: skip
    with open(tmp_path / "t.safetensors", "wb") as file:
        write_tensors(tensors, file)
    read = safetensors.torch.load_file(tmp_path / "t.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[key], tensors[key]) for key in tensors)
    assert (tmp_path / "t.safetensors").stat().st_size == size_of(tensors)


def test_the_last_ones_are_kept_and_the_protected(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    for step in range(1, 8):
        checkpoints.write(state_of(step), protect=step == 3)
    assert checkpoints.steps() == [3, 6, 7]


def test_a_step_written_again_replaces_the_first_and_ends_the_course_that_was_left(tmp_path: Path):
    checkpoints = written(tmp_path, 1, 2, 3)
    again = TrainingState(2, state_of(9).model, state_of(9).optimiser, state_of(9).random, {"position": 0})
    checkpoints.write(again)
    assert checkpoints.steps() == [1, 2]
    restored = checkpoints.read_newest()
    assert restored is not None
    assert same(restored.state, again)


def damaged_copies(folder: Path):
    """Ways to damage a checkpoint, by name: every file missing, cut, zeroed, grown; flips; strangers; swaps."""

    def rewrite(path: Path, change):
        path.write_bytes(change(bytearray(path.read_bytes())))

    def flip(place: float, bit: int):
        def change(content: bytearray) -> bytearray:
            content[int(place * (len(content) - 1))] ^= 1 << bit
            return content

        return change

    for path in sorted(folder.iterdir()):
        yield f"{path.name} missing", path.unlink
        yield f"{path.name} cut", lambda path=path: rewrite(path, lambda content: content[:-1])
        yield f"{path.name} empty", lambda path=path: path.write_bytes(b"")
        yield f"{path.name} grown", lambda path=path: rewrite(path, lambda content: content + b"\n")
        yield f"{path.name} zeroed", lambda path=path: rewrite(path, lambda content: bytearray(len(content)))
        yield f"{path.name} a folder", lambda path=path: (path.unlink(), path.mkdir())
    yield "a stranger", lambda: (folder / "more.safetensors").write_bytes(b"")
    yield "swapped", lambda: (folder / "model.safetensors").replace(folder / "optimiser.safetensors")
    generator = random.Random(0)
    for _ in range(60):
        path = generator.choice(sorted(folder.iterdir()))
        change = flip(generator.random(), generator.randrange(8))
        yield f"a bit of {path.name} flipped", lambda path=path, change=change: rewrite(path, change)


def test_any_damage_is_noticed_and_the_one_before_is_used(tmp_path: Path):
    written(tmp_path / "whole", 1, 2)
    newest = tmp_path / "run" / "checkpoints" / "step-00000002"
    names = [name for name, _ in damaged_copies(tmp_path / "whole" / "checkpoints" / "step-00000002")]
    for index, name in enumerate(names):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "run")
        list(damaged_copies(newest))[index][1]()
        restored = Checkpoints(tmp_path / "run").read_newest()
        assert restored is not None, name
        assert same(restored.state, state_of(1)), name
        assert len(restored.refused) == 1, name
        assert "step-00000002 is not used: " in restored.refused[0]


def test_every_bit_of_the_manifest_counts(tmp_path: Path):
    written(tmp_path, 1)
    path = tmp_path / "checkpoints" / "step-00000001" / "manifest.json"
    content, checkpoints = path.read_bytes(), Checkpoints(tmp_path)
    for place in range(0, len(content), 7):
        for bit in range(8):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            with pytest.raises(UserError, match=r"manifest\.json"):
                checkpoints.read_newest()


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_naming_the_file(tmp_path: Path):
    written(tmp_path, 1)
    (tmp_path / "checkpoints" / "step-00000001" / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"no checkpoint of this run can be used.*model\.safetensors has 0 bytes"):
        Checkpoints(tmp_path).read_newest()


def test_leftovers_of_a_killed_writer_are_removed_and_never_read(tmp_path: Path):
    written(tmp_path, 1)
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "step-00000001", folder / "step-00000002.tmp-abc")
    assert newest_step(tmp_path) == 1
    assert [entry.name for entry in folder.iterdir()] == ["step-00000001"]


# One process imports torch, and for each line it reads forks one that saves until it is killed.
SAVE_FOR_EVER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_training_checkpoints import Checkpoints, state_of
for _ in sys.stdin:
    if (child := os.fork()) == 0:
        break
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
else:
    sys.exit()
checkpoints = Checkpoints(Path(sys.argv[1]), keep_last=1)
restored = checkpoints.read_newest()
step = restored.state.step if restored else 0
while True:
    checkpoints.write_behind(state_of(step + 1))
    checkpoints.write(state_of(step + 2))
    step += 2
    print(step, flush=True)
"""


def test_a_kill_at_any_moment_of_saving_leaves_a_whole_checkpoint(tmp_path: Path):
    generator = random.Random(1)
    command = [sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, bufsize=1) as forker:
        assert forker.stdin is not None
        assert forker.stdout is not None
        for _ in range(12):
            print(file=forker.stdin)
            child = int(forker.stdout.readline())
            told = [forker.stdout.readline() for _ in range(generator.randint(1, 3))]
            time.sleep(generator.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            while (line := forker.stdout.readline()) != "gone\n":
                told.append(line)
            assert newest_step(tmp_path) >= int(told[-1])
        forker.stdin.close()


class FailingDisk:
    """Counts what reaches the disk and lets the call of a given number find it full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.calls, self.failing = 0, -1
        for name in ("fsync", "replace", "rename", "mkdir"):
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))
        monkeypatch.setattr(checkpoints_module, "write_tensors", self._wrap(write_tensors))
        monkeypatch.setattr(Path, "write_bytes", self._wrap(Path.write_bytes))

    def _wrap(self, function):
        def call(*arguments, **named):
            self.calls += 1
            if self.calls == self.failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **named)

        return call


def test_a_full_disk_at_any_call_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written(tmp_path / "whole", 1, keep_last=1)
    disk = FailingDisk(monkeypatch)
    checkpoints = written(tmp_path / "count", 1, keep_last=1)
    disk.calls = 0
    checkpoints.write(state_of(2))
    num_calls = disk.calls
    assert num_calls > 12
    for failing in range(1, num_calls + 1):
        disk.failing = -1
        run = tmp_path / f"run-{failing}"
        shutil.copytree(tmp_path / "whole", run)
        checkpoints = Checkpoints(run, keep_last=1)
        disk.calls, disk.failing = 0, failing
        with pytest.raises((UserError, OSError), match=r"(?i)no space left"):
            checkpoints.write(state_of(2))
        disk.failing = -1
        assert newest_step(run) in (1, 2)


def test_too_small_a_disk_is_told_before_writing_with_bytes_needed_and_free(tmp_path: Path, monkeypatch):
    checkpoints = written(tmp_path, 1)
    monkeypatch.setattr("openankh.files.free_bytes", lambda path: 1000)
    with pytest.raises(UserError, match=r"bytes needed, 1,000 free"):
        checkpoints.write(state_of(2))
    assert checkpoints.steps() == [1]


def test_writing_behind_saves_what_was_when_it_was_called(tmp_path: Path):
    model = nn.Sequential(nn.Linear(4, 4))
    optimiser = build_optimiser(model, OptimiserSettings("adamw"))
    checkpoints = Checkpoints(tmp_path)
    before = [p.clone() for p in model.parameters()]
    checkpoints.write_behind(snapshot(model, optimiser, 1, {}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(9.0)
    checkpoints.wait()
    restored = checkpoints.read_newest()
    assert restored is not None
    restore(restored.state, model, optimiser)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_failure_behind_is_raised_at_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoints = written(tmp_path, 1)
    monkeypatch.setattr("openankh.files.free_bytes", lambda path: 1000)
    checkpoints.write_behind(state_of(2))
    with pytest.raises(UserError, match="1,000 free"):
        checkpoints.wait()
    checkpoints.wait()


def test_restoring_brings_back_the_random_numbers(tmp_path: Path):
    model = nn.Linear(2, 2)
    optimiser = build_optimiser(model, OptimiserSettings("adamw"))
    torch.manual_seed(3)
    state = snapshot(model, optimiser, 1, {})
    expected = torch.rand(5)
    torch.rand(100)
    restore(state, model, optimiser)
    assert torch.equal(torch.rand(5), expected)


def test_a_state_of_another_model_is_refused_and_changes_nothing():
    model = nn.Linear(2, 2)
    optimiser = build_optimiser(model, OptimiserSettings("adamw"))
    before = model.weight.clone()
    for other in (nn.Linear(2, 3), nn.Linear(2, 2, bias=False)):
        foreign = snapshot(other, build_optimiser(other, OptimiserSettings("adamw")), 4, {})
        with pytest.raises(UserError, match="step 4 is of another model"):
            restore(foreign, model, optimiser)
    assert torch.equal(before, model.weight)


def test_a_tied_weight_is_saved_once():
    model = nn.Module()
    model.shared, model.lm_head = nn.Embedding(3, 2), nn.Linear(2, 3, bias=False)
    model.lm_head.weight = model.shared.weight
    optimiser = build_optimiser(model, OptimiserSettings("adamw"))
    assert list(snapshot(model, optimiser, 1, {}).model) == ["shared.weight"]


HOLD_THE_LOCK = """
import sys, time
from pathlib import Path
from openankh.pretraining.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_trainers_cannot_share_a_run_and_a_dead_one_leaves_it_free(tmp_path: Path):
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"being trained by process {process.pid} on"), run_lock(tmp_path / "run"):
            pass
        process.send_signal(signal.SIGKILL)
    with run_lock(tmp_path / "run"):
        pass
    with run_lock(tmp_path / "run"):
        pass
