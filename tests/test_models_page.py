"""The page on models: its commands and Python run, with a tiny model under a published name on a hub of the tests."""

import contextlib
import io
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hub_server import Hub, only_hub
from model_folders import TINY, random_model
from openankh import cli
from openankh.checkpoint import Provenance, load_model, save_model
from openankh.published import PUBLISHED
from openankh.vocab import Vocab

_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
_LAST_SENTINEL = 224
ANKH3_LIKE = Vocab(
    (
        *("<pad>", "</s>", "<unk>", "[GLM]", "[NLU]", "[S2S]", "▁", *"LAGSVERTIDPKNFQYHMCW", *"XBZU"),
        *(f"<extra_id_{number}>" for number in range(_LAST_SENTINEL, -1, -1)),
    )
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with only_hub(tmp_path / "cache", monkeypatch) as hub:
        yield hub


def test_all_commands_and_python_blocks_of_the_page_run(
    hub: Hub, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(random_model(replace(TINY, vocab_size=256)), ANKH3_LIKE, tmp_path / "model", Provenance("tiny"))
    (tmp_path / "model" / "openankh.json").unlink()
    commit = hub.add("ElnaggarLab/ankh3-large", tmp_path / "model")
    page = (repository / "docs" / "models.md").read_text()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    shutil.copy(repository / "tests" / "data" / "sample.fasta", "proteins.fasta")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in _BLOCK.finditer(page):
            if block["language"] == "python":
                exec(compile(block["code"], "docs/models.md", "exec"), {})
            else:
                for line in block["code"].splitlines():
                    words = shlex.split(line)
                    assert words[0] == "openankh" and cli.main(words[1:]) == 0, line
    assert f"CC-BY-NC-SA-4.0 {commit} ankh3-large@{commit}\n" in printed.getvalue()
    assert "(16,)" in printed.getvalue()
    assert load_model("my-model").provenance == Provenance("my-model", "CC-BY-4.0", source="openankh-nano")


def test_the_page_names_every_published_model(repository: Path) -> None:
    page = (repository / "docs" / "models.md").read_text()
    assert all(f"`{model.name}`" in page for model in PUBLISHED)
    for model in PUBLISHED:
        assert (model.revision or "no commit is known") in page, model.name
