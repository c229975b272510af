"""A benchmark's findings in Markdown: one table a test set, what was published beside it, controls, versions."""

from collections.abc import Iterator

from openankh.benchmarking.findings import Comparison, Findings, Row, TestTable
from openankh.benchmarking.published_rows import PublishedColumn, published_columns, published_source
from openankh.errors import UserError
from openankh.tasks.named_tasks import find_task

_RAW = ("spearman", "mcc", "f1", "auc")
_RIGHT = "---:"


def markdown(findings: Findings) -> str:
    """The whole page."""
    parts = ["# Benchmark", _how_to_read(findings), _summary(findings), *_each(findings), _machines(findings)]
    return "\n\n".join(parts) + "\n"


def _how_to_read(findings: Findings) -> str:
    text = (
        "Each row is one head learned from frozen rows, its best epoch chosen by the validation split; tests were "
        "asked once. Figures are per cent; correlations (spearman, mcc), f1 and areas (auc) as they are; means over "
        "seeds. In brackets the 95 % interval over 1,000 resamplings of the test proteins; ± is one standard deviation "
        "of seeds. "
        "*Beyond baselines* compares a model with the best baseline or random network of the same head, on the same "
        "resamplings: yes where the 95 % interval of the difference is above 0. Seconds are the processor's, of one "
        "seed's training, and of computing rows where that had still to be done. *Shuffled labels* is the control: the "
        "same model and head, taught labels that were permuted."
    )
    warned = "".join(f"\n- **warning** {line}" for line in findings.warnings)
    return text + (f"\n{warned}" if warned else "")


def _summary(findings: Findings) -> str:
    lines = [_line(["task", "test", "metric", "model", "head", "value", "best baseline", "beyond it"])]
    lines.append(_line(["---"] * 5 + [_RIGHT, "---", "---"]))
    for table in findings.tables:
        for row in table.rows:
            for each in row.comparisons:
                who = [row.who, row.head, _number(row.figures[each.metric], each.metric)]
                best = f"{each.baseline} {_number(_baseline_value(row, each), each.metric)}"
                lines.append(
                    _line([table.task + _mark(table), table.test, each.metric, *who, best, _verdict(each, each.metric)])
                )
    return "## In short\n\n" + "\n".join(lines)


def _baseline_value(row: Row, comparison: Comparison) -> float | None:
    value = row.figures[comparison.metric]
    return None if value is None else value - comparison.difference


def _each(findings: Findings) -> Iterator[str]:
    for table in findings.tables:
        yield f"## {_title(table.task)}: {table.test}"
        yield _facts(table)
        yield _table(table)
        yield "```sh\n" + "\n".join(table.commands) + "\n```"
        if elsewhere := [each for each in published_columns(table.task) if not each.test]:
            yield _elsewhere(elsewhere)


def _title(task: str) -> str:
    try:
        return f"{find_task(task).title} (`{task}`)"
    except UserError:
        return f"`{task}`"


def _facts(table: TestTable) -> str:
    splits = ", ".join(f"{name} {num:,}" for name, num in table.splits.items())
    marks = []
    if table.limit is not None:
        marks.append(f"**a quick trial: at most {table.limit:,} proteins of each split**")
    if table.train_limit is not None:
        marks.append(f"**learned from at most {table.train_limit:,} proteins**")
    if table.epochs:
        marks.append("at most " + ", ".join(f"{num} epochs of {head}" for head, num in table.epochs.items()))
    return "; ".join([f"Proteins: {splits}", *marks]) + f". Decided by {table.metric}."


def _mark(table: TestTable) -> str:
    """What tells in the summary that not all proteins were taken."""
    if table.limit is not None:
        return f" (≤ {table.limit:,})"
    return f" (train ≤ {table.train_limit:,})" if table.train_limit is not None else ""


def _table(table: TestTable) -> str:
    others = [name for name in table.metrics if name != table.metric]
    head = [
        "who",
        "head",
        f"{table.metric} (95 %)",
        "±",
        *others,
        "n",
        "seeds",
        "train CPU s",
        "rows CPU s",
        "beyond baselines",
    ]
    lines = [_line(head), _line(["---", "---", *[_RIGHT] * (len(head) - 3), "---"])]
    lines += [_line(_cells(row, table, others)) for row in table.rows]
    lines += [_line(cells) for cells in _published(table, others)]
    return "\n".join(lines)


def _cells(row: Row, table: TestTable, others: list[str]) -> list[str]:
    name = table.metric
    interval = "" if row.low is None else f" ({_number(row.low, name)} to {_number(row.high, name)})"
    if row.kind == "shuffled":
        verdict = f"control; chance {_number(row.chance, name)}"
    else:
        verdict = "; ".join(_told(each, table) for each in row.comparisons)
    return [
        f"**{row.who}**" if row.kind == "model" else row.who,
        row.head,
        _number(row.value, name) + interval,
        _number(row.spread, name),
        *(_number(row.figures[other], other) for other in others),
        f"{row.num:,}",
        str(len(row.seeds)),
        f"{row.training_seconds:,.1f}",
        f"{row.row_seconds:,.1f}",
        verdict,
    ]


def _told(each: Comparison, table: TestTable) -> str:
    level = f"{each.metric} " if each.metric != table.metric or len(each.metric) == 1 else ""
    return level + _verdict(each, each.metric)


def _verdict(each: Comparison, metric: str) -> str:
    word = "yes" if each.is_beyond else "no"
    sign = "+" if each.difference >= 0 else "-"
    difference = sign + _number(abs(each.difference), metric)
    if each.low is None:
        return f"{word}, {difference}"
    return f"{word}, {difference} ({_number(each.low, metric)} to {_number(each.high, metric)})"


def _published(table: TestTable, others: list[str]) -> Iterator[list[str]]:
    """A row for each who published, beside the columns of ours that it is to be read with."""
    columns = {each.metric: each for each in published_columns(table.task) if each.test == table.test}
    for who in dict.fromkeys(name for each in columns.values() for name in each.values):
        cells = [_published_value(columns.get(name), who) for name in (table.metric, *others)]
        named = next(iter(columns.values()))
        where = "published" if named.same else f"published, another test set: {named.column.removesuffix(', L/5')}"
        yield [
            f"*{who}, {where}*",
            "",
            cells[0],
            "",
            *cells[1:],
            *[""] * 5,
        ]


def _published_value(column: PublishedColumn | None, who: str) -> str:
    return "" if column is None or who not in column.values else f"*{column.values[who]:g}*"


def _elsewhere(columns: list[PublishedColumn]) -> str:
    """Published figures of test sets that are not measured here."""
    names = dict.fromkeys(name for each in columns for name in each.values)
    lines = [_line(["published, not measured here", *(each.column for each in columns)])]
    lines.append(_line(["---", *[_RIGHT] * len(columns)]))
    lines += [_line([f"*{name}*", *(_published_value(each, name) for each in columns)]) for name in names]
    return "\n".join(lines)


def _machines(findings: Findings) -> str:
    lines = [
        "- " + ", ".join(f"{name} {value}" for name, value in machine.items() if value not in ("", None))
        for machine in findings.machines
    ]
    return "\n".join(["## Versions and machine", "", *lines, "", f"Published figures: {published_source()}."])


def _number(value: float | None, metric: str) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if metric in _RAW else f"{100 * value:.1f}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
