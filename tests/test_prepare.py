"""Preparing a corpus: which records go where, what is written down of it, and that it is whole or not there."""

import bz2
import errno
import gzip
import hashlib
import io
import json
import lzma
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from openankh import cli
from openankh.corpus import Corpus
from openankh.corpus_manifest import read_manifest
from openankh.corpus_writer import SplitWriter
from openankh.errors import UserError
from openankh.fasta import ReadOptions
from openankh.preparation import PrepareOptions, prepare
from openankh.selection import Selection
from openankh.tokenizer_files import write_tokenizer
from openankh.vocab import ankh_vocab

# Headers as real ones are: id, source, clusters at 50 % and 90 %, marks of representatives.
CLUSTERED = """\
>P1 source=a c50=s0 c90=s0 rep50 rep90
MKTAYIAKQR
>P2 source=a c50=s0 c90=s1 rep90
MKTAYIAKQK
>P3 source=b c50=s2 c90=s2 rep50 rep90
GGGGG
>P1 source=b c50=s0 c90=s0
MKT
>rep50 source=c c50=s3 c90=s3
WWJ
"""


def sequences(folder: Path, split: str = "train") -> list[str]:
    corpus = Corpus.open(folder, split, verify=True)
    return [corpus.vocab.decode(corpus[index]) for index in range(len(corpus))]


def fasta(path: Path, text: str = CLUSTERED) -> Path:
    path.write_text(text)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["prepare", *map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_all_records_come_in_order_duplicates_included(tmp_path: Path) -> None:
    prepare([fasta(tmp_path / "a.fasta")], tmp_path / "corpus", PrepareOptions())
    assert sequences(tmp_path / "corpus") == ["MKTAYIAKQR", "MKTAYIAKQK", "GGGGG", "MKT", "WWJ"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--representatives", "c50"), ["MKTAYIAKQR", "GGGGG"]),
        (("--representatives", "c90"), ["MKTAYIAKQR", "MKTAYIAKQK", "GGGGG"]),
        (("--keep-word", "source=b"), ["GGGGG", "MKT"]),
        (("--min-length", "5"), ["MKTAYIAKQR", "MKTAYIAKQK", "GGGGG"]),
        (("--keep-word", "source=b", "--min-length", "5"), ["GGGGG"]),
    ],
)
def test_records_are_chosen_by_a_word_after_the_id_and_by_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: Sequence[str], expected: list[str]
) -> None:
    code, _, _ = run(capsys, fasta(tmp_path / "a.fasta"), "-o", tmp_path / "corpus", *options)
    assert code == 0
    assert sequences(tmp_path / "corpus") == expected


def test_a_ready_validation_file_is_taken_whole_but_for_the_length(tmp_path: Path) -> None:
    options = PrepareOptions(selection=Selection(keep_word="rep50", min_length=4))
    train, valid = fasta(tmp_path / "a.fasta"), fasta(tmp_path / "b.fasta", ">x\nMKT\n>y\nMKTAY\n")
    prepare([train], tmp_path / "corpus", options, valid=valid)
    assert sequences(tmp_path / "corpus") == ["MKTAYIAKQR", "GGGGG"]
    assert sequences(tmp_path / "corpus", "valid") == ["MKTAY"]


@settings(max_examples=15, deadline=None)
@given(holdout=st.floats(0.1, 0.9), clusters=st.lists(st.integers(0, 30), min_size=40, max_size=80))
def test_no_cluster_is_on_both_sides_whatever_the_files_and_their_order(
    tmp_path_factory: pytest.TempPathFactory, holdout: float, clusters: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("holdout")
    letters = "ACDEFGHIKLMNPQRSTVWYXBOUZ"
    # The sequence tells the cluster, so that it can be read back.
    lines = [f">p{n} c50=s{c} c90=x\n{letters[c % 25]}{letters[c // 25]}\n" for n, c in enumerate(clusters)]
    options = PrepareOptions(selection=Selection(holdout=holdout, cluster_word="c50"))
    half = len(lines) // 2
    parts = [fasta(folder / "a.fasta", "".join(lines[:half])), fasta(folder / "b.fasta", "".join(lines[half:]))]
    try:
        prepare(parts, folder / "one", options)
    except UserError:
        return  # none or all of these few clusters were put aside
    prepare(parts[::-1], folder / "two", options)
    train, valid = set(sequences(folder / "one")), set(sequences(folder / "one", "valid"))
    assert not train & valid
    assert len(train) + len(valid) == len(set(clusters))
    assert set(sequences(folder / "two", "valid")) == valid


def test_about_the_wanted_fraction_of_clusters_is_held_out(tmp_path: Path) -> None:
    text = "".join(f">p{number} c50=s{number}\nMKT\n" for number in range(20_000))
    options = PrepareOptions(selection=Selection(holdout=0.05, cluster_word="c50"))
    manifest = prepare([fasta(tmp_path / "a.fasta", text)], tmp_path / "corpus", options)
    # 1,000 expected, standard deviation 31.
    assert 880 < manifest.splits["valid"].num_proteins < 1120
    assert manifest.sources[0].num_held_out == manifest.splits["valid"].num_proteins


def test_without_a_cluster_word_copies_of_a_sequence_stay_on_one_side(tmp_path: Path) -> None:
    words = [f"{one}{two}" for one in "ACDEFGHIKL" for two in "ACDEFGHIKL"] * 3
    text = "".join(f">p{number}\n{word}\n" for number, word in enumerate(words))
    options = PrepareOptions(selection=Selection(holdout=0.3))
    prepare([fasta(tmp_path / "a.fasta", text)], tmp_path / "corpus", options)
    train, valid = sequences(tmp_path / "corpus"), sequences(tmp_path / "corpus", "valid")
    assert not set(train) & set(valid)
    assert all(train.count(word) == 3 for word in train)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress, zstandard.compress])
def test_a_compressed_file_gives_the_same_corpus_and_is_hashed_as_stored(tmp_path: Path, compress) -> None:
    stored = compress(CLUSTERED.encode())
    (tmp_path / "stored").write_bytes(stored)
    manifest = prepare([tmp_path / "stored"], tmp_path / "corpus", PrepareOptions())
    plain = prepare([fasta(tmp_path / "a.fasta")], tmp_path / "plain", PrepareOptions())
    assert manifest.fingerprint == plain.fingerprint
    (source,) = manifest.sources
    assert (source.name, source.split, source.size) == ("stored", "train", len(stored))
    assert source.sha256 == hashlib.sha256(stored).hexdigest()
    assert (source.num_records, source.num_residues) == (5, 31)


def test_standard_input_is_a_file_like_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(CLUSTERED.encode()))))
    code, _, _ = run(capsys, "-", fasta(tmp_path / "b.fasta", ">x\nMA\n"), "-o", tmp_path / "corpus")
    assert code == 0
    assert sequences(tmp_path / "corpus") == ["MKTAYIAKQR", "MKTAYIAKQK", "GGGGG", "MKT", "WWJ", "MA"]
    assert [source.name for source in read_manifest(tmp_path / "corpus").sources] == ["-", "b.fasta"]


def test_what_was_changed_in_reading_is_counted_and_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = fasta(tmp_path / "a.fasta", ">x\nmkTJ*\n>y\nMKT\n")
    code, out, _ = run(capsys, source, "-o", tmp_path / "c", "--vocab", "ankh", "--unknown", "x", "--json")
    result = json.loads(out)
    assert code == 0
    assert sequences(tmp_path / "c") == ["MKTX", "MKT"]
    assert Corpus.open(tmp_path / "c").vocab == ankh_vocab()
    assert (result["upper_cased"], result["unknown_replaced"], result["stops_dropped"]) == (2, 1, 1)
    assert result["train"] == {"proteins": 2, "residues": 7, "longest": 4, "shards": 1}
    assert result["fingerprint"] == Corpus.open(tmp_path / "c").fingerprint
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert manifest["options"]["unknown"] == "x"
    assert manifest["options"]["letters"] == ankh_vocab().letters
    assert set(manifest["provenance"]) == {"openankh", "numpy", "python", "created"}


def test_a_tokenizer_folder_serves_as_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    write_tokenizer(ankh_vocab(), tmp_path / "model")
    source = fasta(tmp_path / "a.fasta", ">x\nMKT\n")
    assert run(capsys, source, "-o", tmp_path / "corpus", "--vocab", tmp_path / "model")[0] == 0
    assert Corpus.open(tmp_path / "corpus").vocab.fingerprint == ankh_vocab().fingerprint


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak_of(num_records: int) -> int:
        source = fasta(tmp_path / f"{num_records}.fasta", (">p c50=s1\n" + "MKTAYIAKQR" * 120 + "\n") * num_records)
        tracemalloc.start()
        try:
            prepare([source], tmp_path / f"corpus-{num_records}", PrepareOptions())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_of(16_000) < 1.1 * peak_of(4_000) + (1 << 20)


@pytest.mark.parametrize("fault", [KeyboardInterrupt, UserError, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_a_failure_leaves_nothing_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    source = fasta(tmp_path / "a.fasta")
    prepare([source], tmp_path / "corpus", PrepareOptions())
    before = sequences(tmp_path / "corpus")

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(SplitWriter, "write", fail)
    for folder, overwrite in (("corpus", True), ("new", False)):
        with pytest.raises((KeyboardInterrupt, UserError)):
            prepare([source], tmp_path / folder, PrepareOptions(), overwrite=overwrite)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.fasta", "corpus"]
    assert sequences(tmp_path / "corpus") == before


def test_a_corpus_made_by_another_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    source = fasta(tmp_path / "a.fasta")

    def another(*_: int) -> None:
        if not (tmp_path / "corpus").exists():
            (tmp_path / "corpus").mkdir()
            (tmp_path / "corpus" / "theirs").touch()

    with pytest.raises(UserError, match="exists already"):
        prepare([source], tmp_path / "corpus", PrepareOptions(), on_progress=another)
    assert [entry.name for entry in (tmp_path / "corpus").iterdir()] == ["theirs"]


def test_a_killed_preparation_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "openankh", "prepare", "-", "-o", str(tmp_path / "corpus")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        # More than a pipe and a batch hold: when it is all taken, tokens have been written.
        process.stdin.write((b">p\n" + b"MKTAYIAKQR" * 100 + b"\n") * 6_000)
        process.stdin.flush()
        process.kill()
    (left,) = tmp_path.glob("corpus.tmp-*")
    assert any((left / "train").iterdir())
    with pytest.raises(UserError, match="not finished"):
        Corpus.open(left)
    with pytest.raises(UserError, match="no such folder"):
        Corpus.open(tmp_path / "corpus")
    prepare([fasta(tmp_path / "a.fasta")], tmp_path / "corpus", PrepareOptions())
    assert len(sequences(tmp_path / "corpus")) == 5
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.fasta", "corpus"]


def test_two_preparations_of_one_corpus_do_not_meet(tmp_path: Path) -> None:
    source = fasta(tmp_path / "a.fasta", ">p\nMKTAY\n" * 300)

    def prepare_again(num_bytes: int, num_residues: int) -> None:
        with pytest.raises(UserError, match=r"another process .* is writing it"):
            prepare([source], tmp_path / "corpus", PrepareOptions())

    prepare([source], tmp_path / "corpus", PrepareOptions(), on_progress=prepare_again)
    assert len(sequences(tmp_path / "corpus")) == 300


def test_progress_tells_bytes_as_stored_and_residues(tmp_path: Path) -> None:
    sources = [tmp_path / "a.fasta.gz", tmp_path / "b.fasta"]
    sources[0].write_bytes(gzip.compress((">p\nMKTAY\n" * 1000).encode()))
    fasta(sources[1])
    heard: list[tuple[int, int]] = []
    prepare(sources, tmp_path / "corpus", PrepareOptions(), on_progress=lambda *place: heard.append(place))
    assert heard == sorted(heard)
    assert heard[-1] == (sum(source.stat().st_size for source in sources), 5031)


MISTAKES: dict[str, tuple[Sequence[str], str]] = {
    "no file": (["-o", "corpus"], "no FASTA file given"),
    "no output": (["a.fasta"], "--output"),
    "a missing file": (["b.fasta", "-o", "corpus"], "b.fasta: cannot be read (no such file or directory)"),
    "a folder for a file": (["folder", "-o", "corpus"], "folder: cannot be read (is a directory)"),
    "the same file twice": (["a.fasta", "./a.fasta", "-o", "corpus"], "given twice"),
    "the training file to validate": (["a.fasta", "--valid", "a.fasta", "-o", "corpus"], "given twice"),
    "standard input twice": (["-", "-", "-o", "corpus"], "given twice"),
    "an empty file": (["empty.fasta", "-o", "corpus"], "empty.fasta, line 1"),
    "no FASTA": (["text.txt", "-o", "corpus"], "text.txt, line 1"),
    "a letter that is none": (["bad.fasta", "-o", "corpus"], "bad.fasta, line 2, column 3"),
    "a file cut short": (["cut.fasta.gz", "-o", "corpus"], "cut short"),
    "a letter foreign to the vocabulary": (["a.fasta", "--vocab", "ankh", "-o", "corpus"], "'J' is no residue"),
    "lower case refused": (["lower.fasta", "--case", "error", "-o", "corpus"], "lower case"),
    "a sequence too long": (["a.fasta", "--max-residues", "4", "-o", "corpus"], "a.fasta, line"),
    "a limit below one": (["a.fasta", "--max-residues", "0", "-o", "corpus"], "at least 1"),
    "an output that exists": (["a.fasta", "-o", "old"], "old: exists already"),
    "an output that is a file": (["a.fasta", "-o", "text.txt", "--overwrite"], "not a folder"),
    "overwriting what is no corpus": (["a.fasta", "-o", "folder", "--overwrite"], "will not delete it"),
    "an output in no folder": (["a.fasta", "-o", "no/where/corpus"], "does not exist"),
    "an output in a file": (["a.fasta", "-o", "text.txt/corpus"], "text.txt"),
    "an unknown vocabulary": (["a.fasta", "-o", "corpus", "--vocab", "ank"], "--vocab ank"),
    "a vocabulary folder without one": (["a.fasta", "-o", "corpus", "--vocab", "folder"], "folder"),
    "a word nobody has": (
        ["a.fasta", "-o", "corpus", "--keep-word", "rep30"],
        "none of 5 headers has",
    ),
    "a word with a space": (["a.fasta", "-o", "corpus", "--keep-word", "rep50 rep90"], "one word"),
    "an empty word": (["a.fasta", "-o", "corpus", "--keep-word", ""], "one word"),
    "a clustering that is none": (["a.fasta", "-o", "corpus", "--representatives", "rep50"], "such as c50"),
    "two ways to choose": (
        ["a.fasta", "-o", "corpus", "--representatives", "c50", "--keep-word", "x"],
        "give one of them",
    ),
    "no protein that long": (["a.fasta", "-o", "corpus", "--min-length", "99"], "--min-length 99 leaves none of 5"),
    "a length of zero": (["a.fasta", "-o", "corpus", "--min-length", "0"], "--min-length 0"),
    "a length of text": (["a.fasta", "-o", "corpus", "--min-length", "long"], "--min-length"),
    "a fraction in per cent": (["a.fasta", "-o", "corpus", "--holdout", "5"], "--holdout 5.0: give a fraction"),
    "a negative fraction": (["a.fasta", "-o", "corpus", "--holdout", "-0.1"], "--holdout -0.1"),
    "a fraction that is no number": (["a.fasta", "-o", "corpus", "--holdout", "nan"], "--holdout nan"),
    "a fraction too small": (["a.fasta", "-o", "corpus", "--holdout", "0.000001"], "put none of 5 records aside"),
    "a fraction too large": (["a.fasta", "-o", "corpus", "--holdout", "0.999999"], "put all of 5 records aside"),
    "a cluster word without fraction": (["a.fasta", "-o", "corpus", "--cluster-word", "c50"], "--holdout FRACTION"),
    "a cluster word with its sign": (
        ["a.fasta", "-o", "corpus", "--holdout", "0.5", "--cluster-word", "c50="],
        "before the '='",
    ),
    "a cluster word nobody has": (
        ["a.fasta", "-o", "corpus", "--holdout", "0.5", "--cluster-word", "c30"],
        "a.fasta, line 1: no c30=CLUSTER in the header of record P1",
    ),
    "two validation splits": (["a.fasta", "-o", "corpus", "--holdout", "0.5", "--valid", "b"], "give one of them"),
    "a missing validation file": (["a.fasta", "-o", "corpus", "--valid", "b.fasta"], "b.fasta: cannot be read"),
    "a validation file too short": (
        ["a.fasta", "-o", "corpus", "--valid", "lower.fasta", "--min-length", "5"],
        "leaves none of 1 records for valid",
    ),
    "a mistyped option": (["a.fasta", "-o", "corpus", "--holdot", "0.5"], "Did you mean --holdout?"),
    "a choice that is none": (["a.fasta", "-o", "corpus", "--unknown", "drop"], "--unknown"),
}


@pytest.mark.parametrize(("arguments", "reason"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gives_exit_code_2_and_one_line_and_changes_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: Sequence[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b">x\nM\n")))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    for name, text in (("a", CLUSTERED), ("empty", ""), ("bad", ">x\nMK1\n"), ("lower", ">x\nmkt\n")):
        fasta(tmp_path / f"{name}.fasta", text)
    (tmp_path / "text.txt").write_text("hello\n")
    (tmp_path / "cut.fasta.gz").write_bytes(gzip.compress(CLUSTERED.encode())[:-9])
    prepare([tmp_path / "a.fasta"], tmp_path / "old", PrepareOptions())
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert reason in err
    assert sorted(tmp_path.rglob("*")) == before


def test_only_a_corpus_or_an_empty_folder_is_overwritten(tmp_path: Path) -> None:
    source = fasta(tmp_path / "a.fasta", ">x\nMKT\n")
    (tmp_path / "corpus").mkdir()
    for number, text in enumerate((">x\nMKT\n", ">x\nMA\n")):
        prepare([fasta(source, text)], tmp_path / "corpus", PrepareOptions(), overwrite=True)
        assert sequences(tmp_path / "corpus") == [["MKT"], ["MA"]][number]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.fasta", "corpus"]


def test_an_unknown_letter_cannot_become_an_x_that_the_vocabulary_lacks() -> None:
    vocab = ankh_vocab()
    without_x = type(vocab)(tuple("x" if piece == "X" else piece for piece in vocab.pieces))
    with pytest.raises(UserError, match="this vocabulary has no X"):
        PrepareOptions(vocab=without_x, reading=ReadOptions(unknown="x"))


def test_the_help_names_every_option_and_needs_no_torch() -> None:
    code = "import sys; from openankh.cli import main; main(['prepare', '--help']); assert 'torch' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for option in ("--output", "--vocab", "--representatives", "--holdout", "--cluster-word", "--unknown", "--json"):
        assert option in shown


def test_the_real_validation_file_reads_as_described(shared_data: Path, tmp_path: Path) -> None:
    options = PrepareOptions(selection=Selection(holdout=0.1, cluster_word="c50"))
    manifest = prepare([shared_data / "pretrain" / "valid.fasta.xz"], tmp_path / "corpus", options)
    # 3,000 records and 1.07 M residues, says the data's README.
    assert sum(split.num_proteins for split in manifest.splits.values()) == 3000
    assert sum(split.num_residues for split in manifest.splits.values()) == 1_073_023
