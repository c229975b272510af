"""Training a head on rows that are computed already: one function for all heads, stopped where validation says so.

B proteins, L residues, D width.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openankh.errors import UserError
from openankh.pretraining.schedule import Schedule, StepPlan
from openankh.tasks.batching import BatchLimits, batches
from openankh.tasks.cached_states import RowSource
from openankh.tasks.evaluation import Measured, evaluate
from openankh.tasks.examples import Examples, TaskData
from openankh.tasks.heads.head import HeadConfig
from openankh.tasks.heads.padded import pad
from openankh.tasks.losses import ClassWeights, class_weights, loss_of
from openankh.tasks.predictor import Predictor
from openankh.tasks.tuned_encoder import TunedEncoder
from openankh.tasks.validation import score_of

_FEWEST_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS = 1500, 5, 100
_PUBLISHED_RATE, _CONVEX_RATE, _WHOLE_ENCODER_RATE = 1e-3, 1e-2, 1e-4
_LARGEST_GRADIENT = 1.0
"""Norm of the gradient of an encoder that is trained as a whole."""
_SCALED_BY = 1000
"""Proteins of the training split that the scale of rows is taken from."""
_PAIR_CELLS = 1 << 20


@dataclass(frozen=True)
class FitOptions:
    """How a head is trained.

    AdamW with a linear warm-up and fall; `learning_rate` None is what `peak_rate` tells, `encoder_rate`
    None what the function of that name does. `epochs` None: 5 as published,
    more where those would be under 1,500 steps. Training ends when the validation metric has not risen for `patience`
    epochs (None: a fifth of them, at least 3); the best epoch's weights are kept. Of proteins over `longest` residues a
    window is learned from, drawn anew each epoch. `standardise` brings each number of the rows to mean 0 and deviation
    1 over training proteins.
    """

    epochs: int | None = None
    batch_size: int = 16
    learning_rate: float | None = None
    encoder_rate: float | None = None
    weight_decay: float = 0.01
    warmup_steps: int = 1000
    patience: int | None = None
    class_weights: ClassWeights = "none"
    standardise: bool = True
    longest: int = 1024
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "longest"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; it must be at least 1")
        for name, example in (("learning_rate", "1e-3"), ("encoder_rate", "1e-4")):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{name} is {value}; give a number above 0, as {example}")
        if self.seed < 0:
            raise UserError(f"seed is {self.seed}; give 0 or more")


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to: mean losses, and the deciding metric on the validation split."""

    number: int
    train_loss: float
    valid_score: float


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained head, with the weights of its best epoch (counted from 1), and how it got there."""

    predictor: Predictor
    best_epoch: int
    history: tuple[Epoch, ...]

    @property
    def valid_score(self) -> float:
        """The deciding metric on the validation split, in the best epoch."""
        return self.history[self.best_epoch - 1].valid_score


def peak_rate(options: FitOptions, config: HeadConfig, is_tuned: bool = False) -> float:
    """The highest learning rate: as set, else 1e-3 as published, and 1e-2 for a linear head on rows that stay.

    At 1e-3 such a head is far from its optimum when the epochs are over.
    """
    if options.learning_rate is not None:
        return options.learning_rate
    is_convex = config.name == "linear" and config.unit != "pair" and not is_tuned
    return _CONVEX_RATE if is_convex else _PUBLISHED_RATE


def encoder_rate(options: FitOptions, config: HeadConfig, is_whole: bool) -> float:
    """The highest learning rate of the encoder: as set, else the head's for LoRA, 1e-4 where all of it is trained."""
    if options.encoder_rate is not None:
        return options.encoder_rate
    return _WHOLE_ENCODER_RATE if is_whole else peak_rate(options, config, is_tuned=True)


OnEpoch = Callable[[Epoch, int], None]
"""Called after each epoch with how many there may be."""


def fit_head(
    config: HeadConfig,
    data: TaskData,
    states: RowSource,
    options: FitOptions | None = None,
    on_epoch: OnEpoch = lambda epoch, num_epochs: None,
) -> Fitted:
    """Train a head on the training split; the same seed on the same machine gives the same weights.

    A `TunedEncoder` in the place of rows is trained together with the head, and left as of the best epoch. Nobody
    else's randomness is touched. Raises UserError when the loss is no number any more.
    """
    options = options or FitOptions()
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(options.seed)
        return _Fit(config, data, states, options).run(on_epoch)


def outputs_of(predictor: Predictor, states: RowSource, examples: Examples) -> Iterator[NDArray[np.float32]]:
    """What a trained head says of each protein, alone: nothing depends on company."""
    predictor.eval()
    return (predictor.outputs(states.rows(sequence)) for sequence in examples.sequences)


def measure(predictor: Predictor, data: TaskData, states: RowSource) -> dict[str, tuple[Measured, ...]]:
    """All metrics with their intervals, of the validation split and of every test set."""
    parts = {"valid": data.valid, **data.tests}
    return {
        name: evaluate(data.task, data.space, list(outputs_of(predictor, states, examples)), examples)
        for name, examples in parts.items()
    }


@dataclass(frozen=True)
class _Kept:
    """All that training changes, as of one epoch."""

    predictor: dict[str, Tensor]
    parameters: list[Tensor]


class _Fit:
    """One training run."""

    def __init__(self, config: HeadConfig, data: TaskData, states: RowSource, options: FitOptions) -> None:
        self.data, self.states, self.options = data, states, options
        self.is_pooled = states.preprocessing.pool != "residues"
        self.predictor = Predictor(config, data.space, options.seed).to(options.device)
        if options.standardise:
            self._take_scale()
        weights_C = class_weights(data.space, data.train, options.class_weights)
        self.weights_C = None if weights_C is None else weights_C.to(options.device)
        self.limits = BatchLimits(options.batch_size)
        if config.unit == "pair":
            self.limits = BatchLimits(options.batch_size, _PAIR_CELLS, of_pairs=True)
        self.lengths = [1 if self.is_pooled else min(len(each), options.longest) for each in data.train.sequences]
        self.num_epochs = options.epochs or self._enough_epochs()
        self.patience = options.patience or max(3, math.ceil(self.num_epochs / 5))
        steps = self.num_epochs * self._steps_an_epoch()
        self.plan = StepPlan(Schedule("linear"), min(options.warmup_steps, steps // 10), steps)
        self.tuned = states if isinstance(states, TunedEncoder) else None
        self.encoder_parameters = self.tuned.parameters if self.tuned else []
        self.parameters = [*self.predictor.parameters(), *self.encoder_parameters]
        self.is_whole = self.tuned is not None and self.tuned.config is None
        groups = [(peak_rate(options, config, self.tuned is not None), list(self.predictor.parameters()))]
        if self.tuned:
            groups.append((encoder_rate(options, config, self.is_whole), self.encoder_parameters))
        self.rates = [rate for rate, _ in groups]
        parts = [{"params": parameters, "lr": rate} for rate, parameters in groups]
        self.optimiser = torch.optim.AdamW(parts, weight_decay=options.weight_decay)
        self.num_steps = 0

    def run(self, on_epoch: OnEpoch) -> Fitted:
        history: list[Epoch] = []
        best: tuple[float, int, _Kept] = (-math.inf, 0, _Kept({}, []))
        for number in range(1, self.num_epochs + 1):
            loss = self._train(number)
            score = self._score()
            history.append(Epoch(number, loss, score))
            on_epoch(history[-1], self.num_epochs)
            if score > best[0] or not best[1]:
                best = (score if not math.isnan(score) else -math.inf, number, self._kept())
            elif number - best[1] >= self.patience:
                break
        self.predictor.load_state_dict(best[2].predictor)
        with torch.no_grad():
            for parameter, kept in zip(self.parameters, best[2].parameters, strict=True):
                parameter.copy_(kept)
        return Fitted(self.predictor.eval(), best[1], tuple(history))

    def _kept(self) -> "_Kept":
        """Copies of all that is trained, and of what a head counts beside it."""
        state = {name: each.detach().clone() for name, each in self.predictor.state_dict().items()}
        return _Kept(state, [parameter.detach().clone() for parameter in self.parameters])

    def _train(self, number: int) -> float:
        """One epoch; the mean loss of its batches."""
        self.predictor.train()
        generator = np.random.default_rng((self.options.seed, number))
        losses = []
        for places in batches(self.lengths, self.limits, generator):
            loss = self._step(places, generator)
            if not math.isfinite(loss):
                raise UserError(f"the loss became {loss} in epoch {number}; lower the learning rate")
            losses.append(loss)
        return float(np.mean(losses))

    def _step(self, places: Sequence[int], generator: np.random.Generator) -> float:
        pairs = [self._example(place, generator) for place in places]
        x_BLD, is_real_BL = pad(self._rows(places, [window for window, _ in pairs]))
        outputs = self.predictor(x_BLD.to(self.options.device), is_real_BL.to(self.options.device))
        loss = loss_of(self.data.space, outputs, [target for _, target in pairs], self.weights_C)
        self.optimiser.zero_grad()
        loss.backward()
        if self.is_whole:
            torch.nn.utils.clip_grad_norm_(self.encoder_parameters, _LARGEST_GRADIENT)
        factor = self.plan.factor(min(self.num_steps, (self.plan.total_steps or 1) - 1))
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimiser.step()
        self.num_steps += 1
        return float(loss.detach())

    def _example(self, place: int, generator: np.random.Generator) -> tuple[slice, NDArray]:
        """The window of a training protein that is learned from, and its target; of most it is the whole."""
        length, longest = len(self.data.train.sequences[place]), self.options.longest
        target = self.data.train.targets[place]
        if self.is_pooled or length <= longest:
            return slice(None), target
        start = int(generator.integers(length - longest + 1))
        window = slice(start, start + longest)
        return window, target if self.data.task.unit == "protein" else target[window]

    def _rows(self, places: Sequence[int], windows: Sequence[slice]) -> list[Tensor]:
        """The rows of proteins in their windows; an encoder that is tuned sees the windows alone."""
        sequences = [self.data.train.sequences[place] for place in places]
        pairs = zip(sequences, windows, strict=True)
        if self.tuned:
            return self.tuned.learned_rows([sequence[window] for sequence, window in pairs])
        return [torch.from_numpy(np.ascontiguousarray(self.states.rows(each)[window])) for each, window in pairs]

    def _score(self) -> float:
        with self.tuned.settled() if self.tuned else nullcontext():
            outputs = outputs_of(self.predictor, self.states, self.data.valid)
            return score_of(self.data.task.metric, self.data.space, outputs, self.data.valid)

    def _steps_an_epoch(self) -> int:
        return len(batches(self.lengths, self.limits, np.random.default_rng(self.options.seed)))

    def _enough_epochs(self) -> int:
        return min(max(math.ceil(_FEWEST_STEPS / self._steps_an_epoch()), _FEWEST_EPOCHS), _MOST_EPOCHS)

    def _take_scale(self) -> None:
        """Mean and deviation of each number of the rows, over some training proteins; sums are in float64."""
        sequences = self.data.train.sequences
        generator = np.random.default_rng(self.options.seed)
        chosen = np.sort(generator.permutation(len(sequences))[:_SCALED_BY])
        num, sum_D, squares_D = 0, 0.0, 0.0
        for place in chosen:
            rows_LD = self.states.rows(sequences[place]).astype(np.float64)
            num += len(rows_LD)
            sum_D, squares_D = sum_D + rows_LD.sum(axis=0), squares_D + np.square(rows_LD).sum(axis=0)
        mean_D = np.asarray(sum_D / num)
        scale_D = np.sqrt(np.maximum(squares_D / num - np.square(mean_D), 0))
        self.predictor.mean_D.copy_(torch.from_numpy(mean_D))
        self.predictor.scale_D.copy_(torch.from_numpy(np.where(scale_D > 1e-6, scale_D, 1)))
