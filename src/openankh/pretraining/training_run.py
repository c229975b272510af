"""A pre-training run in one process: steps, validation, checkpoints, and how it goes on after a stop.

RUN/ holds run.json (what was begun), journal.jsonl, tensorboard/, checkpoints/ and best/, a model folder.
"""

import math
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from openankh.checkpoint import save_model
from openankh.corpus import Corpus
from openankh.errors import UserError
from openankh.pretraining.checkpoints import Checkpoints
from openankh.pretraining.evaluation import Evaluation, evaluate
from openankh.pretraining.flops import measured_peak
from openankh.pretraining.journal import Journal
from openankh.pretraining.progress import Report, TrainingProgress
from openankh.pretraining.recipes import Recipe, to_json
from openankh.pretraining.run_lock import run_lock
from openankh.pretraining.run_record import begin_record, check_record
from openankh.pretraining.schedule import StepPlan
from openankh.pretraining.stop_signals import StopSignals
from openankh.pretraining.tensorboard import open_tensorboard
from openankh.pretraining.trainer import DTYPES, Trainer, Update
from openankh.provenance import Provenance

CALIBRATION_STEPS = 20
"""Steps timed before a time budget is first turned into a number of steps."""


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes, and how long.

    `minutes` is the budget of the whole run, which its schedule is planned for; `slice_minutes` stops this process
    after so long with a checkpoint, to be resumed.
    """

    corpus: Path
    out: Path
    resume: bool = False
    minutes: float | None = None
    slice_minutes: float | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Summary:
    """How a run stands when its process ends; `perplexity` is that of hidden residues of the validation split."""

    run: Path
    finished: bool
    step: int
    total_steps: int | None
    residues: int
    tokens: int
    minutes: float
    valid_loss: float | None
    perplexity: float | None
    best: Path | None


def pretrain(recipe: Recipe, options: RunOptions, progress: TrainingProgress) -> Summary:
    """Train by a recipe, or go on with a run that stopped; raises UserError before anything is trained."""
    if options.minutes is not None and not options.minutes > 0:
        raise UserError(f"--minutes {options.minutes}: give a time above 0")
    train, valid = _open_corpus(recipe, options.corpus)
    if options.resume:
        check_record(options.out, recipe, train.fingerprint)
    with ExitStack() as stack:
        stack.enter_context(run_lock(options.out))
        if not options.resume:
            begin_record(options.out, recipe, train.fingerprint, options.minutes)
        run = TrainingRun(recipe, options, train, valid, progress)
        stack.callback(run.close)
        stop = stack.enter_context(StopSignals())
        return run.train(stop)


class TrainingRun:
    """A run under way."""

    def __init__(
        self, recipe: Recipe, options: RunOptions, train: Corpus, valid: Corpus | None, progress: TrainingProgress
    ):
        self.recipe, self.options, self.valid, self.progress = recipe, options, valid, progress
        self.trainer = Trainer(recipe, train, torch.device(options.device))
        self.checkpoints = Checkpoints(options.out, recipe.keep_checkpoints)
        steps = recipe.total_steps if options.minutes is None else None
        self.plan = StepPlan(recipe.schedule, recipe.warmup_steps, steps)
        self.tallies = Tallies()
        resumed = self._restore() if options.resume else None
        self.journal = Journal(options.out, resumed, open_tensorboard(options.out, resumed, progress.say))
        self.peak = measured_peak(options.device, DTYPES[recipe.dtype])
        self.began = time.monotonic()
        self.clock = StepClock(self.trainer.step)

    def train(self, stop: StopSignals) -> Summary:
        """Take steps until the plan or the slice ends, or a signal comes."""
        while not self.plan.is_finished(self.trainer.step):
            factor = self.plan.factor(self.trainer.step)
            update = self.trainer.update(factor)
            self.tallies = self.tallies.plus(update)
            self._record(update, factor)
            step = self.trainer.step
            self._settle()
            finished = self.plan.is_finished(step)
            if finished or step % self.recipe.valid_every == 0:
                self._validate()
            stopping = stop.received is not None or self._slice_is_over()
            if finished or stopping or step % self.recipe.checkpoint_every == 0:
                self._checkpoint()
            if stopping:
                break
        self.checkpoints.wait()
        if stop.received:
            self.progress.say(f"stopped by {stop.received} after step {self.trainer.step}: go on with --resume")
        return self._summary()

    def close(self) -> None:
        """Close what is open; nothing is lost by it."""
        self.journal.close()

    def _seconds(self) -> float:
        """Time spent on this run, earlier processes included."""
        return self.tallies.earlier_seconds + time.monotonic() - self.began

    def _slice_is_over(self) -> bool:
        slice_minutes = self.options.slice_minutes
        return slice_minutes is not None and time.monotonic() - self.began >= 60 * slice_minutes

    def _settle(self) -> None:
        """Turn a time budget into steps, and again with newer timings until the learning rate begins to fall."""
        step = self.trainer.step
        if self.options.minutes is None or not self.plan.may_settle(step):
            return
        first = self.plan.total_steps is None
        due = self.clock.num_steps(step) >= CALIBRATION_STEPS if first else step % self.recipe.checkpoint_every == 0
        if due or self._seconds() >= 60 * self.options.minutes:
            seconds_left = 60 * self.options.minutes - self._seconds()
            self.plan = self.plan.settled(step, seconds_left, self.clock.seconds_a_step(step))
            self.progress.total_steps = self.plan.total_steps
            self.clock = StepClock(step)

    def _record(self, update: Update, factor: float) -> None:
        seconds = max(self.clock.lap(), 1e-9)
        values = {
            **asdict(update),
            "learning_rate_factor": factor,
            "position": self.trainer.position,
            "total_tokens": self.tallies.tokens,
        }
        speed, share = update.num_tokens_read / seconds, update.flops / seconds / self.peak
        timing = {"seconds": self._seconds(), "tokens_a_second": speed, "flops_utilisation": share}
        self.journal.write("train", self.trainer.step, values, timing)
        left = None
        if self.plan.total_steps is not None:
            left = (self.plan.total_steps - self.trainer.step) * self.clock.seconds_a_step(self.trainer.step)
        self.progress.show(Report(self.trainer.step, update.residue_loss, speed, share, left))

    def _validate(self) -> None:
        if self.valid is None:
            self._save_best(None)
            return
        result = evaluate(
            self.trainer.model,
            self.valid,
            self.recipe.objective,
            DTYPES[self.recipe.dtype],
            self.trainer.device,
            self.recipe.packing.crop,
            self.recipe.valid_tokens,
        )
        values = {"loss": result.loss, "residue_loss": result.residue_loss, "perplexity": result.perplexity}
        self.journal.write("valid", self.trainer.step, values, {"seconds": self._seconds()})
        self.progress.say(
            f"step {self.trainer.step}: validation loss {result.loss:.4f}, "
            f"perplexity of hidden residues {result.perplexity:.3f}"
        )
        if self.tallies.best_loss is None or result.residue_loss < self.tallies.best_loss:
            self._save_best(result)

    def _save_best(self, result: Evaluation | None) -> None:
        self.tallies = self.tallies.with_best(self.trainer.step, result)
        training = {
            "recipe": to_json(self.recipe),
            "step": self.trainer.step,
            "residues": self.tallies.residues,
            "encoder_tokens": self.tallies.tokens,
            "minutes": round(self._seconds() / 60, 2),
            "validation": None if result is None else asdict(result),
        }
        provenance = Provenance(name=f"openankh-{self.recipe.name}", licence="CC-BY-4.0", training=training)
        save_model(self.trainer.model, self.recipe.vocab, self.best_folder, provenance)

    @property
    def best_folder(self) -> Path:
        """The model folder of the best validation so far."""
        return self.options.out / "best"

    def _checkpoint(self) -> None:
        self.journal.sync()
        facts = {"plan": self.plan.to_json(), "tallies": asdict(self.tallies), "seconds": self._seconds()}
        self.checkpoints.write_behind(self.trainer.state(facts))

    def _restore(self) -> int:
        """Go on from the newest whole checkpoint, or from the beginning; returns the step."""
        found = self.checkpoints.read_newest()
        if found is None:
            self.progress.say("no checkpoint yet: beginning again")
            return 0
        for line in found.refused:
            self.progress.say(line)
        self.trainer.restore(found.state)
        facts = found.state.facts
        self.plan = StepPlan.from_json(facts["plan"])
        self.tallies = Tallies(**{**facts["tallies"], "earlier_seconds": facts["seconds"]})
        self.progress.total_steps = self.plan.total_steps
        self.progress.say(f"going on from {found.folder}")
        return found.state.step

    def _summary(self) -> Summary:
        loss = self.tallies.best_loss
        return Summary(
            run=self.options.out,
            finished=self.plan.is_finished(self.trainer.step),
            step=self.trainer.step,
            total_steps=self.plan.total_steps,
            residues=self.tallies.residues,
            tokens=self.tallies.tokens,
            minutes=round(self._seconds() / 60, 2),
            valid_loss=loss,
            perplexity=None if loss is None else math.exp(loss),
            best=self.best_folder if self.best_folder.exists() else None,
        )


@dataclass(frozen=True)
class Tallies:
    """What a run has added up: residues and encoder tokens read, time of earlier processes, the best validation."""

    residues: int = 0
    tokens: int = 0
    earlier_seconds: float = 0.0
    best_step: int | None = None
    best_loss: float | None = None

    def plus(self, update: Update) -> "Tallies":
        """With one update more."""
        return replace(
            self, residues=self.residues + update.num_residues_read, tokens=self.tokens + update.num_tokens_read
        )

    def with_best(self, step: int, result: Evaluation | None) -> "Tallies":
        """With a new best validation."""
        return replace(self, best_step=step, best_loss=None if result is None else result.residue_loss)


class StepClock:
    """Times steps, since it was made and lap by lap."""

    def __init__(self, first_step: int) -> None:
        self.first_step = first_step
        self.started = self.last = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self.last = self.last, time.monotonic()
        return self.last - before

    def num_steps(self, step: int) -> int:
        """Steps timed when `step` are done."""
        return step - self.first_step

    def seconds_a_step(self, step: int) -> float:
        """Mean over the steps timed."""
        return (time.monotonic() - self.started) / max(1, self.num_steps(step))


def _open_corpus(recipe: Recipe, folder: Path) -> tuple[Corpus, Corpus | None]:
    train = Corpus.open(folder)
    if train.vocab.fingerprint != recipe.vocab.fingerprint:
        raise UserError(
            f"{folder}: was prepared with another vocabulary than recipe {recipe.name} uses; "
            f"prepare it with --vocab {recipe.vocabulary}"
        )
    valid = Corpus.open(folder, split="valid") if "valid" in train.manifest.splits else None
    return train, valid
