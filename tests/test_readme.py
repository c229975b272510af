"""README tells the truth: its commands parse and run, its Python runs, its tree and its table are complete."""

import re
import shlex
from pathlib import Path

import pytest

import openankh
from openankh import cli, model_names
from openankh.checkpoint import save_model
from openankh.cli.app import VERBS, build_app
from openankh.config import ModelConfig
from openankh.model import Ankh
from openankh.provenance import Provenance
from openankh.published import BUNDLED
from openankh.vocab import openankh_vocab

SOURCE = Path(openankh.__file__).parent
README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
SHELL = [
    line.partition("  #")[0].strip() for kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if line
]
COMMANDS = [shlex.split(line)[1:] for line in SHELL if line.startswith("openankh ")]
TREE = dict(
    re.findall(r"^  (\S+) +(\S.*)$", next(text for _, text in BLOCKS if text.startswith("src/openankh/\n")), re.M)
)


@pytest.fixture
def folder_with_proteins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the README's reader stands: a folder with a FASTA file."""
    proteins = "".join(
        f">P{number}\nMKTAYIAK{'ACDEFGHIKL'[number % 10] * (number // 10 + 1)}\n" for number in range(100)
    )
    (tmp_path / "proteins.fasta").write_text(proteins)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bundled_model(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled model, or in a checkout that has none a tiny untrained one in its place."""
    if (SOURCE / "bundled" / BUNDLED).is_dir():
        return
    vocab, folder = openankh_vocab(), tmp_path_factory.mktemp("bundled")
    config = ModelConfig(
        vocab_size=vocab.size, d_model=16, d_ff=32, d_kv=8, num_heads=2, num_encoder_layers=2, num_decoder_layers=1
    )
    save_model(Ankh(config), vocab, folder / BUNDLED, Provenance(BUNDLED, "CC-BY-4.0"))
    monkeypatch.setattr(model_names, "_BUNDLED_FOLDER", folder)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shown_parses(words: list[str]) -> None:
    build_app().parse_args(words)


def test_every_make_target_shown_exists(repository: Path) -> None:
    targets = set(re.findall(r"\bmake (\w+)", README))
    rules = set(re.findall(r"^(\w+):", (repository / "Makefile").read_text(), flags=re.MULTILINE))
    assert targets and targets <= rules


@pytest.mark.usefixtures("bundled_model")
def test_commands_that_need_no_training_run(folder_with_proteins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runnable = [words for words in COMMANDS if words[0] != "pretrain" and "run/best" not in words]
    for words in runnable:
        assert cli.main([*words, "--quiet"]) == 0, capsys.readouterr().err
    assert {path.name for path in folder_with_proteins.iterdir()} >= {"embeddings.h5", "residues", "corpus"}


@pytest.mark.usefixtures("bundled_model", "folder_with_proteins")
def test_the_python_shown_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [text for kind, text in BLOCKS if kind == "python"]
    exec(compile(code, "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 100


def test_the_table_names_every_verb_once() -> None:
    assert re.findall(r"^\| `openankh (\w+)` \|", README, flags=re.MULTILINE) == list(VERBS)


def test_the_tree_names_every_module_and_folder_and_nothing_else() -> None:
    present = {path.name + ("/" if path.is_dir() else "") for path in SOURCE.iterdir() if path.suffix in ("", ".py")}
    assert set(TREE) == {name for name in present if not name.startswith("__")}


def test_numbers_stand_beside_the_command_that_makes_them() -> None:
    """A paragraph or table row with a measured figure (a rate, a ratio, a duration) names a command."""
    measured = re.compile(r"\d[\d.,]* ?(x|times|residues/s|tokens/s|%|MiB|GiB|minutes|seconds|s)\b")
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    claims = [part for part in re.split(r"\n\n|\n\|", prose) if measured.search(part)]
    assert all("`" in claim for claim in claims), claims
