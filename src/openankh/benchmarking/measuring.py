"""One cell measured: a head trained on one entrant's rows, judged on validation and every test set."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from openankh.benchmarking.attention_contacts import fit_on_attention
from openankh.benchmarking.cell import Cell, CellKey, CellSettings, Figure, Seconds
from openankh.benchmarking.resampling import draws_of
from openankh.benchmarking.shuffling import chance_of, with_shuffled_labels
from openankh.model import Ankh
from openankh.pretraining.run_record import environment
from openankh.tasks.cached_states import RowSource
from openankh.tasks.evaluation import Measured, evaluate
from openankh.tasks.examples import Examples, TaskData
from openankh.tasks.finetuning import HeadChoice
from openankh.tasks.fitting import Epoch, FitOptions, fit_head, outputs_of, peak_rate
from openankh.tasks.heads.head import HeadName
from openankh.tasks.interval import Interval
from openankh.vocab import Vocab

Told = Callable[[Examples], Sequence[NDArray]]
"""What is predicted of each protein."""


@dataclass(frozen=True)
class Trained:
    """What was learned, and what is told of how."""

    told: Told
    facts: Mapping[str, float | int]


def head_cell(
    key: CellKey,
    settings: CellSettings,
    data: TaskData,
    rows: RowSource,
    options: FitOptions,
    on_epoch: Callable[[Epoch, int], None],
    row_seconds: Seconds,
) -> Cell:
    """Of a head trained on rows."""

    def train(taught: TaskData) -> Trained:
        config = HeadChoice(_head_name(key.head)).config(taught, rows.preprocessing.width)
        fitted = fit_head(config, taught, rows, options, on_epoch)
        facts = {
            "best_epoch": fitted.best_epoch,
            "epochs": len(fitted.history),
            "learning_rate": peak_rate(options, config),
            "valid_score": fitted.valid_score,
        }
        return Trained(lambda examples: list(outputs_of(fitted.predictor, rows, examples)), facts)

    return _cell(key, settings, data, train, row_seconds)


def attention_cell(key: CellKey, settings: CellSettings, data: TaskData, network: Ankh, vocab: Vocab) -> Cell:
    """Of a logistic regression on the attention maps of a network."""

    def train(taught: TaskData) -> Trained:
        told, num_chains = fit_on_attention(taught, network, vocab, key.seed)
        return Trained(told, {"chains": num_chains})

    return _cell(key, settings, data, train, Seconds())


def separation_cell(key: CellKey, settings: CellSettings, data: TaskData) -> Cell:
    """Of the distance along the chain alone: the nearer, the likelier a contact. Nothing is learned."""

    def told(examples: Examples) -> Sequence[NDArray]:
        lengths = (np.arange(len(sequence)) for sequence in examples.sequences)
        return [-np.abs(at_L[:, None] - at_L).astype(np.float32) for at_L in lengths]

    return _cell(key, settings, data, lambda taught: Trained(told, {}), Seconds())


def _cell(
    key: CellKey, settings: CellSettings, data: TaskData, train: Callable[[TaskData], Trained], row_seconds: Seconds
) -> Cell:
    taught = with_shuffled_labels(data, key.seed) if key.kind == "shuffled" else data
    begun, begun_cpu = time.perf_counter(), time.process_time()
    trained = train(taught)
    learned, learned_cpu = time.perf_counter(), time.process_time()
    figures, draws, chance = {}, {}, {}
    for split, examples in {"valid": data.valid, **data.tests}.items():
        outputs = trained.told(examples)
        figures[split] = figures_of(evaluate(data.task, data.space, outputs, examples))
        if split in data.tests:
            draws[split] = np.round(draws_of(data, outputs, examples), 6).tolist()
            if key.kind == "shuffled":
                chance[split] = chance_of(data, outputs, examples)
    seconds = replace(
        row_seconds,
        training=learned - begun,
        training_cpu=learned_cpu - begun_cpu,
        measuring=time.perf_counter() - learned,
    )
    splits = {name: len(part) for name, part in data.splits.items()}
    return Cell(key, settings, splits, figures, draws, chance, trained.facts, seconds, environment())


def figures_of(measured: Sequence[Measured]) -> Mapping[str, Figure]:
    """As a cell keeps them."""
    return {each.name: figure_of(each.interval) for each in measured}


def figure_of(interval: Interval) -> Figure:
    """As a cell keeps it."""
    low, value, high = (None if np.isnan(each) else each for each in (interval.low, interval.value, interval.high))
    return Figure(value, low, high, interval.num)


def _head_name(head: str) -> HeadName:
    assert head in ("linear", "mlp", "convbert", "light-attention"), head
    return head
