"""The quick start page: every command and every Python block on it runs, in its order, with a tiny bundled model."""

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import pytest

from openankh import cli, model_names
from openankh.checkpoint import Provenance, save_model
from openankh.config import ModelConfig
from openankh.demo.__main__ import main as demo
from openankh.model import Ankh
from openankh.pretraining.initialisation import initialise
from openankh.published import BUNDLED
from openankh.vocab import openankh_vocab

_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
_NOT_RUN = ("make ", "source ", "pip ")


@pytest.fixture
def tiny_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand a tiny model of random weights in the place of the bundled one: the page is tested, not the model."""
    config = ModelConfig(
        vocab_size=256, d_model=8, d_ff=8, d_kv=8, num_heads=1, num_encoder_layers=4, num_decoder_layers=1
    )
    model, vocab = Ankh(config), openankh_vocab()
    initialise(model, vocab, "published", seed=0)
    (tmp_path / "bundled").mkdir()
    save_model(model, vocab, tmp_path / "bundled" / BUNDLED, Provenance(name=BUNDLED, licence="Apache-2.0"))
    monkeypatch.setattr(model_names, "_BUNDLED_FOLDER", tmp_path / "bundled")


def run_command(line: str) -> None:
    """One line of a shell block; installing is not ours to try here."""
    if line.startswith(_NOT_RUN):
        return
    words = shlex.split(line)
    if words[0] == "openankh":
        assert cli.main(words[1:]) == 0, line
    else:
        assert words == ["python", "-m", "openankh.demo"], f"the page has a command the tests do not know: {line}"
        assert demo([]) == 0


@pytest.mark.usefixtures("tiny_bundled_model")
def test_all_commands_and_python_blocks_of_the_page_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (repository / "docs" / "quickstart.md").read_text()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    shutil.copy(repository / "tests" / "data" / "sample.fasta", "proteins.fasta")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in _BLOCK.finditer(page):
            if block["language"] == "python":
                exec(compile(block["code"], "docs/quickstart.md", "exec"), {})
            else:
                for line in block["code"].splitlines():
                    run_command(line)
    assert "(22, 8)" in printed.getvalue()  # one row a residue of the first sequence in the page's Python
    assert "\n50 UniRef90_" in printed.getvalue()
    written = {path.name for path in Path().iterdir()}
    assert {"proteins.h5", "residues.h5", "middle.h5", "store", "proteins.parquet", "demo-output"} <= written
