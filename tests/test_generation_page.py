"""The page about generation: its commands and its Python run, in their order."""

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import pytest

from openankh import cli
from test_quickstart import tiny_bundled_model

BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
__all__ = ["tiny_bundled_model"]


@pytest.mark.usefixtures("tiny_bundled_model")
def test_all_commands_and_python_blocks_of_the_page_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(repository / "tests" / "data" / "sample.fasta", "proteins.fasta")
    printed, names = io.StringIO(), dict[str, object]()
    with contextlib.redirect_stdout(printed):
        for block in BLOCK.finditer((repository / "docs" / "generation.md").read_text()):
            if block["language"] == "python":
                exec(compile(block["code"], "docs/generation.md", "exec"), names)
            else:
                for line in block["code"].splitlines():
                    assert cli.main(shlex.split(line)[1:]) == 0, line
    rows = names["rows"]
    assert isinstance(rows, list) and len(rows) == 10 and rows[0].shape == (256,)
    assert printed.getvalue().count(">") == 1 + 5 * Path("proteins.fasta").read_text().count(">")
