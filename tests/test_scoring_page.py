"""The page about scoring: its commands and its Python run, in their order."""

import re
import shlex
from pathlib import Path

import pytest

from openankh import cli
from test_quickstart import tiny_bundled_model

BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
__all__ = ["tiny_bundled_model"]


@pytest.mark.usefixtures("tiny_bundled_model")
def test_all_commands_and_python_blocks_of_the_page_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("variants.csv").write_text("mutant,measured\nK2R,0.1\nK2R:A7G,0.2\nWT,1\n")
    Path("indels.csv").write_text("mutant\nK2del\nK2_T3insGS\n")
    for block in BLOCK.finditer((repository / "docs" / "scoring.md").read_text()):
        if block["language"] == "python":
            exec(compile(block["code"], "docs/scoring.md", "exec"), {})
        else:
            for line in block["code"].splitlines():
                assert cli.main(shlex.split(line)[1:]) == 0, line
    assert {path.name for path in Path().iterdir()} >= {
        "variants.csv", "indels.csv", "singles.csv", "singles.png", "list.csv", "scored.csv", "indels_scored.csv",
    }  # fmt: skip
    assert "(22, 20) (22, 20)" in capsys.readouterr().out
