"""HDF5, Parquet and NPZ: every protein once, in order, under its id; a failed run leaves what was there before."""

import json
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from embedding_samples import WIDTH, embeddings, provenance
from openankh.errors import UserError
from openankh.store import DTYPES, POOLS, Dtype, Embedding, Pool, Provenance, Target, parse_target
from openankh.store.keys import id_of_key

h5py = pytest.importorskip("h5py")
pq = pytest.importorskip("pyarrow.parquet")

IDS = ["P1", "a/b", "..", "P1", "nul\0", "caf\udce9", "😀", "p1", "ids", "x", "x.npy", "P1"]
FILES = ["out.h5", "out.parquet", "out.npz"]


def write(name: Path, made: list[Embedding], of: Provenance, overwrite: bool = False) -> Target:
    target = parse_target(str(name), overwrite)
    with target.writing(of) as output:
        output.write(made[:5])
        output.write(made[5:])
        output.finish("a" * 64)
    return target


def read_hdf5(path: Path) -> list[tuple[str, int, np.ndarray]]:
    with h5py.File(path) as file:
        assert [file[key].attrs["index"] for key in file] == list(range(len(file)))
        return [(id_of_key(key), int(file[key].attrs["length"]), file[key][()]) for key in file]


def read_npz(path: Path) -> list[tuple[str, int, np.ndarray]]:
    with np.load(path, allow_pickle=False) as file:
        keys = file.files[:-3]
        assert file.files[-3:] == ["ids", "lengths", "provenance"]
        return [(id_of_key(key), int(n), file[key]) for key, n in zip(keys, file["lengths"], strict=True)]


def read_parquet(path: Path) -> list[tuple[str, int, np.ndarray]]:
    table = pq.read_table(path)
    rows = zip(table["id"].to_pylist(), table["length"].to_pylist(), table["embedding"], strict=True)
    return [(name, length, row.values.to_numpy(zero_copy_only=False)) for name, length, row in rows]


READERS = {"out.h5": read_hdf5, "out.parquet": read_parquet, "out.npz": read_npz}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layers", [(4,), (4, 0, 2)])
def test_every_protein_comes_back_exactly_once_in_order(
    tmp_path: Path, name: str, pool: Pool, dtype: Dtype, layers: tuple[int, ...]
) -> None:
    of = provenance(pool, dtype, layers=layers)
    made = embeddings(IDS, of)
    write(tmp_path / name, made, of)
    found = READERS[name](tmp_path / name)
    assert len(found) == len(made)
    for (found_id, length, array), embedding in zip(found, made, strict=True):
        assert (id_of_key(found_id) if name == "out.parquet" else found_id) == embedding.id
        assert length == embedding.length
        assert array.dtype == (np.float16 if dtype == "fp16" else np.float32)
        np.testing.assert_array_equal(array.reshape(embedding.values.shape), embedding.values)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_an_hdf5_dataset_is_found_by_its_id_and_keeps_the_true_id_and_place(tmp_path: Path) -> None:
    of = provenance("mean")
    made = embeddings(IDS, of)
    write(tmp_path / "out.h5", made, of)
    with h5py.File(tmp_path / "out.h5") as file:
        assert all(isinstance(file[key], h5py.Dataset) for key in file)
        np.testing.assert_array_equal(file["p1"][()], made[7].values)
        np.testing.assert_array_equal(file["P1 #2"][()], made[3].values)
        assert file["P1 #3"].attrs["id"] == "P1" and file["P1 #3"].attrs["index"] == 11
        assert file["a%2Fb"].attrs["id"] == "a/b"
        assert file["nul%00"].attrs["id"] == "nul%00"
        assert (
            file.attrs["pool"] == "mean"
            and file.attrs["layers"].tolist() == [4]
            and file.attrs["num_records"] == len(IDS)
        )
        assert file.attrs["input_sha256"] == "a" * 64


def test_an_npz_file_lists_its_ids_and_names_no_member_that_unpacks_outside(tmp_path: Path) -> None:
    of = provenance("mean")
    write(tmp_path / "out.npz", embeddings(IDS, of), of)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as file:
        assert file["ids"].tolist() == [{"nul\0": "nul%00", "caf\udce9": "caf%E9"}.get(name, name) for name in IDS]
        assert json.loads(str(file["provenance"])) == of.to_json()
        assert file["x"].shape == file["x%2Enpy"].shape == (WIDTH,)
    with zipfile.ZipFile(tmp_path / "out.npz") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        archive.extractall(tmp_path / "unpacked")
    assert len(names) == len(set(names)) == len(IDS) + 3
    assert sorted(entry.name for entry in (tmp_path / "unpacked").iterdir()) == sorted(names)


def test_an_npz_file_with_one_huge_id_stays_small(tmp_path: Path) -> None:
    of = provenance("mean")
    write(tmp_path / "out.npz", embeddings([*(f"P{n}" for n in range(3000)), "A" * 20_000], of), of)
    assert (tmp_path / "out.npz").stat().st_size < 3_000_000


def test_parquet_columns_and_metadata(tmp_path: Path) -> None:
    of = provenance("mean")
    write(tmp_path / "out.parquet", embeddings(IDS, of), of)
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert schema.names == ["id", "length", "embedding"]
    assert schema.field("embedding").type.list_size == WIDTH
    metadata = pq.read_metadata(tmp_path / "out.parquet").metadata
    assert json.loads(metadata[b"openankh"]) == of.to_json()


@pytest.mark.parametrize("name", FILES)
def test_the_same_embeddings_make_the_same_bytes(tmp_path: Path, name: str) -> None:
    of = provenance()
    (tmp_path / "again").mkdir()
    for folder in (tmp_path, tmp_path / "again"):
        write(folder / name, embeddings(IDS, of), of)
    assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("existed", [False, True])
def test_a_run_that_fails_leaves_what_was_there_before_and_nothing_else(
    tmp_path: Path, name: str, existed: bool
) -> None:
    of = provenance()
    made = embeddings(IDS, of)
    if existed:
        write(tmp_path / name, made[:2], of)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KeyError), parse_target(str(tmp_path / name), overwrite=True).writing(of) as output:
        output.write(made)
        raise KeyError("boom")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    write(tmp_path / name, made, of, overwrite=True)
    assert len(READERS[name](tmp_path / name)) == len(made)


LIMITED = """
import sys
sys.path.insert(0, sys.argv[2])
import numpy as np
from embedding_samples import provenance
from openankh.errors import UserError
from openankh.store import Embedding, parse_target
of = provenance("residues", width=1000)
try:
    with parse_target(sys.argv[1], overwrite=True).writing(of, 400_000_000) as output:
        for n in range(100):
            output.write([Embedding(str(n), 1000, np.zeros((1000, 1000), np.float32))])
        output.finish("a" * 64)
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("name", [*FILES, "out"])
def test_a_disk_that_runs_full_while_writing_gives_one_line_and_keeps_the_old_file(tmp_path: Path, name: str) -> None:
    of = provenance()
    if name != "out":
        write(tmp_path / name, embeddings(IDS, of), of)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / name), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000)),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "bytes needed" in done.stdout and "free" in done.stdout and done.stdout.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.csv", r"unknown ending '\.csv'; use \.h5"),
        ("out.h6", r"did you mean \.h5\?"),
        ("out.parqet", r"did you mean \.parquet\?"),
        ("nowhere/out.h5", "does not exist; create it first"),
        ("there.npz", "exists already; choose another name or add --overwrite"),
        ("folder", "exists already; choose another name or add --overwrite"),
    ],
)
def test_an_output_that_cannot_be_is_refused_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "there.npz").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=message) as caught:
        parse_target(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_overwriting_never_replaces_a_folder_that_is_no_store_nor_a_folder_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.h5").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="it is not an embedding store"):
        parse_target(str(tmp_path / "folder"), overwrite=True)
    with pytest.raises(UserError, match="not a plain file"):
        parse_target(str(tmp_path / "mine.h5"), overwrite=True)
    assert parse_target(str(tmp_path / "empty.h5") + os.sep).format == "store"


@pytest.mark.parametrize(("name", "library"), [("out.h5", "h5py"), ("out.parquet", "pyarrow")])
def test_a_format_whose_library_is_absent_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf'needs {library}.*pip install "openankh\[export\]"'):
        parse_target(str(tmp_path / name))


@pytest.mark.parametrize("name", [*FILES, "out"])
@pytest.mark.parametrize("pool", ["mean", "residues"])
def test_the_space_estimated_is_that_needed_and_little_more(tmp_path: Path, name: str, pool: Pool) -> None:
    of = provenance(pool, "bf16", width=256)
    made = [Embedding(f"sp|P{n:05}|PROTEIN", 40, np.ones(of.shape_of(40), np.float32)) for n in range(300)]
    target = write(tmp_path / name, made, of)
    path = tmp_path / name
    size = sum(p.stat().st_size for p in path.iterdir()) if path.is_dir() else path.stat().st_size
    estimate = target.needed_bytes(of, 300, 300 * 40)
    assert 0.98 * size <= estimate <= 1.15 * size + 2000
