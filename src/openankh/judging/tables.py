"""A judgement as tables: a row a set, a row a protein, and JSON of both."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openankh import __version__
from openankh.judging.composition import AMINO_ACIDS
from openankh.judging.family_profile import SEARCHED
from openankh.judging.judgement import Judgement, ProteinFacts, SetFacts
from openankh.judging.likeness import CANDIDATES, PAIRS

COLUMNS = ("set", *ProteinFacts.__dataclass_fields__)


@dataclass(frozen=True)
class Cell:
    """A heading, and what stands under it for a set."""

    heading: str
    text: str


def summary(each: SetFacts) -> list[Cell]:
    """What a reader looks at first of a set."""
    identities = 100 * each.values("nearest_identity")
    lengths = each.values("length")
    return [
        Cell("set", each.name),
        Cell("proteins", f"{len(each):,}"),
        Cell("accepted", f"{100 * each.accepted.value:.1f} %"),
        Cell("95 % interval", f"{100 * each.accepted.low:.1f} to {100 * each.accepted.high:.1f}"),
        Cell("median bits", f"{np.median(each.values('bits')):.0f}"),
        Cell("entropy MSE, bits²", _number(each.entropy.squared_bits)),
        Cell("nats²", _number(each.entropy.squared_nats)),
        Cell("entropy correlation", _number(each.entropy.correlation)),
        Cell("columns compared", f"{each.entropy.num_columns}"),
        Cell("nearest natural, median", f"{np.median(identities):.0f} %"),
        Cell("5 % to 95 %", f"{np.percentile(identities, 5):.0f} to {np.percentile(identities, 95):.0f}"),
        Cell("novel", f"{100 * each.novel:.1f} %"),
        Cell("unique", f"{100 * each.unique:.1f} %"),
        Cell("identity of pairs, mean", _percent(each.pair_identities)),
        Cell("residues, median", f"{np.median(lengths):.0f}"),
        Cell("shortest to longest", f"{lengths.min():.0f} to {lengths.max():.0f}"),
        Cell("composition, JS bits", f"{each.composition_bits:.4f}"),
        Cell("low complexity", f"{100 * each.values('low_complexity').mean():.1f} %"),
    ]


def proteins_csv(sets: Sequence[SetFacts]) -> str:
    """A row a protein of every set."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in sets:
        writer.writerows([each.name, *(_cell(value) for value in asdict(one).values())] for one in each.proteins)
    return text.getvalue()


def markdown(judgement: Judgement) -> str:
    """The summary as a Markdown table."""
    rows = [summary(each) for each in judgement.sets]
    lines = [f"| {' | '.join(cell.heading for cell in rows[0])} |", "|---" * len(rows[0]) + "|"]
    lines += [f"| {' | '.join(cell.text.replace('|', ' ') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def as_json(judgement: Judgement) -> dict[str, Any]:
    """All but the proteins one by one; null stands for what is not a number."""
    options = judgement.options
    return {
        "openankh": __version__,
        "accept": options.accept,
        "seed": options.seed,
        "search_space": SEARCHED,
        "aligned_candidates": CANDIDATES,
        "pairs": PAIRS,
        "family": asdict(judgement.family),
        "natural_columns": _columns(judgement.natural_columns.entropies_C, judgement.natural_columns.occupancies_C),
        "natural_composition": _shares(judgement.natural_shares_20),
        "sets": [_set(each) for each in judgement.sets],
    }


def _set(each: SetFacts) -> dict[str, Any]:
    return {
        "name": each.name,
        "kind": each.kind,
        "origin": each.origin,
        "num_proteins": len(each),
        "accepted": asdict(each.accepted),
        "bits": _spread(each.values("bits")),
        "nearest_identity": _spread(each.values("nearest_identity")),
        "pair_identity": _spread(each.pair_identities),
        "length": _spread(each.values("length")),
        "low_complexity": _spread(each.values("low_complexity")),
        "unique": each.unique,
        "novel": each.novel,
        "entropy": {name: _known(value) for name, value in asdict(each.entropy).items()},
        "composition_bits": each.composition_bits,
        "composition": _shares(each.shares_20),
        "columns": _columns(each.columns.entropies_C, each.columns.occupancies_C),
    }


def _spread(values: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean and some percentiles of those that are finite."""
    finite = values[np.isfinite(values)]
    names = {"lowest": 0, "5%": 5, "median": 50, "95%": 95, "highest": 100}
    if not len(finite):
        return dict.fromkeys(("mean", *names))
    return {"mean": float(finite.mean()), **{name: float(np.percentile(finite, at)) for name, at in names.items()}}


def _columns(entropies_C: NDArray[np.float64], occupancies_C: NDArray[np.float64]) -> dict[str, list[float | None]]:
    rounded = [_known(round(float(each), 4)) for each in entropies_C]
    return {"entropy_bits": rounded, "occupancy": [round(float(each), 4) for each in occupancies_C]}


def _shares(shares_20: NDArray[np.float64]) -> dict[str, float]:
    return {letter: round(float(share), 6) for letter, share in zip(AMINO_ACIDS, shares_20, strict=True)}


def _known(value: float | int) -> float | int | None:
    return value if math.isfinite(value) else None


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(value)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "none"


def _percent(values: NDArray[np.float64]) -> str:
    return f"{100 * values.mean():.0f} %" if len(values) else "none"
