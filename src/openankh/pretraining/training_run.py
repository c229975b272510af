"""A pre-training run in one process: steps, validation, checkpoints, and how it goes on after a stop.

RUN/ holds run.json (what was begun), journal.jsonl, tensorboard/, checkpoints/ and best/, a model folder.
"""

import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch

from openankh.checkpoint import save_model
from openankh.corpus import Corpus
from openankh.errors import UserError
from openankh.files import require_free_space
from openankh.model import Ankh
from openankh.objectives import Objective
from openankh.pretraining.beginning import check_beginning
from openankh.pretraining.checkpoints import Checkpoints
from openankh.pretraining.evaluation import Evaluation, evaluate
from openankh.pretraining.flops import measured_peak
from openankh.pretraining.initial_model import read_initial_model_again
from openankh.pretraining.journal import Journal, NoJournal
from openankh.pretraining.model_card import model_card
from openankh.pretraining.pace import Now, Pace
from openankh.pretraining.progress import Progress, SilentProgress
from openankh.pretraining.ranks import OtherRankError, joined_ranks
from openankh.pretraining.recipes import Recipe, to_json
from openankh.pretraining.run_curves import open_curves
from openankh.pretraining.run_lock import run_lock
from openankh.pretraining.run_log import RunLog
from openankh.pretraining.run_options import RunOptions, Summary
from openankh.pretraining.run_record import RunRecord, begin_record
from openankh.pretraining.schedule import StepPlan
from openankh.pretraining.stability import Guard
from openankh.pretraining.state import TrainingState, state_of_first
from openankh.pretraining.stop_signals import StoppedError, StopSignals
from openankh.pretraining.tallies import Tallies
from openankh.pretraining.tensor_file import size_of
from openankh.pretraining.trainer import DTYPES, RefusedStepError, Trainer
from openankh.provenance import Provenance


def pretrain(recipe: Recipe, options: RunOptions, progress: Progress, now: Now = time.monotonic) -> Summary:
    """Train by a recipe, or go on with a run that stopped; raises UserError before anything is trained.

    Every rank calls it; the first one alone writes into the run's folder and shows progress.
    """
    with joined_ranks(options.device) as ranks, ExitStack() as stack:
        if not ranks.is_first:
            progress = SilentProgress()
        with ranks.together():
            begun = check_beginning(recipe, options, ranks, progress)
            recipe = begun.recipe
            if ranks.is_first:
                stack.enter_context(run_lock(options.out))
        stop = stack.enter_context(StopSignals())
        torch.manual_seed(recipe.seed)  # its state is kept with every checkpoint, so it is the run's from the start
        with ranks.together():
            device = ranks.device if ranks.size > 1 else torch.device(options.device)
            trainer = Trainer(recipe, begun.train, device, begun.weights, ranks, options.engine)
            if begun.optimiser:
                trainer.optimiser.import_state(begun.optimiser)
        with ranks.together():
            if ranks.is_first:
                _require_room(trainer, options)
                if not options.resume:
                    begin_record(options.out, begun.record)
        run = TrainingRun(trainer, options, begun.record, begun.valid, progress, now)
        stack.callback(run.close)
        return run.train(stop)


class TrainingRun:
    """A run under way."""

    def __init__(
        self,
        trainer: Trainer,
        options: RunOptions,
        record: RunRecord,
        valid: Corpus | None,
        progress: Progress,
        now: Now = time.monotonic,
    ):
        self.trainer, self.recipe, self.record, self.ranks = trainer, trainer.recipe, record, trainer.ranks
        self.options, self.valid, self.progress, self.now = options, valid, progress, now
        self.began = now()
        with self.ranks.together():
            self.checkpoints = Checkpoints(options.out, self.recipe.keep_checkpoints) if self.ranks.is_first else None
        self.tallies = Tallies()
        self.guard = Guard(self.recipe.stability)
        steps = self.recipe.total_steps if record.minutes is None else None
        plan = StepPlan(self.recipe.schedule, self.recipe.warmup_steps, steps)
        resumed = None
        if options.resume:
            plan, resumed = self._restore(plan)
        self.pace = Pace(plan, trainer.step, now)
        with self.ranks.together():
            self.log = self._open_log(resumed)

    def _open_log(self, resumed: TrainingState | None) -> RunLog:
        if not self.ranks.is_first:
            return RunLog(NoJournal(), self.progress, math.inf)
        curves = open_curves(self.options, self.record, resumed and resumed.step, self.progress.say)
        peak_flops = measured_peak(str(self.trainer.device), DTYPES[self.recipe.dtype]) * self.ranks.size
        # A checkpoint of an earlier version does not tell: all lines stay.
        num_lines = 0 if resumed is None else int(resumed.facts.get("journal_lines", sys.maxsize))
        return RunLog(Journal(self.options.out, num_lines, curves), self.progress, peak_flops)

    def train(self, stop: StopSignals) -> Summary:
        """Take steps until the plan or the slice ends, or a signal comes."""
        is_over = False
        while not (is_over or self._is_finished()):
            try:
                # Ranks stop after the same step: what is under way is given up only by one that is alone.
                due = self._go_on(stop.check if self.ranks.size == 1 else _never)
            except StoppedError:
                due = True
            is_over = self._has_to_end(stop)
            if due or is_over or self._is_finished():
                self._checkpoint()
        if self.checkpoints:
            self.checkpoints.wait()
        self._say_how_it_ended(stop)
        return self._summary()

    def close(self) -> None:
        """Close what is open, when all is written; nothing is lost by it."""
        self.log.close()
        if self.checkpoints:
            self.checkpoints.wait()

    @property
    def best_folder(self) -> Path:
        """The model folder of the best validation so far."""
        return self.options.out / "best"

    def _is_finished(self) -> bool:
        return self.pace.plan.is_finished(self.trainer.step) and not self._validation_is_due()

    def _has_to_end(self, stop: StopSignals) -> bool:
        """Whether a signal has come, which is urgent, or the slice is over and no validation is due."""
        if self.ranks.any(stop.received is not None):
            return True
        return self.ranks.told_by_first(self._slice_is_over()) and not self._validation_is_due()

    def _validation_is_due(self) -> bool:
        step = self.trainer.step
        is_time = step % self.recipe.valid_every == 0 or self.pace.plan.is_finished(step)
        return is_time and self.tallies.validated_step < step

    def _go_on(self, check: Callable[[], None]) -> bool:
        """Validate if that is due, else take a step; True when a checkpoint has to follow.

        What `check` raises gives up the step or validation in hand.
        """
        settled = False
        if self._validation_is_due():
            self._validate(check)
        elif self._take_step(check):
            settled = self._settle()
        else:
            return False
        return settled or (self.trainer.step % self.recipe.checkpoint_every == 0 and not self._validation_is_due())

    def _take_step(self, check: Callable[[], None]) -> bool:
        """Whether a step was taken; else its proteins were left out, or the run stands at a checkpoint again."""
        begin, factor = self.now(), self.pace.plan.factor(self.trainer.step)
        try:
            update = self.trainer.update(factor, check, self.guard.refused)
        except RefusedStepError as refused:
            self._deal_with(refused)
            return False
        seconds = max(self.now() - begin, 1e-9)
        self.tallies = self.tallies.plus(update)
        if spike := self.guard.trouble(update.loss, update.gradient_norm):
            self.log.trouble(self.trainer.step, spike, "tell", f"step {self.trainer.step}: spike: {spike}")
        self.guard.taken(update.loss)
        facts = {
            "learning_rate_factor": factor,
            "position": self.trainer.position,
            "total_tokens": self.tallies.tokens,
        }
        self.log.step(self.trainer.step, update, facts, self.pace, seconds, self._seconds())
        return True

    def _deal_with(self, refused: RefusedStepError) -> None:
        """Leave the step's proteins out, go back to the newest checkpoint, or raise: as the recipe has it."""
        step = self.trainer.step
        with self.ranks.together():
            has_checkpoint = self._has_checkpoint()
        action = self.guard.decide(refused.trouble, self.ranks.any(has_checkpoint))
        if action == "roll-back":
            self._go_back()
        message = {
            "skip": "these proteins are left out",
            "roll-back": f"rolled back to step {self.trainer.step}, going on with the proteins behind it",
            "stop": self._remedy(),
        }[action]
        self.log.trouble(step + 1, refused.trouble, action, f"{refused}: {message}", refused.position)
        if action == "stop":
            raise UserError(f"{refused}: {message}") if self.ranks.is_first else OtherRankError
        self.trainer.position = refused.next_position

    def _has_checkpoint(self) -> bool:
        if self.checkpoints is None:
            return False
        self.checkpoints.wait()
        return bool(self.checkpoints.steps())

    def _go_back(self) -> None:
        """Stand where the newest checkpoint stood; time goes on."""
        state = self._newest_state()
        assert state is not None, "the checkpoint was there"
        self.trainer.restore(state)
        seconds = self.tallies.earlier_seconds
        self.tallies = Tallies(**{**state.facts["tallies"], "earlier_seconds": seconds})
        self.guard.rolled_back(state.facts.get("stability"))
        self.pace = Pace(self.pace.plan, self.trainer.step, self.now)

    def _remedy(self) -> str:
        settings = self.recipe.stability
        return (
            f"stopped after {self.guard.num_roll_backs} of at most {settings.most_roll_backs} roll-backs; go on with "
            "--resume and another stability.not_finite, stability.spike or stability.most_roll_backs, or begin a new "
            "run with a lower learning rate"
        )

    def _seconds(self) -> float:
        """Time spent on this run, earlier processes included."""
        return self.tallies.earlier_seconds + self.now() - self.began

    def _slice_is_over(self) -> bool:
        slice_minutes = self.options.slice_minutes
        return slice_minutes is not None and self.now() - self.began >= 60 * slice_minutes

    def _settle(self) -> bool:
        """Fit the number of steps to the time budget; True when it has changed."""
        if self.record.minutes is None:
            return False
        again = self.trainer.step % self.recipe.checkpoint_every == 0
        settled = self.ranks.is_first and self.pace.settle(
            self.trainer.step, 60 * self.record.minutes - self._seconds(), again
        )
        told = self.ranks.told_by_first(self.pace.plan.to_json() if settled else None)
        if told is not None and not self.ranks.is_first:
            self.pace.plan = StepPlan.from_json(told)
        settled = told is not None
        plan = self.pace.plan
        if settled and plan.total_steps is not None and plan.total_steps <= plan.warmup_steps:
            self.progress.say(
                f"the time budget ends after {plan.total_steps} steps, within the warm-up of {plan.warmup_steps}: "
                "give more --minutes, or set warmup_steps lower"
            )
        return settled

    def _validate(self, check: Callable[[], None]) -> None:
        results: dict[str, Evaluation] = {}
        if self.valid is not None:
            results = {each.name: self._evaluate(self.valid, each, check) for each in self.recipe.objectives}
            self.log.validation(self.trainer.step, results, self._seconds())
        if not results or self.tallies.is_better(_mean_loss(results)):
            self._save_best(results)
        self.tallies = self.tallies.validated(self.trainer.step)

    def _evaluate(self, valid: Corpus, objective: Objective, check: Callable[[], None]) -> Evaluation:
        return evaluate(
            self.trainer.model,
            valid,
            objective,
            DTYPES[self.recipe.dtype],
            self.trainer.device,
            self.recipe.packing.crop,
            self.recipe.valid_tokens,
            batch_tokens=self.recipe.packing.tokens,
            before_batch=check,
            ranks=self.ranks,
            loss=self.trainer.loss.of if self.trainer.loss.is_sharded else None,
        )

    def _save_best(self, results: Mapping[str, Evaluation]) -> None:
        """Save the model as the best so far; without validation, the newest is."""
        loss = _mean_loss(results) if results else None
        self.tallies = self.tallies.with_best(self.trainer.step, loss)
        with self.ranks.together():
            model = self.trainer.whole_model()
            if model is not None:
                self._save_model(model, loss, results)

    def _save_model(self, model: Ankh, loss: float | None, results: Mapping[str, Evaluation]) -> None:
        training = {
            "recipe": to_json(self.recipe),
            "step": self.trainer.step,
            "residues": self.tallies.residues,
            "encoder_tokens": self.tallies.tokens,
            "minutes": round(self._seconds() / 60, 2),
            "init": self.record.init,
            "corpus_fingerprint": self.record.corpus_fingerprint,
            "perplexity": None if loss is None else math.exp(loss),
            "validation": {name: asdict(result) for name, result in results.items()},
        }
        provenance = Provenance(f"openankh-{self.recipe.name}", self.options.licence, training)
        texts = {"README.md": model_card(provenance, self.record)}
        save_model(model, self.recipe.vocab, self.best_folder, provenance, texts=texts)

    def _checkpoint(self) -> None:
        if self.checkpoints is None:
            self.trainer.state({})  # where weights are shared out, all ranks have a part in a checkpoint
            return
        self.log.sync()
        facts = {
            "plan": self.pace.plan.to_json(),
            "tallies": asdict(self.tallies),
            "stability": self.guard.to_json(),
            "journal_lines": self.log.journal.num_lines,
            "seconds": self._seconds(),
        }
        self.checkpoints.wait()  # or two copies of the state would lie in memory
        self.checkpoints.write_behind(self.trainer.state(facts))

    def _restore(self, plan: StepPlan) -> tuple[StepPlan, TrainingState | None]:
        """Go on from the newest whole checkpoint, or from the beginning by `plan`; the plan and the checkpoint."""
        state = self._newest_state()
        if state is None:
            self.progress.say("no checkpoint yet: beginning again")
            if self.record.init:
                initial = read_initial_model_again(self.record.init, self.recipe, self.options)
                self.trainer.begin_with(initial.weights)
                if initial.optimiser:
                    self.trainer.optimiser.import_state(initial.optimiser)
            return plan, None
        self.trainer.restore(state)
        self.tallies = Tallies(**{**state.facts["tallies"], "earlier_seconds": state.facts["seconds"]})
        self.guard.restore(state.facts.get("stability"))
        return StepPlan.from_json(state.facts["plan"]), state

    def _newest_state(self) -> TrainingState | None:
        """The newest whole checkpoint's state, on every rank; tells which one, and what was wrong with newer ones."""
        with self.ranks.together():
            found = self.checkpoints.read_newest() if self.checkpoints else None
        if found:
            for line in (*found.refused, f"going on from {found.folder}"):
                self.progress.say(line)
        return state_of_first(found.state if found else None, self.ranks)

    def _say_how_it_ended(self, stop: StopSignals) -> None:
        if self._is_finished():
            self.progress.say(f"finished: the model is {self.best_folder} (name it with --model)")
        else:
            why = f"stopped by {stop.received}" if stop.received else "this slice is over"
            self.progress.say(f"{why} after step {self.trainer.step}: go on with --resume")

    def _summary(self) -> Summary:
        loss = self.tallies.best_loss
        return Summary(
            run=self.options.out,
            finished=self._is_finished(),
            step=self.trainer.step,
            total_steps=self.pace.plan.total_steps,
            residues=self.tallies.residues,
            tokens=self.tallies.tokens,
            minutes=round(self._seconds() / 60, 2),
            valid_loss=loss,
            perplexity=None if loss is None else math.exp(loss),
            best=self.best_folder if self.best_folder.exists() else None,
        )


def _never() -> None:
    """Gives nothing up."""


def _mean_loss(results: Mapping[str, Evaluation]) -> float:
    return sum(result.residue_loss for result in results.values()) / len(results)


def _require_room(trainer: Trainer, options: RunOptions) -> None:
    """Raise UserError, before anything is trained, when the disk is too small for what the run is going to write."""
    num_model_bytes = size_of(trainer.model.state_dict())
    num_state_bytes = num_model_bytes + size_of(trainer.optimiser.tensors())
    # A new one is written before an old one goes; a run that is resumed has its share on the disk already.
    num_states = 1 if options.resume else trainer.recipe.keep_checkpoints + 1
    require_free_space(options.out, num_states * num_state_bytes + 2 * num_model_bytes)
