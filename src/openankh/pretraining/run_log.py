"""What a run tells while it goes on: every number to the journal and its curves, the recent ones to a person."""

from collections.abc import Mapping
from dataclasses import asdict

from openankh.pretraining.evaluation import Evaluation
from openankh.pretraining.journal import Journal, NoJournal
from openankh.pretraining.pace import Pace
from openankh.pretraining.progress import Progress, Recent, Report
from openankh.pretraining.stability import Trouble
from openankh.pretraining.trainer import Update


class RunLog:
    """Writes a run's journal and shows its progress; `peak_flops` is what utilisation is a share of."""

    def __init__(self, journal: Journal | NoJournal, progress: Progress, peak_flops: float):
        self.journal, self.progress, self.peak_flops = journal, progress, peak_flops
        self._recent = Recent()

    def step(
        self,
        step: int,
        update: Update,
        facts: Mapping[str, float | int],
        pace: Pace,
        seconds: float,
        total_seconds: float,
    ) -> None:
        """Tell of an update that took `seconds`; `facts` are further numbers that the same run gives again."""
        timing = {
            "seconds": total_seconds,
            "tokens_a_second": update.num_tokens_read / seconds,
            "flops_utilisation": update.flops / seconds / self.peak_flops,
            "peak_flops": self.peak_flops,
            "total_steps": pace.plan.total_steps,
        }
        self.journal.write("train", step, {**asdict(update), **facts}, timing)
        self._recent = recent = self._recent.plus(
            update.residue_loss, update.num_tokens_read, update.flops, seconds, update.task_losses
        )
        utilisation = recent.flops_a_second / self.peak_flops
        self.progress.total_steps = pace.plan.total_steps
        self.progress.show(
            Report(step, recent.loss, recent.tokens_a_second, utilisation, pace.seconds_left(step), recent.task_losses)
        )

    def trouble(self, step: int, trouble: Trouble, action: str, line: str, position: int | None = None) -> None:
        """Tell of a step that was not taken, or taken with a warning, and of what was done about it."""
        facts = {"trouble": trouble.kind, "action": action, "position": position, "usual": trouble.usual}
        numbers = {"loss": trouble.loss, "gradient_norm": trouble.gradient_norm}
        self.journal.write("trouble", step, {**facts, **numbers})
        self.progress.say(line)

    def validation(self, step: int, results: Mapping[str, Evaluation], total_seconds: float) -> None:
        """Tell of a validation, one line an objective."""
        for objective, result in results.items():
            values = {"objective": objective, **asdict(result), "perplexity": result.perplexity}
            self.journal.write("valid", step, values, {"seconds": total_seconds})
            named = f" ({objective})" if len(results) > 1 else ""
            self.progress.say(
                f"step {step}: validation loss {result.loss:.4f}, "
                f"perplexity of hidden residues {result.perplexity:.3f}{named}"
            )

    def sync(self) -> None:
        """Make the journal survive a power cut; call it before a checkpoint of the same step."""
        self.journal.sync()

    def close(self) -> None:
        """End the journal and its curves."""
        self.journal.close()
