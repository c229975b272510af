"""The page about predictors: its commands and its Python run, in their order."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from fit_samples import sequences
from openankh import cli
from task_samples import write_csv

BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


def test_all_commands_and_python_blocks_of_the_page_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sample = (repository / "tests" / "data" / "sample.fasta").read_text()
    Path("proteins.fasta").write_text(">".join(sample.split(">")[:5]))
    rows = [(sequence, "AB"[number % 2]) for number, sequence in enumerate(sequences(24, shortest=20))]
    write_csv(tmp_path / "labelled.csv", ("sequence", "label"), rows)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in BLOCK.finditer((repository / "docs" / "predict.md").read_text()):
            if block["language"] == "python":
                exec(compile(block["code"], "docs/predict.md", "exec"), {})
            else:
                for line in block["code"].splitlines():
                    assert cli.main(shlex.split(line)[1:]) == 0, line
    num = Path("proteins.fasta").read_text().count(">")
    assert len(Path("predictions.csv").read_text().splitlines()) == num + 1
    assert len(list(Path("pictures").glob("*.png"))) == num
    assert sum("[" in line for line in printed.getvalue().splitlines()) == num
    assert list((tmp_path / "cache" / "openankh" / "states").iterdir())
