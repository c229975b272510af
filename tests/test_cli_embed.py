"""`openankh embed`: a FASTA file into each output, and one line for everything a user can get wrong."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_folders import TINY, random_model
from openankh import cli, model_names
from openankh.checkpoint import Provenance, save_model
from openankh.config import ModelConfig
from openankh.fasta import FastaReader
from openankh.published import BUNDLED
from openankh.store import EmbeddingStore, ShardLimits
from openankh.store.journal import Journal
from openankh.store.shard import ShardEntry
from openankh.vocab import ankh_vocab, openankh_vocab

FASTA = ">P1 first\nMKTAYIAKQRQISFVKSHFSRQ\nLEERLG\n>a/b\nMKV\n>P1 again\nACDEFGHIKLMNPQRSTVWYX\n>P3\nm*\n"
IDS = ["P1", "a/b", "P1", "P3"]
LENGTHS = [28, 3, 21, 1]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_model(random_model(), ankh_vocab(), folder / "ankh", Provenance("ankh"))
    config = ModelConfig(**{**vars(TINY), "vocab_size": 256})
    save_model(random_model(config), openankh_vocab(), folder / "ours", Provenance("ours"))
    return folder


class Run:
    """The command on one input, in a folder of its own."""

    def __init__(self, folder: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.models, self._capsys = folder, models, capsys
        self.fasta = folder / "in.fasta"
        self.fasta.write_text(FASTA)

    def __call__(self, output: str, *options: str, source: str | None = None) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        model = () if "-m" in options else ("-m", str(self.models / "ankh"))
        dtype = () if "--precision" in options else ("--precision", "fp32")
        source = str(self.fasta) if source is None else source
        code = cli.main(["embed", source, "-o", str(self.folder / output), *model, *dtype, "--device", "cpu", *options])
        shown = self._capsys.readouterr()
        return code, shown.out, shown.err

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def run(tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path, models, capsys)


def test_a_store_holds_every_protein_in_order_with_a_row_a_residue(run: Run) -> None:
    code, out, err = run("store", "--pool", "residues")
    assert (code, out) == (0, "")
    before, room, *changes, done = err.splitlines()
    assert before == f"{run.fasta}: 4 proteins, 53 residues, the longest 28"
    assert re.fullmatch(rf"{run.folder / 'store'}: 3\.7 kB to be written, [0-9.,]+ [GT]B free", room)
    assert changes == [
        "1 lower-case residues read as capitals (--case error refuses them)",
        "1 final * dropped",
    ]
    assert f"{run.folder / 'store'}: 4 proteins, 53 residues, one row a residue (16 numbers)" in done
    store = EmbeddingStore.open(run.folder / "store")
    store.verify()
    assert list(store.ids) == IDS
    assert [array.shape for array in store] == [(length, 16) for length in LENGTHS]
    assert run.names() == ["in.fasta", "store"]


@pytest.mark.parametrize("model", ["ankh", "ours"])
@pytest.mark.parametrize("pool", ["mean", "residues"])
def test_every_format_holds_the_same_numbers(run: Run, model: str, pool: str) -> None:
    h5py, pq = pytest.importorskip("h5py"), pytest.importorskip("pyarrow.parquet")
    for name in ("store", "out.h5", "out.npz", "out.parquet"):
        assert run(name, "-m", str(run.models / model), "--pool", pool)[0] == 0
    store = list(EmbeddingStore.open(run.folder / "store"))
    with h5py.File(run.folder / "out.h5") as file:
        assert list(file) == ["P1", "a%2Fb", "P1 #2", "P3"]
        assert file.attrs["prefix"] == ("[NLU]" if model == "ours" else "")
        hdf5 = [file[key][()] for key in file]
    with np.load(run.folder / "out.npz", allow_pickle=False) as file:
        npz = [file[key] for key in file.files[:4]]
    table = pq.read_table(run.folder / "out.parquet")
    assert table["id"].to_pylist() == IDS and table["length"].to_pylist() == LENGTHS
    for number, array in enumerate(store):
        np.testing.assert_array_equal(hdf5[number], array)
        np.testing.assert_array_equal(npz[number], array)
        np.testing.assert_array_equal(np.asarray(table["embedding"][number].as_py(), np.float32), array.reshape(-1))


def test_the_summary_in_json_counts_what_was_read_and_changed(run: Run) -> None:
    code, out, _ = run("out.npz", "--json", "--layer", "1", "--prefix", "none")
    facts = json.loads(out)
    assert code == 0
    expected = {
        "output": str(run.folder / "out.npz"),
        "format": "npz",
        "device": "cpu",
        "records": 4,
        "residues": 53,
        "upper_cased": 1,
        "stops_dropped": 1,
        "unknown_replaced": 0,
        "model": str(run.models / "ankh"),
        "precision": "fp32",
        "dtype": "fp32",
        "states": "encoder",
        "layers": [1],
        "pool": "mean",
        "prefix": "",
        "width": 16,
        "records_kept": 0,
        "records_reused": 0,
        "records_repeated": 0,
        "records_overflowed": 0,
        "memory_ran_out": 0,
        "max_tokens": 4096,
    }
    assert {name: facts[name] for name in expected} == expected
    assert facts["seconds"] > 0 and facts["residues_per_second"] > 0 and facts["seconds_expected"] > 0
    assert facts["bytes_free"] > facts["bytes_to_write"] > 4 * 16 * 4
    assert len(facts["input_sha256"]) == len(facts["model_sha256"]) == 64


def test_several_layers_come_in_one_array_a_protein_in_every_format(run: Run) -> None:
    h5py, pq = pytest.importorskip("h5py"), pytest.importorskip("pyarrow.parquet")
    for pool, rows in (("none", True), ("mean", False)):
        for name in ("store", "out.h5", "out.npz", "out.parquet"):
            assert run(name, "--layer", "2,0", "--layer", "-2", "--pool", pool, "--overwrite")[0] == 0
        store = EmbeddingStore.open(run.folder / "store")
        assert store.provenance.layers == (2, 0, 1)
        assert [array.shape for array in store] == [(3, length, 16) if rows else (3, 16) for length in LENGTHS]
        with h5py.File(run.folder / "out.h5") as file:
            np.testing.assert_array_equal(file["a%2Fb"], store[1])
        with np.load(run.folder / "out.npz") as file:
            np.testing.assert_array_equal(file["P3"], store[3])
        column = pq.read_table(run.folder / "out.parquet")["embedding"]
        np.testing.assert_array_equal(np.float32(column[0].as_py()).reshape(store[0].shape), store[0])
    run("all", "--layer", "all")
    assert EmbeddingStore.open(run.folder / "all").provenance.layers == (0, 1, 2)


def test_states_of_the_decoder_are_kept_as_such(run: Run) -> None:
    assert run("encoder", "--pool", "none")[0] == run("decoder", "--pool", "none", "--states", "decoder")[0] == 0
    encoder, decoder = (EmbeddingStore.open(run.folder / name) for name in ("encoder", "decoder"))
    assert (encoder.provenance.states, decoder.provenance.states) == ("encoder", "decoder")
    assert decoder.provenance.layers == (1,)
    assert [array.shape for array in decoder] == [array.shape for array in encoder]
    assert all(np.abs(one - other).max() > 1e-3 for one, other in zip(encoder, decoder, strict=True))


def test_precision_is_how_it_is_computed_and_dtype_what_is_written(run: Run) -> None:
    exact = run("fp32", "--pool", "none") and list(EmbeddingStore.open(run.folder / "fp32"))
    for precision, dtype, expected in [
        ("fp32", "fp16", "fp16"),
        ("bf16", "fp32", "fp32"),
        ("bf16", "auto", "bf16"),
        ("fp16", "auto", "fp16"),
        ("fp16", "fp32", "fp32"),
    ]:
        options = ("--precision", precision, "--dtype", dtype, "--pool", "none", "--overwrite")
        assert run("store", *options)[0] == 0
        store = EmbeddingStore.open(run.folder / "store")
        assert (store.provenance.precision, store.provenance.dtype) == (precision, expected)
        for array, true in zip(store, exact, strict=True):
            assert np.linalg.norm(array.astype(np.float32) - true) <= 3e-2 * np.linalg.norm(true)


def test_proteins_with_the_sequence_of_another_are_told_before_and_after(run: Run) -> None:
    run.fasta.write_text(FASTA + "".join(f">again{n}\nMKV\n" for n in range(3)))
    code, out, err = run("store", "--json")
    assert code == 0
    assert "7 proteins, 62 residues, the longest 28; 3 have the sequence of another and are not computed again" in err
    assert "3 proteins had the sequence of another and were not computed again" in err
    facts = json.loads(out)
    assert facts["records_repeated"] == facts["records_reused"] == 3
    store = EmbeddingStore.open(run.folder / "store")
    assert list(store.ids) == [*IDS, "again0", "again1", "again2"]
    for place in (4, 5, 6):
        np.testing.assert_array_equal(store[place], store[1])


def test_each_run_of_one_embedder_counts_what_it_did_itself(run: Run) -> None:
    from openankh.embedding.options import EmbedOptions
    from openankh.embedding.run import ModelIdentity, embed_file
    from openankh.loaded import load_embedder
    from openankh.store import parse_target

    run.fasta.write_text(FASTA + ">again\nMKV\n")
    embedder, loaded = load_embedder(run.models / "ankh", EmbedOptions(precision="fp32"), "cpu")
    identity, reader = ModelIdentity("ankh", loaded.sha256), FastaReader(run.fasta)
    for name in ("one", "other"):
        summary = embed_file(reader, parse_target(str(run.folder / name)), embedder, identity)
        embedder.expect(None)
        assert (summary.records_reused, summary.residues_reused) == (1, 3)
    assert embedder.num_reused == 2


def test_of_a_stream_it_is_said_that_nothing_can_be_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(FASTA.encode())))
    code, out, err = run("store", "--json", source="-")
    assert code == 0 and "standard input: a stream, so neither its size nor the time can be told" in err
    facts = json.loads(out)
    assert facts["bytes_to_write"] is facts["seconds_expected"] is facts["records_repeated"] is None
    assert facts["bytes_free"] > 0


def test_quiet_says_nothing_when_all_is_well(run: Run) -> None:
    assert run("out.npz", "--quiet") == (0, "", "")


def test_options_reach_the_model_and_the_reader(run: Run) -> None:
    run.fasta.write_text(">a\nMKJ\n")
    assert run("a.npz")[0] == 2
    assert run("a.npz", "--unknown", "x")[0] == 0
    assert "1 unknown letters read as X" in run("b.npz", "--unknown", "x")[2]
    run.fasta.write_text(FASTA)
    assert "lower case" in run("c.npz", "--case", "error")[2]
    shapes = {}
    for pool in ("max", "mean", "residues"):
        run(f"{pool}.npz", "--pool", pool, "--max-tokens", "10", "--dtype", "fp16")
        with np.load(run.folder / f"{pool}.npz") as file:
            shapes[pool] = (file["a%2Fb"].shape, file["a%2Fb"].dtype)
    assert shapes == {"max": ((16,), np.float16), "mean": ((16,), np.float16), "residues": ((3, 16), np.float16)}


def test_bf16_is_kept_as_such_in_a_store_and_widened_elsewhere(run: Run) -> None:
    run("store", "--precision", "bf16")
    run("out.npz", "--precision", "bf16")
    store = EmbeddingStore.open(run.folder / "store")
    assert store.provenance.dtype == "bf16"
    with np.load(run.folder / "out.npz") as file:
        np.testing.assert_array_equal(file["P3"], store[3])


def test_standard_input_and_compressed_input_give_what_the_file_gives(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    (run.folder / "in.fasta.gz").write_bytes(gzip.compress(FASTA.replace("\n", "\r\n").encode()))
    stdin = io.TextIOWrapper(io.BytesIO(FASTA.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run("file")[0] == run("gz", source=str(run.folder / "in.fasta.gz"))[0] == run("stdin", source="-")[0] == 0
    contents = [
        {path.name: path.read_bytes() for path in (run.folder / name).iterdir()} for name in ("file", "gz", "stdin")
    ]
    assert contents[0] == contents[1] == contents[2]


def test_a_pipe_is_read_as_a_stream(run: Run) -> None:
    os.mkfifo(run.folder / "pipe")
    writer = threading.Thread(target=lambda: (run.folder / "pipe").write_text(FASTA))
    writer.start()
    assert run("store", source=str(run.folder / "pipe"))[0] == 0
    writer.join()
    assert list(EmbeddingStore.open(run.folder / "store").ids) == IDS


MISTAKES = {
    "no such input": (["nowhere.fasta", "-o", "OUT.npz"], "nowhere.fasta"),
    "input is a folder": (["FOLDER", "-o", "OUT.npz"], "folder"),
    "empty FASTA": (["EMPTY", "-o", "OUT.npz"], "holds no records"),
    "malformed FASTA": (["MALFORMED", "-o", "OUT.npz"], "line 4, column 3"),
    "truncated gzip": (["TRUNCATED", "-o", "OUT.npz"], "line"),
    "unknown ending": (["FASTA", "-o", "OUT.h6"], "did you mean .h5"),
    "no output folder": (["FASTA", "-o", "nowhere/OUT.npz"], "does not exist; create it first"),
    "output below a file": (["FASTA", "-o", "FASTA/OUT.npz"], "does not exist; create it first"),
    "output exists": (["FASTA", "-o", "FOLDER"], "exists already; choose another name or add --overwrite"),
    "output is a device": (["FASTA", "-o", "/dev/null", "--overwrite"], "not an embedding store"),
    "output is stdout": (["FASTA", "-o", "-"], "-o"),
    "output is the root": (["FASTA", "-o", "/"], "exists already"),
    "unknown model": (["FASTA", "-o", "OUT.npz", "-m", "ankh-bas"], "did you mean ankh-base"),
    "layer too high": (["FASTA", "-o", "OUT.npz", "--layer", "3"], "layers 0 (its input) to 2, or -3 to -1"),
    "layer too low": (["FASTA", "-o", "OUT.npz", "--layer", "-4"], "layers 0 (its input) to 2, or -3 to -1"),
    "layer no number": (["FASTA", "-o", "OUT.npz", "--layer", "last"], "layer 'last': give a number, several"),
    "bad pool": (["FASTA", "-o", "OUT.npz", "--pool", "maen"], 'Did you mean "mean"'),
    "bad dtype": (["FASTA", "-o", "OUT.npz", "--dtype", "bf61"], 'Did you mean "bf16"'),
    "bad prefix": (["FASTA", "-o", "OUT.npz", "--prefix", "nul"], 'Did you mean "nlu"'),
    "prefix not in the model": (["FASTA", "-o", "OUT.npz", "--prefix", "s2s"], "no [S2S]"),
    "layer twice": (["FASTA", "-o", "OUT.npz", "--layer", "2,-1"], "layer -1: named twice"),
    "layer beside all": (["FASTA", "-o", "OUT.npz", "--layer", "all,1"], "layer 'all,1': give a number, several"),
    "layer of the decoder": (["FASTA", "-o", "OUT.npz", "--layer", "2", "--states", "decoder"], "(its input) to 1, or"),
    "bad states": (["FASTA", "-o", "OUT.npz", "--states", "both"], "--states"),
    "bad precision": (["FASTA", "-o", "OUT.npz", "--precision", "fp8"], "--precision"),
    "bad budget": (["FASTA", "-o", "OUT.npz", "--max-tokens", "0"], "at least 1"),
    "bad device": (["FASTA", "-o", "OUT.npz", "--device", "cdua"], "not one of auto, cpu, cuda"),
    "no such GPU": (["FASTA", "-o", "OUT.npz", "--device", "cuda:99"], "CUDA GPUs here; use"),
    "bad unknown": (["FASTA", "-o", "OUT.npz", "--unknown", "y"], "--unknown"),
    "mistyped option": (["FASTA", "-o", "OUT.npz", "--pol", "max"], "--pool"),
    "mistyped option before": (["--pol", "FASTA", "-o", "OUT.npz"], "--pool"),
    "no output": (["FASTA"], "--output"),
    "no input": (["-o", "OUT.npz"], "openankh embed --help"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_exit_code_2_one_line_and_no_file(
    run: Run, mistake: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gzip

    arguments, message = MISTAKES[mistake]
    monkeypatch.chdir(run.folder)
    run.fasta.rename("FASTA")
    Path("EMPTY").write_text("\n")
    Path("MALFORMED").write_text(">a\nMK\n>b\nMK-V\n")
    Path("TRUNCATED").write_bytes(gzip.compress(FASTA.encode() * 9)[:-9])
    Path("FOLDER").mkdir()
    (Path("FOLDER") / "thesis.tex").write_text("x")
    before = run.names()
    model = [] if "-m" in arguments else ["-m", str(run.models / "ankh")]
    code = cli.main(["embed", *arguments, *model])
    shown = capsys.readouterr()
    assert code == 2, shown
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1 and shown.err.startswith("error: ")
    assert message in shown.err
    assert run.names() == before


@pytest.mark.parametrize(("name", "library"), [("out.h5", "h5py"), ("out.parquet", "pyarrow")])
def test_a_missing_library_is_told_with_how_to_install_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    code, out, err = run(name)
    assert (code, out) == (2, "")
    assert 'pip install "openankh[export]"' in err and library in err
    assert run.names() == ["in.fasta"]


def test_an_unwritable_folder_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: object, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    code, _, err = run("out.npz")
    monkeypatch.undo()
    assert code == 2
    assert err.splitlines()[-1].endswith("permission denied; choose another place or mend its permissions")
    assert run.names() == ["in.fasta"]


def test_a_disk_too_small_is_refused_before_the_work_with_needed_and_free_bytes(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 100))  # type: ignore[attr-defined]
    code, _, err = run("out.npz", "--pool", "residues")
    assert code == 2
    assert "bytes needed, 100 free" in err
    assert run.names() == ["in.fasta"]


def test_what_exists_is_kept_unless_it_may_be_overwritten(run: Run) -> None:
    for name in ("out.npz", "store"):
        assert run(name)[0] == 0
        code, _, err = run(name)
        assert code == 2 and "--overwrite" in err
        assert run(name, "--pool", "max", "--overwrite")[0] == 0
    assert EmbeddingStore.open(run.folder / "store").provenance.pool == "max"


def test_a_failed_run_keeps_what_it_was_to_overwrite(run: Run) -> None:
    run("out.npz")
    before = (run.folder / "out.npz").read_bytes()
    run.fasta.write_text(">a\nMK\n>b\nM-K\n")
    assert run("out.npz", "--overwrite")[0] == 2
    assert (run.folder / "out.npz").read_bytes() == before
    assert run.names() == ["in.fasta", "out.npz"]


def test_numbers_that_are_not_finite_are_never_written(run: Run) -> None:
    loud = random_model()
    loud.encoder.final_layer_norm.weight.data.mul_(1e7)
    save_model(loud, ankh_vocab(), run.folder / "loud", Provenance("loud"))
    code, _, err = run("out.npz", "--dtype", "fp16", "-m", str(run.folder / "loud"))
    assert code == 2
    assert "layer 2 reaches" in err and "fp16 ends at 65,504; give the output the dtype bf16 or fp32" in err
    assert "out.npz" not in run.names()


def test_an_input_that_changes_while_it_is_read_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from openankh import loaded

    real = loaded.load_embedder

    def change_then_load(*arguments: Any, **options: Any) -> object:
        run.fasta.write_text(FASTA.replace("MKV", "MKW"))
        return real(*arguments, **options)

    monkeypatch.setattr(loaded, "load_embedder", change_then_load)
    code, _, err = run("out.npz")
    assert code == 2
    assert "changed while it was being read" in err
    assert run.names() == ["in.fasta"]


MANY = "".join(
    f">P{number}\n{'ACDEFGHIKLMNPQRSTVWY'[number % 20]}{'MKTAYIAKQRQISFVKSHFSRQLEERLG' * (1 + number % 7)}\n"
    for number in range(100)
)
LIMITS = ShardLimits(num_residues=1000)
OPTIONS = ("--pool", "residues", "--max-tokens", "300")
KILLED = """
import os, signal, sys
from openankh import cli
from openankh.embedding import run
from openankh.store import ShardLimits
from openankh.store.journal import Journal
run.ShardLimits = lambda: ShardLimits(num_residues=1000)
real, count = Journal.acknowledge, 0
def acknowledge(*arguments):
    global count
    real(*arguments)
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
Journal.acknowledge = acknowledge
cli.main(sys.argv[1:])
"""


def kill(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the third acknowledged shard be the last thing a process does."""
    command = ["embed", str(run.fasta), "-o", str(run.folder / "store"), "-m", str(run.models / "ankh"), *OPTIONS]
    done = subprocess.run([sys.executable, "-c", KILLED, *command, "--precision", "fp32"], check=False)
    assert done.returncode == -signal.SIGKILL


def interrupt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Control-C be pressed after the third acknowledged shard."""
    real, seen = Journal.acknowledge, []

    def acknowledge(journal: Journal, shard: ShardEntry) -> None:
        real(journal, shard)
        seen.append(shard)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "acknowledge", acknowledge)
        code, _, err = run("store", *OPTIONS)
    assert code == 130
    assert "proteins are safe; the same command goes on after them\nerror: interrupted\n" in err


@pytest.mark.parametrize("name", ["store", "out.npz"])
def test_an_interrupt_before_anything_is_safe_says_so(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from openankh.embedding.vectors import Vectors

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Vectors, "of", interrupted)
    code, _, err = run(name)
    assert code == 130
    expected = {
        "store": "no part of the output was whole yet; the same command begins again",
        "out.npz": "nothing was written; an output that is a folder (-o NAME/) goes on where it stopped",
    }
    assert err.endswith(f"{expected[name]}\nerror: interrupted\n")
    assert run.names() == ["in.fasta"]


def test_a_disk_that_fails_in_the_writing_thread_ends_the_run_in_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openankh.embedding.run.ShardLimits", lambda: LIMITS)
    run.fasta.write_text(MANY)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("openankh.store.writer.write_shard", full)
        code, _, err = run("store", *OPTIONS)
    assert code == 2 and "no space left on device" in err.splitlines()[-1] and "free" in err.splitlines()[-1]
    assert run.names() == ["in.fasta"]


@pytest.mark.parametrize("stop", [kill, interrupt])
def test_a_run_that_was_stopped_is_continued_and_ends_as_an_undisturbed_one(
    run: Run, monkeypatch: pytest.MonkeyPatch, stop: Callable[[Run, pytest.MonkeyPatch], None]
) -> None:
    monkeypatch.setattr("openankh.embedding.run.ShardLimits", lambda: LIMITS)
    run.fasta.write_text(MANY)
    assert run("whole", *OPTIONS)[0] == 0
    stop(run, monkeypatch)
    assert not (run.folder / "store").exists()
    code, _, err = run("store", "--pool", "max")
    assert code == 2
    assert "was begun with pool residues, this run has max" in err and err.count("\n") == 1
    code, out, _ = run("store", *OPTIONS, "--json")
    assert code == 0 and json.loads(out)["records_kept"] > 5
    contents = [{path.name: path.read_bytes() for path in (run.folder / n).iterdir()} for n in ("whole", "store")]
    assert contents[0] == contents[1]
    assert list(EmbeddingStore.open(run.folder / "store").ids) == [record.id for record in FastaReader(run.fasta)]
    assert run.names() == ["in.fasta", "store", "whole"]


def test_embedding_imports_neither_torchs_compiler_nor_libraries_of_other_formats(run: Run) -> None:
    script = (
        "import sys\nfrom openankh import cli\ncode = cli.main(sys.argv[1:])\n"
        "heavy = {'torch._dynamo', 'torch._inductor', 'h5py', 'pyarrow', 'transformers', 'huggingface_hub', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\nsys.exit(code)"
    )
    command = ["embed", str(run.fasta), "-o", str(run.folder / "store"), "-m", str(run.models / "ours")]
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_a_killed_run_left_beside_its_output_is_removed_by_the_next(run: Run) -> None:
    (run.folder / "out.npz.tmp-0123").write_bytes(b"half")
    assert run("out.npz")[0] == 0
    assert run.names() == ["in.fasta", "out.npz"]


def test_real_proteins_give_their_lengths_in_rows(run: Run, shared_data: Path) -> None:
    reader = FastaReader(shared_data / "nanobody" / "nanobodies.fasta.gz")
    records = [record for record, _ in zip(reader, range(50), strict=False)]
    run.fasta.write_text("".join(f">{record.id}\n{record.sequence}\n" for record in records))
    assert run("store", "--pool", "residues", "--max-tokens", "1000")[0] == 0
    store = EmbeddingStore.open(run.folder / "store")
    assert list(store.ids) == [record.id for record in records]
    assert [len(array) for array in store] == [len(record.sequence) for record in records]


def test_all_commands_and_python_blocks_of_the_page_on_embedding_run(
    repository: Path, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (repository / "docs" / "embedding.md").read_text()
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled" / BUNDLED).symlink_to(models / "ours", target_is_directory=True)
    monkeypatch.setattr(model_names, "_BUNDLED_FOLDER", tmp_path / "bundled")
    monkeypatch.chdir(tmp_path)
    Path("proteins.fasta").write_text(FASTA)
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        if language == "python":
            exec(compile(code, "docs/embedding.md", "exec"), {})
        else:
            for line in code.splitlines():
                words = shlex.split(line)
                assert words[0] == "openankh" and cli.main(words[1:]) == 0, line
    assert "P1 (2, 28, 16)" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} >= {"vectors.h5", "residues", "layers"}
