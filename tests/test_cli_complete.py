"""`openankh complete` as its user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from generation_samples import draw_records, small_model, vocab_of
from openankh import cli
from openankh.checkpoint import save_model
from openankh.fasta import FastaReader
from openankh.provenance import Provenance


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder of each vocabulary."""
    folders = {}
    for name in ("ankh", "openankh"):
        folder = tmp_path_factory.mktemp("models") / name
        save_model(small_model(name), vocab_of(name), folder, Provenance(name, "CC-BY-4.0"))
        folders[name] = str(folder)
    return folders


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "in.fasta"
    path.write_text("".join(f">{r.id} a protein\n{r.sequence}\n" for r in draw_records(5, shortest=10)))
    return path


def run(*words: object) -> int:
    return cli.main(["complete", *map(str, words), "--quiet"])


@pytest.mark.parametrize("vocab", ["ankh", "openankh"])
def test_fasta_goes_in_and_comes_out_in_order(
    vocab: str, models: dict[str, str], fasta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.fasta"
    assert run(fasta, "--keep", 0.5, "-m", models[vocab], "-o", out) == 0, capsys.readouterr().err
    given, made = list(FastaReader(fasta)), list(FastaReader(out))
    assert [r.id for r in made] == [r.id for r in given]
    for before, after in zip(given, made, strict=True):
        facts = dict(word.split("=", 1) for word in after.description.split())
        kept = int(facts["kept"])
        assert len(after.sequence) == len(before.sequence) == int(facts["length"])
        assert after.sequence[:kept] == before.sequence[:kept]
        assert facts["method"] == "greedy" and float(facts["mean_log_prob"]) < 0 and facts["model"] == models[vocab]
        assert facts["task"] == {"ankh": "sentinels", "openankh": "s2s"}[vocab]


def test_a_sequence_can_be_given_itself(models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mktayiakqr", "--length", 70, "-m", models["openankh"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.startswith(">sequence kept=10 length=70") and [len(line) for line in lines] == [60, 10]
    assert lines[0].startswith("MKTAYIAKQR")


def test_several_completions_are_numbered_and_name_their_seed(
    models: dict[str, str], fasta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (fasta, "--keep", 0.5, "-n", 2, "--method", "sample", "-t", 1.5, "--seed", 7, "-m", models["openankh"])
    assert run(*words) == 0
    first = capsys.readouterr().out
    headers = [line.split() for line in first.splitlines() if line.startswith(">")]
    assert [words[0] for words in headers[:3]] == [">P0/1", ">P0/2", ">P1/1"]
    assert all("seed=7" in words and "method=sample,t=1.5" in words for words in headers)
    assert run(*words) == 0 and capsys.readouterr().out == first


def test_json_is_a_list_of_completions(models: dict[str, str], fasta: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(fasta, "--keep", 0.5, "--json", "-m", models["openankh"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in rows] == [f"P{n}" for n in range(5)]
    assert all(row["mean_log_prob"] < 0 and row["length"] == len(row["sequence"]) for row in rows)


def test_json_beside_an_output_tells_what_was_done(
    models: dict[str, str], fasta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.fasta"
    assert run(fasta, "--keep", 0.5, "--json", "-o", out, "-m", models["openankh"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["proteins"] == facts["completions"] == 5 and facts["output"] == str(out)


def test_rules_reach_the_writer(models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    rules = ("--forbid", "AL", "--require", "WW", "--fix", "12=H,14=KR", "--letters", "ALWHKRDE")
    assert run("MKTAYIAKQR", "--length", 16, *rules, "-m", models["openankh"]) == 0
    sequence = "".join(capsys.readouterr().out.splitlines()[1:])
    assert set(sequence[10:]) <= set("WHKRDE") and sequence.count("W") >= 2
    assert sequence[11] == "H" and sequence[13] in "KR"


def test_standard_input_is_read(models: dict[str, str], fasta: Path) -> None:
    command = [sys.executable, "-m", "openankh", "complete", "-", "--keep", "3", "-m", models["openankh"], "-q"]
    done = subprocess.run(command, input=fasta.read_bytes(), capture_output=True, check=True)
    assert done.stdout.count(b">") == 5 and not done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["missing.fasta"], "missing.fasta: no such file"),
        (["MKTA", "--length", "3"], "4 residues are kept"),
        (["MKTA", "--keep", "0"], "keep 0"),
        (["MKTA", "--length", "9", "--max-length", "12"], "length and min/max length"),
        (["MKTA", "--length", "9", "-n", "2"], "greedy gives one"),
        (["MKTA", "--length", "9", "--fix", "7"], "write PLACE=LETTERS"),
        (["MKTA", "--length", "9", "--method", "best"], "best"),
        (["MKTA", "--length", "9", "-o", "out.fasta.gz"], "plain FASTA is written"),
        (["MKTA", "--length", "9", "-o", "no/such/out.fasta"], "does not exist"),
    ],
)
def test_a_mistake_gives_one_line(
    words: list[str], line: str, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words, "-m", models["openankh"]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_what_stands_at_the_output_stays_after_a_mistake(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.fasta"
    out.write_text("kept")
    assert run("MKTA", "--length", 9, "-m", models["openankh"], "-o", out) == 2
    assert "exists already" in capsys.readouterr().err and out.read_text() == "kept"
    assert run("MKTA", "--length", 3, "-m", models["openankh"], "-o", out, "--overwrite") == 2
    assert out.read_text() == "kept" and [path.name for path in tmp_path.iterdir()] == ["out.fasta"]
    assert run("MKTA", "--length", 9, "-m", models["openankh"], "-o", out, "--overwrite") == 0
    assert out.read_text().startswith(">sequence")


def test_an_unfinished_protein_is_told(models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["complete", "MKTAY", "--max-length", "7", "-m", models["openankh"]]) == 0
    found = capsys.readouterr()
    assert "ended=no" in found.out and "1 of 1 completions were not ended by the model" in found.err
