"""From a store to other outputs: the same files as embedding into them makes, in bounded memory, of all or some."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embedding_samples import embeddings, provenance
from openankh.errors import UserError
from openankh.store import DTYPES, POOLS, Dtype, Embedding, EmbeddingStore, Pool, ShardLimits, parse_target
from openankh.store.exporting import export_store, read_ids
from openankh.store.writer import writing_store
from store_samples import store_of

pytest.importorskip("h5py")
pytest.importorskip("pyarrow")

IDS = ["P1", "a/b", "..", "P1", "nul\0", "caf\udce9", "😀", "p1", "x.npy", "P1"]
FILES = ["out.h5", "out.parquet", "out.npz"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layers", [(4,), (4, 2)])
def test_an_export_is_the_file_that_embedding_into_it_makes(
    tmp_path: Path, name: str, pool: Pool, dtype: Dtype, layers: tuple[int, ...]
) -> None:
    of = provenance(pool, dtype, layers=layers)
    with parse_target(str(tmp_path / name)).writing(of) as output:
        output.write(embeddings(IDS, of))
        output.finish("a" * 64)
    direct = (tmp_path / name).read_bytes()
    heard: list[int] = []
    target = parse_target(str(tmp_path / name), overwrite=True)
    summary = export_store(store_of(tmp_path / "s", IDS, of), target, on_proteins=heard.append)
    assert (tmp_path / name).read_bytes() == direct
    assert summary.num_proteins == heard[-1] == len(IDS)


def test_a_part_holds_the_proteins_of_the_list_in_its_order_and_says_so(tmp_path: Path) -> None:
    source = store_of(tmp_path / "s", IDS)
    export_store(source, parse_target(f"{tmp_path}/part/"), ["p1", "P1", "p1"])
    part = EmbeddingStore.open(tmp_path / "part")
    assert part.ids == ("p1", "P1", "P1", "P1")
    for place, origin in enumerate((7, 0, 3, 9)):
        np.testing.assert_array_equal(part[place], source[origin])
    assert part.provenance.input_sha256 != source.provenance.input_sha256
    assert next(iter(part.provenance.differences(source.provenance)))[0] == "input_sha256"
    export_store(source, parse_target(f"{tmp_path}/other/"), ["P1", "p1"])
    assert EmbeddingStore.open(tmp_path / "other").provenance != part.provenance


def test_ids_that_are_not_there_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = store_of(tmp_path / "s", IDS)
    for ids, message in [
        (["P1", "P11"], "no protein has the id 'P11'; did you mean 'P1'"),
        (["P11", "P12"], "no protein has any of 2 ids of the list, the first 'P11'"),
        ([], "the list of ids is empty"),
    ]:
        with pytest.raises(UserError, match=message):
            export_store(source, parse_target(str(tmp_path / "out.h5")), ids)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"P1\nP2 and words\n\n  P3  \r\n", ["P1", "P2", "P3"]),
        (b">P1 words\nMKT\nAYI\n> P2\nMKT\n", ["P1", "P2"]),
        (b"\xef\xbb\xbfP1\ncaf\xe9", ["P1", "caf\udce9"]),
        (b"", []),
    ],
)
def test_ids_are_read_from_a_list_or_a_fasta_file(tmp_path: Path, content: bytes, expected: list[str]) -> None:
    (tmp_path / "ids.txt").write_bytes(content)
    assert read_ids(tmp_path / "ids.txt") == expected


def test_a_list_of_ids_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or directory; name a text file"):
        read_ids(tmp_path / "ids.txt")


IN_LITTLE_MEMORY = """
import resource, sys
import h5py, numpy, pyarrow.parquet
pyarrow.array(["a first time imports much"])
from openankh.store import EmbeddingStore, parse_target
from openankh.store.exporting import export_store
from openankh.store.verification import verify_store
now = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (now + (200 << 20),) * 2)
store = EmbeddingStore.open(sys.argv[1])
export_store(store, parse_target(sys.argv[2]))
verify_store(store.folder)
assert sum(array.shape[0] for array in store) == store.num_residues
"""


@pytest.mark.parametrize("name", FILES)
def test_a_store_larger_than_the_memory_is_exported_verified_and_read(tmp_path: Path, name: str) -> None:
    of = provenance("residues", width=2_000)
    rows = np.random.default_rng(0).normal(size=(1_500, 2_000)).astype(np.float32)
    with writing_store(tmp_path / "s", of, limits=ShardLimits(num_bytes=40_000_000)) as writer:
        for number in range(30):
            writer.write([Embedding(f"P{number}", 1_500, rows)])
        writer.finish("a" * 64)
    command = [sys.executable, "-c", IN_LITTLE_MEMORY, str(tmp_path / "s"), str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).stat().st_size > 350_000_000
