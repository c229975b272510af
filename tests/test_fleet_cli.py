"""`openankh embed` by many workers: what one gives, and one line for everything a user can get wrong."""

import io
import json
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from fleet_jobs import LIMITS, write_proteins
from model_folders import random_model
from openankh import cli
from openankh.checkpoint import Provenance, save_model
from openankh.embedding import run
from openankh.embedding.options import EmbedOptions
from openankh.embedding.survey import survey
from openankh.fasta import FastaReader
from openankh.fleet.device_workers import DeviceWorkers
from openankh.fleet.job import Job
from openankh.fleet.run import FleetRun
from openankh.loaded import load_embedder
from openankh.store import EmbeddingStore, parse_target
from openankh.vocab import ankh_vocab
from test_fleet import contents


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and proteins in it."""
    folder = tmp_path_factory.mktemp("fleet")
    save_model(random_model(), ankh_vocab(), folder / "model", Provenance("tiny"))
    write_proteins(folder / "in.fasta", 30)
    return folder


def embed(folder: Path, output: str, *options: str, source: str | None = None) -> int:
    source = str(folder / "in.fasta") if source is None else source
    model = () if "-m" in options else ("-m", str(folder / "model"))
    return cli.main(["embed", source, "-o", str(folder / output), *model, "--dtype", "fp32", *options])


def test_two_devices_give_what_one_gives_in_every_format(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embed(folder, "one", "--device", "cpu") == 0
    capsys.readouterr()
    assert embed(folder, "two", "--devices", "cpu,cpu", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["device"], facts["format"], facts["records"], facts["records_kept"]) == ("cpu,cpu", "store", 30, 0)
    assert contents(folder / "one") == contents(folder / "two")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((folder / "in.fasta").read_bytes())))
    assert embed(folder, "two.npz", "--devices", "cpu,cpu", "--quiet", source="-") == 0
    with np.load(folder / "two.npz", allow_pickle=False) as file:
        for name, array in zip(file.files, EmbeddingStore.open(folder / "one"), strict=False):
            np.testing.assert_array_equal(file[name], array)
    assert sorted(path.name for path in folder.iterdir()) == ["in.fasta", "model", "one", "two", "two.npz"]


def test_two_devices_write_every_shard_byte_for_byte_as_one_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, reader = EmbedOptions("residues", precision="fp32"), FastaReader(folder / "in.fasta")
    found = survey(reader)
    embedder, loaded = load_embedder(folder / "model", options, "cpu")
    identity = run.ModelIdentity(loaded.pinned_name, loaded.sha256)
    monkeypatch.setattr(run, "limits_for", lambda embedder: LIMITS)
    run.embed_file(reader, parse_target(str(tmp_path / "one")), embedder, identity, found)
    job = Job(str(folder / "model"), options, limits=LIMITS)
    with DeviceWorkers(job, ["cpu", "cpu"]) as crew:
        FleetRun(reader, parse_target(str(tmp_path / "two")), found).embed(crew)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert sum(name.startswith("shard-") for name in contents(tmp_path / "two")) > 3


MISTAKES = {
    "two answers": (["-o", "OUT", "--devices", "cpu,cpu", "--device", "cpu"], "two answers to one question"),
    "no such GPU": (["-o", "OUT", "--devices", "0,1"], "PyTorch sees 0 CUDA GPUs"),
    "no such device": (["-o", "OUT", "--devices", "gpu"], "not one of auto, cpu"),
    "workers of no cluster": (["-o", "OUT", "--ray-workers", "3"], "needs --ray"),
    "devices of a cluster": (["-o", "OUT", "--ray", "local", "--devices", "all"], "use --ray-workers"),
    "one device of a cluster": (["-o", "OUT", "--ray", "local", "--device", "cuda:1"], "give auto, cpu or cuda"),
    "no workers": (["-o", "OUT", "--ray", "local", "--ray-workers", "0"], "at least 1"),
    "a client's address": (["-o", "OUT", "--ray", "ray://head:10001"], "run on a machine of the cluster"),
    "an address that is none": (["-o", "OUT", "--ray", "headnode"], "neither auto, local nor HOST:PORT"),
    "a port of no port": (["-o", "OUT", "--ray", "headnode:99999"], "neither auto, local nor HOST:PORT"),
    "a URL of no kind": (["-o", "nowhere://bucket/x", "--devices", "cpu"], "nowhere://bucket/x"),
    "a letter": (["-o", "OUT", "--devices", "cpu,cpu"], "line 4"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_exit_code_2_and_one_line(
    folder: Path, tmp_path: Path, mistake: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sequence = "M-V" if mistake == "a letter" else "MKV"
    Path("in.fasta").write_text(f">a\nMK\n>b\n{sequence}\n")
    arguments, message = MISTAKES[mistake]
    assert cli.main(["embed", "in.fasta", "-m", str(folder / "model"), *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1
    assert shown.err.startswith("error: ") and message in shown.err
    assert [path.name for path in Path().iterdir()] == ["in.fasta"]


@pytest.mark.parametrize("library", ["ray", "pandas"])
def test_a_missing_ray_is_told_with_how_to_install_it(
    folder: Path, library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert embed(folder, "three", "--ray", "local") == 2
    assert (
        f'--ray: needs {library}, which is not installed; run: pip install "openankh[ray]"' in capsys.readouterr().err
    )


def test_an_address_at_which_nobody_listens_is_told_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pandas")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert embed(folder, "three", "--ray", f"127.0.0.1:{port}") == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1 and "no cluster to be reached (connection refused)" in shown
