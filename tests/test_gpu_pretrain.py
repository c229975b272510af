"""The measurement of pre-training for a bare GPU machine runs from end to end, tiny and on a CPU."""

import re
from pathlib import Path

import pytest

from rehearsals import rehearsed


@pytest.fixture(scope="module")
def report(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return rehearsed(repository / "benchmarks" / "gpu_pretrain.py", tmp_path_factory.mktemp("gpu"))


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
