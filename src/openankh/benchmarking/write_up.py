"""The write-up of a benchmark: OUT/benchmark.md and benchmark.json with the same numbers, and benchmark.png."""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

from openankh.benchmarking.findings import Findings, read_findings
from openankh.benchmarking.plot import draw
from openankh.benchmarking.report_table import markdown
from openankh.errors import UserError
from openankh.files import unwritable_named, write_file_atomically

TABLE, NUMBERS, PLOT = "benchmark.md", "benchmark.json", "benchmark.png"


def require_plots() -> None:
    """Raise UserError where the plot cannot be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("the plot needs matplotlib: pip install 'openankh[plots]', or give --no-plot")


def write_up(out: Path, plot: bool) -> Findings | None:
    """Write table, numbers and plot of all that is finished; None, and nothing written, before the first cell is."""
    findings = read_findings(out)
    if findings is None:
        return None
    with unwritable_named(out):
        write_file_atomically(out / NUMBERS, json.dumps(asdict(findings), indent=1, allow_nan=False) + "\n")
        write_file_atomically(out / TABLE, markdown(findings))
        if plot:
            draw(findings, out / PLOT)
    return findings
