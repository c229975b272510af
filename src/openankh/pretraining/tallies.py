"""What a run has added up so far; kept with every checkpoint."""

from dataclasses import dataclass, replace

from openankh.pretraining.trainer import Update


@dataclass(frozen=True)
class Tallies:
    """Residues and encoder tokens read, seconds of earlier processes, and the last and the best validation.

    `best_loss` is the mean over objectives of the hidden residues' loss; None where nothing is validated.
    """

    residues: int = 0
    tokens: int = 0
    earlier_seconds: float = 0.0
    validated_step: int = 0
    best_step: int | None = None
    best_loss: float | None = None

    def plus(self, update: Update) -> "Tallies":
        """With one update more."""
        return replace(
            self, residues=self.residues + update.num_residues_read, tokens=self.tokens + update.num_tokens_read
        )

    def with_best(self, step: int, loss: float | None) -> "Tallies":
        """With a new best validation."""
        return replace(self, best_step=step, best_loss=loss)

    def validated(self, step: int) -> "Tallies":
        """With a validation after `step` updates."""
        return replace(self, validated_step=step)

    def is_better(self, loss: float) -> bool:
        """Whether a validation is the best so far."""
        return self.best_loss is None or loss < self.best_loss
