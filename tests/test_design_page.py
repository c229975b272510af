"""The page about design: its commands and its Python run, in their order."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from design_samples import family_members, write_family
from openankh import cli
from test_quickstart import tiny_bundled_model

BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
__all__ = ["tiny_bundled_model"]


@pytest.mark.usefixtures("tiny_bundled_model")
def test_all_commands_and_python_blocks_of_the_page_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_family(Path("family.fasta"), family_members(12))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in BLOCK.finditer((repository / "docs" / "design.md").read_text()):
            if block["language"] == "python":
                exec(compile(block["code"], "docs/design.md", "exec"), {})
            else:
                for line in block["code"].splitlines():
                    assert cli.main(shlex.split(line)[1:]) == 0, line
    assert printed.getvalue().count("\n") == 4
    written = {path.name for path in Path().iterdir()}
    assert {"designed", "variants.fasta", "variants.csv", "mutants.fasta", "mutants.trace.csv"} <= written
