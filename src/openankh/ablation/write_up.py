"""The write-up of an ablation: OUT/ablation-table.md and .json with the same numbers, and OUT/ablation.png."""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

from openankh.ablation.findings import Findings, read_findings
from openankh.ablation.plot import draw
from openankh.ablation.report_table import markdown
from openankh.errors import UserError
from openankh.files import write_file_atomically

TABLE, NUMBERS, PLOT = "ablation-table.md", "ablation-table.json", "ablation.png"


def require_writable_plot() -> None:
    """Raise UserError where the plot cannot be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("the plot needs matplotlib: pip install 'openankh[plots]', or give --no-plot")


def write_up(out: Path, plot: bool) -> Findings | None:
    """Write table, numbers and plot of what is finished; None, and nothing written, before the first experiment is."""
    findings = read_findings(out)
    if findings is None:
        return None
    write_file_atomically(out / NUMBERS, json.dumps(asdict(findings), indent=2, allow_nan=False) + "\n")
    write_file_atomically(out / TABLE, markdown(findings))
    if plot:
        draw(findings, out / PLOT)
    return findings
