"""Numbers of a run told to a tracker beside the journal, by stand-ins that have the trackers' own functions."""

import builtins
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from openankh import cli
from openankh.pretraining import training_run
from openankh.pretraining.journal import read_journal
from openankh.pretraining.recipes import nano_mixture, to_json
from openankh.pretraining.run_curves import SeveralCurves
from openankh.pretraining.trackers import TrackedCurves, open_tracker
from training_samples import prepare_sample, pretrain_arguments


class StandIn(ModuleType):
    """A module with the three functions that trackio and wandb share, which remembers what it was told."""

    def __init__(self, name: str, reason: str = ""):
        super().__init__(name)
        self.reason = reason
        self.begun: dict[str, Any] = {}
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def init(self, project: str, name: str, config: dict, resume: str, **only_wandb: str) -> None:
        if self.reason:
            raise RuntimeError(self.reason)
        assert set(only_wandb) == ({"id", "dir"} if self.__name__ == "wandb" else set())
        self.begun = {"project": project, "name": name, "config": config, "resume": resume, **only_wandb}

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.logged.append((step, numbers))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_sample(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(autouse=True)
def _quick_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "measured_peak", lambda device, dtype: 1e11)


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_run_tells_a_tracker_every_number_of_its_journal(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tracker = StandIn(name)
    monkeypatch.setitem(sys.modules, name, tracker)
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--quiet", "--log", name, "total_steps=6")) == 0
    lines = read_journal(tmp_path / "run")
    assert [step for step, _ in tracker.logged] == [line["step"] for line in lines]
    losses = [numbers["train/loss"] for _, numbers in tracker.logged if "train/loss" in numbers]
    assert losses == [line["loss"] for line in lines if line["kind"] == "train"]
    assert any(key.startswith("valid/") and key.endswith("/perplexity") for _, each in tracker.logged for key in each)
    assert tracker.begun["project"] == "openankh" and tracker.begun["resume"] == "allow"
    assert tracker.begun["config"]["packing"]["crop"] == 64
    assert tracker.begun["name"].startswith("run-") and tracker.finished == 1
    assert (tmp_path / "run" / "tensorboard").is_dir()


def test_a_resumed_run_goes_on_in_the_same_run_of_the_tracker(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, other = StandIn("wandb"), StandIn("wandb"), StandIn("wandb")
    arguments = pretrain_arguments(corpus, tmp_path / "run", "--quiet", "--log", "wandb")
    monkeypatch.setitem(sys.modules, "wandb", first)
    assert cli.main([*arguments, "--slice-minutes", "1e-9"]) == 75
    monkeypatch.setitem(sys.modules, "wandb", second)
    assert cli.main([*arguments, "--resume"]) == 0
    assert (second.begun["id"], second.begun["name"]) == (first.begun["id"], first.begun["name"])
    monkeypatch.setitem(sys.modules, "wandb", other)
    assert cli.main(pretrain_arguments(corpus, tmp_path / "two", "--quiet", "--log", "wandb", "total_steps=1")) == 0
    assert other.begun["id"] != first.begun["id"], "the same settings again are another run"


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_tracker_that_is_not_installed_is_told_before_anything_is_written(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--log", name)) == 2
    told = capsys.readouterr().err
    assert told == f'error: --log {name}: {name} is not installed; pip install "openankh[{name}]"\n'
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_cannot_begin_is_one_line(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", StandIn("wandb", "no API key\nconfigured"))
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--quiet", "--log", "wandb")) == 2
    assert "--log wandb: it cannot begin (no API key configured); mend that" in capsys.readouterr().err


def test_without_a_tracker_none_is_imported(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []
    original = builtins.__import__

    def watched(name: str, *rest: Any, **named: Any) -> Any:
        imported.append(name)
        return original(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", watched)
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--quiet", "total_steps=1")) == 0
    assert not {"wandb", "trackio"} & set(imported)


def test_several_places_are_given_the_same_and_texts_stay_behind(tmp_path: Path, monkeypatch) -> None:
    trackers = [StandIn("wandb"), StandIn("wandb")]
    curves = SeveralCurves([TrackedCurves(tracker) for tracker in trackers])
    curves.add("train", 3, {"loss": 1.5, "task_losses": {"de noising": 2.0}, "plan": "text", "flag": True, "n": 4})
    curves.add("note", 4, {"text": "nothing to draw"})
    curves.close()
    expected = [(3, {"train/loss": 1.5, "train/task_losses/de_noising": 2.0, "train/n": 4})]
    assert [tracker.logged for tracker in trackers] == [expected, expected]
    assert [tracker.finished for tracker in trackers] == [1, 1]
    monkeypatch.setitem(sys.modules, "wandb", trackers[0])
    open_tracker("wandb", tmp_path, "ab" * 32, to_json(nano_mixture()))
    assert trackers[0].begun["config"]["objective"]["kind"] == "Mixture"
