"""The findings of an ablation: a row an experiment, the noise between seeds, agreement with the paper's averages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, variance

import numpy as np

from openankh.ablation.campaign_record import CampaignRecord, read_record
from openankh.ablation.outcome import Probes, Result, read_probes, read_result
from openankh.ablation.rank_correlation import RankCorrelation, rank_correlation

_T_975 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t that 2.5 % exceed, of 1 to 10 degrees of freedom."""


@dataclass(frozen=True)
class Row:
    """An experiment, its numbers the means over `seeds`; `scores` and `average` are per cent, None where not probed.

    `shares_objective` tells whether `own_loss` may be compared with the baseline's.
    """

    name: str
    what: str
    seeds: tuple[int, ...]
    is_control: bool
    num_parameters: int
    steps: int
    residues: int
    flops: float
    minutes: float
    masked_loss: float
    own_loss: float
    shares_objective: bool
    scores: Mapping[str, float] | None
    average: float | None
    paper_average: float | None


@dataclass(frozen=True)
class Noise:
    """How much a number differs between runs that differ in their seed alone.

    `deviation` is the standard deviation, pooled over experiments with several seeds, from `num_free` degrees of
    freedom; two single runs that differ by less than `smallest_difference` differ by no more than chance (95 %).
    """

    deviation: float
    num_free: int

    @property
    def smallest_difference(self) -> float:
        """Student's t times the standard deviation of a difference."""
        n = self.num_free
        t = _T_975[n - 1] if n <= len(_T_975) else 1.96 + 2.37 / n + 2.8 / n**2
        return t * math.sqrt(2) * self.deviation


@dataclass(frozen=True)
class Findings:
    """Everything the table and the plot are made from; `flops_spread` is the largest over the smallest run's, less 1.

    The correlations are those of the paper's averages with ours, and with the negative masked-residue loss.
    """

    record: CampaignRecord
    rows: tuple[Row, ...]
    flops_spread: float
    num_masked: int
    metrics: Mapping[str, str]
    num_probed: Mapping[str, int]
    loss_noise: Noise | None
    average_noise: Noise | None
    average_correlation: RankCorrelation | None
    loss_correlation: RankCorrelation | None


def read_findings(out: Path) -> Findings | None:
    """The findings of all finished trials of an ablation; None before the first experiment is done."""
    record = read_record(out)
    trials = [(read_result(path.parent), read_probes(path.parent)) for path in sorted(out.glob("*/result.json"))]
    done = [(result, probes) for result, probes in trials if result is not None]
    names = sorted({result.name for result, _ in done}, key=_place)
    grouped = [[trial for trial in done if trial[0].name == name] for name in names]
    rows = tuple(_row(group, record) for group in grouped) if record else ()
    trained = [row for row in rows if not row.is_control]
    if record is None or not trained:
        return None
    flops = [result.flops for result, _ in done if result.flops]
    probed = next((probes for _, probes in done if probes), None)
    return Findings(
        record=record,
        rows=rows,
        flops_spread=max(flops) / min(flops) - 1,
        num_masked=done[0][0].losses.num_masked,
        metrics={score.task: score.metric for score in probed.scores} if probed else {},
        num_probed={score.task: score.num_examples for score in probed.scores} if probed else {},
        loss_noise=_noise([[result.losses.masked for result, _ in group] for group in grouped]),
        average_noise=_noise([[100 * probes.average for _, probes in group if probes] for group in grouped]),
        average_correlation=_correlation([(row.average, row.paper_average) for row in trained]),
        loss_correlation=_correlation([(-row.masked_loss, row.paper_average) for row in trained]),
    )


def _place(name: str) -> tuple[bool, int, str]:
    """Experiments by their numbers, controls behind them."""
    number = name.removeprefix("exp")
    return (not number.isdigit(), int(number) if number.isdigit() else 0, name)


def _row(group: Sequence[tuple[Result, Probes | None]], record: CampaignRecord) -> Row:
    results = [result for result, _ in group]
    probes = [each for _, each in group if each]
    first = results[0]
    recipe = first.recipe or record.baseline
    return Row(
        name=first.name,
        what=first.what,
        seeds=tuple(sorted(result.seed for result in results)),
        is_control=first.recipe is None,
        num_parameters=first.num_parameters,
        steps=first.steps,
        residues=round(fmean(result.residues for result in results)),
        flops=fmean(result.flops for result in results),
        minutes=fmean(result.minutes for result in results),
        masked_loss=fmean(result.losses.masked for result in results),
        own_loss=fmean(result.losses.own for result in results),
        shares_objective=_task(recipe) == _task(record.baseline),
        scores=_mean_scores(probes) if probes else None,
        average=100 * fmean(each.average for each in probes) if probes else None,
        paper_average=first.paper_average,
    )


def _task(recipe: Mapping[str, object]) -> dict[str, object]:
    """What decides the meaning of a loss: mask and presentation, whatever the objective's name."""
    objective = recipe["objective"]
    assert isinstance(objective, Mapping)
    return {name: value for name, value in objective.items() if name != "name"}


def _mean_scores(probes: Sequence[Probes]) -> dict[str, float]:
    tasks = [score.task for score in probes[0].scores]
    values = [{score.task: 100 * score.value for score in each.scores} for each in probes]
    return {task: fmean(scores[task] for scores in values) for task in tasks}


def _noise(groups: Sequence[Sequence[float]]) -> Noise | None:
    """Pooled over groups of several values; None where there is none."""
    repeated = [group for group in groups if len(group) > 1]
    num_free = sum(len(group) - 1 for group in repeated)
    if not num_free:
        return None
    return Noise(math.sqrt(sum((len(group) - 1) * variance(group) for group in repeated) / num_free), num_free)


def _correlation(pairs: Sequence[tuple[float | None, float | None]]) -> RankCorrelation | None:
    whole = np.array([pair for pair in pairs if None not in pair], np.float64)
    return rank_correlation(whole[:, 0], whole[:, 1]) if len(whole) else None
