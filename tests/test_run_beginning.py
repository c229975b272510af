"""What a run may begin with, a model or another run; and what is refused before anything is trained, in one line."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openankh import cli
from openankh.checkpoint import load_model
from openankh.corpus import Corpus
from openankh.preparation import PrepareOptions, prepare
from openankh.pretraining import code_version, training_run
from openankh.pretraining.checkpoints import Checkpoints
from openankh.pretraining.journal import read_journal
from openankh.pretraining.recipes import recipe_named, to_json
from openankh.selection import Selection
from openankh.vocab import Vocab, openankh_vocab
from training_samples import TESTS, TINY, fingerprint, prepare_sample, pretrain_arguments, refused

CUTTING = ("nano_mixture", *TINY, "encoder_loss=0", "packing.length_multiple=1", "total_steps=2")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_sample(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(autouse=True)
def _quick_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "measured_peak", lambda device, dtype: 1e11)


@pytest.fixture(scope="module")
def first(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended; to be looked at only."""
    run = tmp_path_factory.mktemp("first") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "measured_peak", lambda device, dtype: 1e11)
        assert cli.main(pretrain_arguments(corpus, run, "--quiet")) == 0
    return run


def train_losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_journal(run) if line["kind"] == "train"]


# Beginning with an earlier run.


def test_a_resumed_optimiser_goes_on_where_the_earlier_run_stood(corpus: Path, first: Path, tmp_path: Path) -> None:
    state = Checkpoints(first).read_newest()
    assert state is not None
    for how in ("fresh", "resumed"):
        arguments = pretrain_arguments(corpus, tmp_path / how, "--quiet", "--init", str(first), "--optimiser", how)
        assert cli.main([*arguments, "total_steps=1", "checkpoint_every=1", "optimiser.learning_rate=1e-9"]) == 0
    fresh, resumed = (Checkpoints(tmp_path / how).read_newest() for how in ("fresh", "resumed"))
    assert fresh and resumed
    assert train_losses(tmp_path / "fresh") == train_losses(tmp_path / "resumed"), "the same weights, the same proteins"
    steps = [name for name in state.state.optimiser if name.endswith("/step")]
    assert steps
    for name in steps:
        before = float(state.state.optimiser[name])
        assert before == 12 and float(resumed.state.optimiser[name]) == 13 and float(fresh.state.optimiser[name]) == 1


def test_a_run_that_resumed_an_optimiser_records_it_and_is_begun_again_alike(
    corpus: Path, first: Path, tmp_path: Path
) -> None:
    arguments = ("--quiet", "--init", str(first), "--optimiser", "resumed")
    for name in ("one", "two"):
        assert cli.main(pretrain_arguments(corpus, tmp_path / name, *arguments)) == 0
    record = json.loads((tmp_path / "two" / "run.json").read_text())["init"]
    assert (record["name"], record["step"], record["optimiser"]) == (str(first), 12, "resumed")
    for folder in (tmp_path / "two" / "checkpoints").iterdir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert cli.main(pretrain_arguments(corpus, tmp_path / "two", "--quiet", "--resume")) == 0
    assert fingerprint(tmp_path / "two") == fingerprint(tmp_path / "one")


def test_the_other_run_is_left_as_it_is(corpus: Path, first: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in first.rglob("*"))
    (first / "checkpoints" / "step-00000099.tmp-busy").mkdir()
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--quiet", "--init", str(first))) == 0
    (first / "checkpoints" / "step-00000099.tmp-busy").rmdir()
    assert sorted(path.name for path in first.rglob("*")) == before


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--init", "BEST", "--optimiser", "resumed"], "is a model, which has no optimiser; give the folder of a run"),
        (["--optimiser", "resumed"], "--optimiser resumed goes with --init RUN"),
        (
            ["--init", "FIRST", "--optimiser", "resumed", "optimiser.name=adamw"],
            "was trained with muon, this recipe uses",
        ),
        (["--init", "FIRST", "model.d_ff=64"], "has another d_ff, 64 instead of 32; give model.d_ff=32"),
        (["--init", "EMPTY"], "this run has no checkpoint yet"),
        (["--init", "FIRST", "--optimiser", "resume"], "--optimiser"),
    ],
)
def test_what_cannot_be_begun_with_is_refused(
    corpus: Path, first: Path, tmp_path: Path, capsys, more: list[str], told: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "run.json").write_text((first / "run.json").read_text())
    places = {"BEST": str(first / "best"), "FIRST": str(first), "EMPTY": str(tmp_path / "empty")}
    arguments = pretrain_arguments(corpus, tmp_path / "run", *(places.get(word, word) for word in more))
    assert told in refused(capsys, arguments)
    assert not (tmp_path / "run").exists()


def test_another_activation_is_no_other_shape_and_is_told(
    corpus: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ankh2 went on from Ankh large so."""
    changes = ["--init", str(first / "best"), "model.activation=silu", "total_steps=1"]
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", *changes)) == 0
    assert "its activation is gelu, this recipe goes on with silu" in capsys.readouterr().err


# Beginning with a model of a vocabulary that no recipe names.


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run on the pieces of an unnamed vocabulary, and its corpus: as a published checkpoint brings them."""
    folder = tmp_path_factory.mktemp("foreign")
    pieces = list(openankh_vocab().pieces)
    pieces[5], pieces[6] = pieces[6], pieces[5]
    corpus = prepare_sample(folder / "corpus", Vocab(tuple(pieces)))
    recipe = recipe_named("micro", [*TINY, "total_steps=2", "valid_every=100"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "measured_peak", lambda device, dtype: 1e11)
        from dataclasses import replace

        from openankh.pretraining.progress import SilentProgress
        from openankh.pretraining.run_options import RunOptions

        training_run.pretrain(
            replace(recipe, pieces=tuple(pieces)), RunOptions(corpus, folder / "run"), SilentProgress()
        )
    return folder / "run" / "best", corpus


def test_a_run_takes_over_the_vocabulary_of_the_model_it_begins_with(
    foreign: tuple[Path, Path], tmp_path: Path
) -> None:
    best, corpus = foreign
    arguments = pretrain_arguments(corpus, tmp_path / "run", "--quiet", "--init", str(best))
    assert cli.main([*arguments, "--slice-minutes", "1e-9"]) == 75
    assert cli.main([*pretrain_arguments(corpus, tmp_path / "run", "--quiet", "--resume")]) == 0
    assert load_model(tmp_path / "run" / "best").vocab.fingerprint == Corpus.open(corpus).vocab.fingerprint


def test_a_corpus_of_another_vocabulary_than_the_models_is_refused(
    foreign: tuple[Path, Path], corpus: Path, tmp_path: Path, capsys
) -> None:
    best, other = foreign
    line = refused(capsys, pretrain_arguments(corpus, tmp_path / "run", "--init", str(best)))
    assert "another vocabulary than --init" in line and "prepare it with --vocab FOLDER" in line
    assert "--vocab openankh" in refused(capsys, pretrain_arguments(other, tmp_path / "run"))


# What has changed since a run began.


def test_changed_code_is_refused_or_told(corpus: Path, first: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    arguments = pretrain_arguments(corpus, first, "--resume")
    arguments = [word for word in arguments if word not in ("--changed-code", "tell")]
    changed = {"version": "99", "sha256": "0" * 64, "commit": None}
    monkeypatch.setattr("openankh.pretraining.run_record.code_version", lambda: changed)
    line = refused(capsys, [*arguments, "--changed-code", "refuse"])
    assert "the code has changed since the run began" in line and "--changed-code tell" in line
    assert refused(capsys, arguments) == line, "refusing is the command's default"
    assert cli.main([*arguments, "--changed-code", "tell"]) == 0


def test_the_hash_of_the_code_changes_with_what_numbers_depend_on(tmp_path: Path) -> None:
    for name in ("model.py", "cli/app.py", "native/rows.c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    before = code_version._sha256_of_sources(tmp_path)
    (tmp_path / "cli" / "app.py").write_text("2")
    assert code_version._sha256_of_sources(tmp_path) == before
    for name in ("model.py", "native/rows.c"):
        (tmp_path / name).write_text("2")
        after = code_version._sha256_of_sources(tmp_path)
        assert after != before
        before = after


def test_the_commit_is_read_from_a_clone(tmp_path: Path) -> None:
    package = tmp_path / "src" / "openankh"
    assert code_version._commit(package) is None
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / ".git" / "packed-refs").write_text("# pack-refs\n" + "a" * 40 + " refs/heads/main\n")
    assert code_version._commit(package) == "a" * 40
    (tmp_path / ".git" / "refs" / "heads" / "main").write_text("b" * 40 + "\n")
    assert code_version._commit(package) == "b" * 40
    (tmp_path / ".git" / "HEAD").write_text("c" * 40 + "\n")
    assert code_version._commit(package) == "c" * 40


def test_the_record_tells_code_corpus_seed_and_environment(first: Path, corpus: Path) -> None:
    record = json.loads((first / "run.json").read_text())
    assert record["recipe"] == to_json(recipe_named("micro", TINY))
    assert record["recipe"]["seed"] == 0
    assert record["code"] == code_version.code_version()
    assert record["corpus_fingerprint"] == Corpus.open(corpus).fingerprint
    assert record["corpus"]["folder"] == str(corpus)
    assert record["corpus"]["splits"]["train"]["proteins"] == Corpus.open(corpus).num_proteins
    (source,) = record["corpus"]["sources"]
    assert source["name"] == "sample.fasta" and len(source["sha256"]) == 64
    assert {"python", "torch", "numpy", "threads", "processor", "device", "ranks"} <= record["environment"].keys()
    assert record["begun"].keys() == {"at", "host"}


def test_a_record_of_an_earlier_version_can_be_resumed(corpus: Path, first: Path, tmp_path: Path) -> None:
    """Settings that came later count as their defaults."""
    import shutil

    shutil.copytree(first, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    for key in ("corpus", "code", "begun"):
        del record[key]
    del record["recipe"]["pieces"], record["recipe"]["optimiser"]["query_rate"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    assert cli.main(pretrain_arguments(corpus, tmp_path / "run", "--quiet", "--resume")) == 0


def test_a_setting_that_came_later_must_be_at_its_default(corpus: Path, first: Path, tmp_path: Path, capsys) -> None:
    import shutil

    shutil.copytree(first, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    del record["recipe"]["optimiser"]["query_rate"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    arguments = pretrain_arguments(corpus, tmp_path / "run", "--resume", "optimiser.query_rate=0.5")
    assert "another optimiser.query_rate" in refused(capsys, arguments)


# Corpora that do not serve.


def short_corpus(folder: Path, lengths: list[int]) -> Path:
    folder.mkdir()
    (folder / "a.fasta").write_text("".join(f">p{n}\n{'A' * length}\n" for n, length in enumerate(lengths)))
    prepare([folder / "a.fasta"], folder / "corpus", PrepareOptions())
    return folder / "corpus"


def test_a_corpus_too_short_to_cut_is_refused_by_recipes_that_cut(tmp_path: Path, capsys) -> None:
    corpus = short_corpus(tmp_path / "short", [1] * 20 + [9] * 20)
    folders = ["--corpus", str(corpus), "--out", str(tmp_path / "run"), "--device", "cpu"]
    line = refused(capsys, ["pretrain", *CUTTING, *folders])
    assert "20 of 40 proteins are too short to be cut in two, as 'completion' of recipe nano_mixture does" in line
    assert "--min-length 20" in line and not (tmp_path / "run").exists()
    assert "too short to be cut" in refused(capsys, ["pretrain", *CUTTING, "--corpus", str(corpus), "--dry-run"])
    assert "too short" in refused(capsys, ["pretrain", "ankh3_large", "--corpus", str(corpus), "--dry-run"])
    assert cli.main(pretrain_arguments(corpus, tmp_path / "other", "--quiet", "total_steps=1")) == 0


def test_a_few_proteins_too_short_to_cut_are_served_whole(tmp_path: Path) -> None:
    corpus = short_corpus(tmp_path / "short", [1] + [9] * 150)
    folders = ["--corpus", str(corpus), "--out", str(tmp_path / "run"), "--device", "cpu", "--quiet"]
    assert cli.main(["pretrain", *CUTTING, *folders]) == 0


# Memory of the host.

WITH_LITTLE_MEMORY = """
import re, resource, sys
from pathlib import Path
from openankh import cli
from openankh.pretraining import training_run
training_run.measured_peak = lambda device, dtype: 1e11
small, large, out, spare, *settings = sys.argv[1:]
begin = lambda corpus, name: cli.main(
    ["pretrain", "micro", *settings, "--corpus", corpus, "--out", out + name, "--device", "cpu", "--quiet"])
assert begin(small, "/warm") == 0
data = int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (data + int(spare), data + int(spare)))
code = begin(large, "/run")
try:
    whole = bytearray(Path(large, "train", "tokens-00000.u8").stat().st_size)
except MemoryError:
    sys.exit(code)
sys.exit("the limit does not keep anybody from holding the corpus")
"""


def large_corpus(folder: Path, num_proteins: int) -> Path:
    residues = "".join(np.random.default_rng(0).choice(list("ACDEFGHIKLMNPQRSTVWY"), 200_000))
    with open(folder / "large.fasta", "w") as file:
        for number in range(num_proteins):
            begin = number * 97 % 100_000
            file.write(f">p{number}\n{residues[begin : begin + 40_000]}\n")
    prepare([folder / "large.fasta"], folder / "large", PrepareOptions(selection=Selection(holdout=0.01)))
    (folder / "large.fasta").unlink()
    return folder / "large"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of private memory are Linux's")
def test_a_corpus_larger_than_the_memory_allowed_is_trained_on(corpus: Path, tmp_path: Path) -> None:
    assert resource.RLIMIT_DATA
    spare = 48 << 20
    large = large_corpus(tmp_path, 2600)
    num_bytes = sum(path.stat().st_size for path in large.rglob("*.u8"))
    assert num_bytes > 2 * spare
    arguments = [str(corpus), str(large), str(tmp_path / "out"), str(spare), *TINY, "total_steps=8"]
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", WITH_LITTLE_MEMORY, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS)
    assert done.returncode == 0, done.stderr
