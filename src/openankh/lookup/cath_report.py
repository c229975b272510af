"""The CATH benchmark's result as tables for people."""

from collections.abc import Iterator, Sequence

from openankh.lookup.cath_benchmark import LOOKUP, TEST, VALIDATION, Accuracy, CathResult
from openankh.search.cath import LEVELS, PUBLISHED, Interval


def markdown(result: CathResult) -> str:
    """All tables, each with what its numbers are."""
    parts = [*_accuracies(result), *_comparison(result), *_honesty(result)]
    return "\n".join(parts) + "\n"


def _accuracies(result: CathResult) -> Iterator[str]:
    for name in (TEST, VALIDATION):
        nums = " / ".join(str(result.nums[name][level]) for level in LEVELS)
        yield f"**{name}** ({nums} queries counted at C / A / T / H)"
        yield ""
        yield from _head(("", *LEVELS))
        for row in result.rows:
            yield _line((row.name, *_cells(row.accuracy[name])))
        for who, values in PUBLISHED.items() if name == TEST else ():
            yield _line((f"*{who}, published*", *map(str, values)))
        yield ""
    yield f"Per cent of the queries whose nearest of the {result.num_lookup:,} domains of {LOOKUP} has their code, by"
    yield "Euclidean distance, domains of the very same sequence left out; only queries count whose code occurs in the"
    yield "lookup set at that level. In brackets the 95 % interval of 10,000 resamplings of the queries."


def _comparison(result: CathResult) -> Iterator[str]:
    if result.chosen is None:
        return
    yield ""
    yield f"**Pools and layers, on {VALIDATION} alone**"
    yield ""
    yield from _head(("layer", "pool", *LEVELS, "mean"))
    for choice, accuracy in sorted(result.compared.items(), key=lambda each: (each[0].layer, each[0].pool)):
        values = [accuracy[level].value for level in LEVELS]
        mark = " (chosen)" if choice == result.chosen else ""
        cells = (f"{value:.1f}" for value in (*values, sum(values) / len(values)))
        yield _line((f"{choice.layer}{mark}", choice.pool, *cells))


def _honesty(result: CathResult) -> Iterator[str]:
    yield ""
    yield "**Reliability told beside what was right** (nearest neighbour, all levels together, all queries)"
    yield ""
    yield from _head(("queries", "told between", "labels", "told, mean", "right"))
    for name, steps in result.honesty.items():
        for each in steps:
            between = f"{each.low:.2f} and {each.high:.2f}"
            yield _line((name, between, str(each.num), f"{each.told:.3f}", f"{each.right:.3f}"))


def _head(names: Sequence[str]) -> Iterator[str]:
    yield _line(names)
    yield "|" + "---|" * len(names)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(accuracy: Accuracy) -> Iterator[str]:
    return (_cell(accuracy[level]) for level in LEVELS)


def _cell(interval: Interval) -> str:
    return f"{interval.value:.1f} ({interval.low:.1f} to {interval.high:.1f})" if interval.num else "none counted"
