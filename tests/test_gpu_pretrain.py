"""The measurement of pre-training for a bare GPU machine runs from end to end, tiny and on a CPU."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def report(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a rehearsal writes. In a process of its own: compiling layers leaves settings behind."""
    out = tmp_path_factory.mktemp("gpu") / "gpu_pretrain.md"
    command = [sys.executable, str(repository / "benchmarks" / "gpu_pretrain.py"), "--rehearse", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = out.read_text()
    assert set(text.splitlines()) <= set(done.stdout.splitlines()) | {""}
    return text


def test_every_way_trains_and_is_measured(report: str) -> None:
    pytest.importorskip("transformers")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in report.splitlines() if line.startswith("| small")
    ]
    assert [re.sub(r", [0-9,]+ tokens$", "", row[1]) for row in rows] == [
        "OpenAnkh",
        "transformers, sorted, layers compiled",
        "transformers, sorted",
        "transformers, in order",
        "OpenAnkh, layers computed again",
    ]
    assert all(float(row[2].replace(",", "")) > 0 and float(row[3]) > 0 for row in rows), report
    assert all(float(row[6]) > 0 for row in rows if row[1].startswith("transformers"))


def test_the_goals_and_the_conditions_are_told(report: str) -> None:
    pytest.importorskip("transformers")
    assert re.search(r"- small: utilisation [0-9.]+% \(goal 45% for ankh_large\)", report)
    assert re.search(r"- small: [0-9.]+ times the fastest rival's tokens/s \(goal 3\)", report)
    assert "a rehearsal: no figure means anything" in report
