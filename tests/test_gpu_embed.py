"""The measurement for a bare GPU machine runs from end to end, tiny and on a CPU."""

import re
from pathlib import Path

import pytest

from rehearsals import rehearsed


@pytest.fixture(scope="module")
def report(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return rehearsed(repository / "benchmarks" / "gpu_embed.py", tmp_path_factory.mktemp("gpu"))


def test_every_way_is_measured_on_natural_and_single_lengths(report: str) -> None:
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in report.splitlines() if line.startswith("| tiny")
    ]
    assert {row[1] for row in rows} == {"natural lengths", "64 residues each"}
    names = [re.sub(r", [0-9,]+ tokens$", "", row[2]) for row in rows]
    assert names[:5] == names[5:] == [
        "OpenAnkh, packed",
        "transformers, sdpa by torch's choice",
        "transformers, sdpa by cuDNN",
        "transformers, sdpa by cuDNN, layers compiled",
        "OpenAnkh, text to vectors",
    ]  # fmt: skip
    assert all(float(row[3].replace(",", "")) > 0 and float(row[4]) > 0 for row in rows)
    assert all(float(row[8]) > 0 for row in rows if row[2].startswith("transformers"))


def test_the_goals_and_the_agreement_with_fp32_are_told(report: str) -> None:
    assert re.search(r"- tiny: [0-9.]+ times the fastest rival on real proteins \(goal 1\.5\)", report)
    found = re.search(r"relative L2 of bf16 states to fp32: OpenAnkh ([0-9.e-]+), transformers ([0-9.e-]+)", report)
    assert found is not None
    assert 0 < float(found[1]) < 2e-2 and 0 < float(found[2]) < 2e-2
    assert "a rehearsal: no figure means anything" in report
