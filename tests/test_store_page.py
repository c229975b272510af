"""The page about stores: its commands and its Python run, in their order."""

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import pytest

from openankh import cli
from test_quickstart import tiny_bundled_model

pytest.importorskip("h5py")
pytest.importorskip("pyarrow")

BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
__all__ = ["tiny_bundled_model"]


@pytest.mark.usefixtures("tiny_bundled_model")
def test_all_commands_and_python_blocks_of_the_page_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    shutil.copy(repository / "tests" / "data" / "sample.fasta", "proteins.fasta")
    Path("wanted.txt").write_text(Path("proteins.fasta").read_text().split()[0].removeprefix(">") + "\n")
    Path("more.fasta").write_text(">more\nMKTAYIAKQR\n")
    assert cli.main(["embed", "more.fasta", "-o", "more/", "--quiet"]) == 0
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in BLOCK.finditer((repository / "docs" / "store.md").read_text()):
            if block["language"] == "python":
                exec(compile(block["code"], "docs/store.md", "exec"), {})
            else:
                for line in block["code"].splitlines():
                    assert cli.main(shlex.split(line)[1:]) == 0, line
    assert "50 openankh-nano mean" in printed.getvalue()
    written = {path.name for path in Path().iterdir()}
    assert {"proteins", "proteins.h5", "proteins.parquet", "some.npz", "all"} <= written
