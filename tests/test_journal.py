"""The journal, TensorBoard's curves and the progress display of a training run."""

import io
import json
import math
import sys
from pathlib import Path

import pytest
from rich.console import Console

from openankh.errors import UserError
from openankh.pretraining.journal import Journal, read_journal
from openankh.pretraining.progress import Report, TrainingProgress
from openankh.pretraining.tensorboard import open_tensorboard


def write_steps(journal: Journal, steps: range) -> None:
    for step in steps:
        journal.write("train", step, {"loss": 3.0 / step, "rate": 0.1})
        if step % 5 == 0:
            journal.write("valid", step, {"perplexity": 17.0 + step, "objective": "ankh"})


def test_a_resumed_journal_equals_that_of_a_run_that_never_stopped(tmp_path: Path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    with Journal(tmp_path / "whole") as journal:
        write_steps(journal, range(1, 31))
    for checkpoint, killed_after in ((0, 17), (10, 12), (10, 28), (25, 30)):
        num_lines = checkpoint + checkpoint // 5
        with Journal(tmp_path / "cut", num_lines) as journal:
            assert journal.num_lines == num_lines
            write_steps(journal, range(checkpoint + 1, killed_after + 1))
        if killed_after < 30:
            with open(tmp_path / "cut" / "journal.jsonl", "ab") as file:
                file.write(b'{"kind": "train", "step": 1')
    whole, cut = ((tmp_path / name / "journal.jsonl").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_a_line_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path):
    with Journal(tmp_path) as journal:
        journal.write("train", 1, {"loss": 2.5}, timing={"seconds": 0.25})
        line = json.loads((tmp_path / "journal.jsonl").read_text())
        assert line == {"kind": "train", "step": 1, "loss": 2.5, "timing": {"seconds": 0.25}}


def test_numbers_come_back_as_the_same_bits_and_nan_as_text(tmp_path: Path):
    with Journal(tmp_path) as journal:
        journal.write("train", 1, {"loss": 0.1 + 0.2, "norm": math.nan, "spike": math.inf})
    assert read_journal(tmp_path) == [{"kind": "train", "step": 1, "loss": 0.1 + 0.2, "norm": "nan", "spike": "inf"}]


def test_a_new_run_begins_an_empty_journal(tmp_path: Path):
    for _ in range(2):
        with Journal(tmp_path) as journal:
            journal.write("begin", 0, {"seed": 1})
    assert len(read_journal(tmp_path)) == 1


def test_resuming_without_a_journal_begins_one(tmp_path: Path):
    with Journal(tmp_path, num_lines=7) as journal:
        journal.write("train", 8, {})
    assert read_journal(tmp_path) == [{"kind": "train", "step": 8}]


def test_lines_behind_a_checkpoint_go_whatever_step_they_tell_of(tmp_path: Path):
    with Journal(tmp_path) as journal:
        write_steps(journal, range(1, 11))
        kept = journal.num_lines
        write_steps(journal, range(7, 9))
    with Journal(tmp_path, num_lines=kept) as journal:
        assert journal.num_lines == kept == 12
        journal.write("train", 8, {})
    assert [line["step"] for line in read_journal(tmp_path)][-4:] == [9, 10, 10, 8]


def test_a_full_disk_is_a_clear_line(tmp_path: Path):
    class FullFile(io.RawIOBase):
        def write(self, content: object) -> int:
            return 3

    with Journal(tmp_path) as journal:
        journal._file.close()
        journal._file = FullFile()  # type: ignore[assignment]
        with pytest.raises(UserError, match=r"journal\.jsonl: no space left on device; free some space"):
            journal.write("train", 1, {})


def test_curves_go_to_tensorboard(tmp_path: Path):
    pytest.importorskip("tensorboardX")
    said: list[str] = []
    with Journal(tmp_path, curves=open_tensorboard(tmp_path, None, said.append)) as journal:
        write_steps(journal, range(1, 6))
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    assert b"train/loss" in content
    assert b"valid/ankh/perplexity" in content
    assert b"objective" not in content
    assert said == []


def test_a_missing_tensorboard_is_said_once_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    said: list[str] = []
    with Journal(tmp_path, curves=open_tensorboard(tmp_path, None, said.append)) as journal:
        write_steps(journal, range(1, 4))
    assert len(said) == 1
    assert 'pip install "openankh[train]"' in said[0]
    assert not (tmp_path / "tensorboard").exists()


def show(terminal: bool, total_steps: int | None) -> str:
    target = io.StringIO()
    console = Console(file=target, force_terminal=terminal, width=160)
    with TrainingProgress(total_steps, console=console) as progress:
        for step in range(1, 11):
            progress.show(Report(step, 2.8, 5300.4, 0.31, 3661.2))
        progress.say("[checkpoint] step 10")
    return target.getvalue()


def test_a_file_gets_a_line_at_the_beginning_and_the_end():
    lines = show(terminal=False, total_steps=10).splitlines()
    assert lines == [
        "step 1/10 · loss 2.8000 · perplexity 16.44 · 5,300 tokens/s · MFU 31.0% · 1:01:01 left",
        "step 10/10 · loss 2.8000 · perplexity 16.44 · 5,300 tokens/s · MFU 31.0% · 1:01:01 left",
        "[checkpoint] step 10",
    ]


@pytest.mark.parametrize("total_steps", [10, None])
def test_a_terminal_gets_a_bar(total_steps: int | None):
    shown = show(terminal=True, total_steps=total_steps)
    assert "perplexity 16.44" in shown
    assert "[checkpoint] step 10" in shown


def test_a_wild_loss_has_an_infinite_perplexity():
    assert Report(1, 1e9, 1.0).perplexity == math.inf
    assert math.isnan(Report(1, math.nan, 1.0).perplexity)
