"""What a verb tells its user: results on standard output, progress and notes on standard error."""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def progress(what: str, total: float | None = None, *, unit: str = "", quiet: bool = False) -> Iterator["Bar"]:
    """A bar on standard error, drawn only on a terminal; `total` None when the end is not known."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    hidden = quiet or not console.is_terminal
    with Progress(*columns, *times, console=console, disable=hidden, transient=True) as bars:
        yield Bar(bars, bars.add_task(what, total=total, note=""))


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar of a running progress display."""

    bars: Any
    task: Any

    def advance(self, amount: float = 1) -> None:
        """Move on by so many units."""
        self.bars.advance(self.task, amount)

    def reach(self, completed: float, *, total: float | None = None, note: str | None = None) -> None:
        """Move to a place, with what else changed: the total, a short note at the end of the bar."""
        changes = {} if note is None else {"note": note}
        self.bars.update(self.task, completed=completed, total=total, **changes)


def note(text: str, *, quiet: bool = False) -> None:
    """One line on standard error."""
    if not quiet:
        print(printable(text), file=sys.stderr, flush=True)


def error(text: str) -> None:
    """One red line `error: ...` on standard error, whatever line breaks and control characters the text holds."""
    line = "error: " + printable(" ".join(text.split()))
    red = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(f"\033[31m{line}\033[0m" if red else line, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """The text with every control character escaped, so that an id from a file cannot steer a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def result(facts: Any, *, as_json: bool) -> None:
    """A verb's result on standard output: a mapping or dataclass, as JSON or as aligned lines of name and value."""
    facts = plain(facts)
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<{width}}  {shown(value)}")


def table(rows: Sequence[Any], *, as_json: bool) -> None:
    """Rows of the same fields on standard output: a list in JSON, or aligned columns under their names."""
    plain_rows = [plain(row) for row in rows]
    if as_json:
        print(json.dumps(plain_rows, indent=2, ensure_ascii=False))
        return
    names = list(plain_rows[0]) if plain_rows else []
    lines = [[name.replace("_", " ") for name in names]]
    lines += [[shown(row[name]) for name in names] for row in plain_rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def plain(value: Any) -> Any:
    """Dataclasses, mappings, paths and numpy scalars as what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    item = getattr(value, "item", None)  # numpy's numbers have it; asked for by name so that numpy stays unimported
    return value if item is None else item()


def shown(value: Any) -> str:
    """One value as people read it: thousands set apart, yes and no, nothing for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_nested(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_nested, value))
    return printable(str(value))


def _nested(value: Any) -> str:
    return f"({shown(value)})" if isinstance(value, dict | list) else shown(value)
