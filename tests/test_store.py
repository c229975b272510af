"""The native store: what was written comes back, at random, and damage is found before a number is used."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from embedding_samples import WIDTH, embeddings, provenance
from openankh.errors import UserError
from openankh.store import DTYPES, POOLS, Dtype, Embedding, EmbeddingStore, Pool, Provenance, ShardLimits, shard_reader
from openankh.store.provenance import parse_provenance
from openankh.store.writer import writing_store

IDS = ["P1", "a/b", "..", "P1", "nul\0", "caf\udce9", "😀", "p1"]


def write(folder: Path, made: list[Embedding], of: Provenance, limits: ShardLimits | None = None) -> None:
    with writing_store(folder, of, limits=limits) as writer:
        for start in range(0, len(made), 2):
            writer.write(made[start : start + 2])
        writer.finish("a" * 64)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    of = provenance()
    write(tmp_path / "s", embeddings(IDS, of), of, ShardLimits(num_residues=12))
    return EmbeddingStore.open(tmp_path / "s")


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_ids_and_lengths_come_back_exactly_in_order(tmp_path: Path, pool: Pool, dtype: Dtype) -> None:
    of = provenance(pool, dtype)
    made = embeddings(IDS, of)
    write(tmp_path / "s", made, of, ShardLimits(num_residues=12))
    store = EmbeddingStore.open(tmp_path / "s")
    store.verify()
    assert len(list((tmp_path / "s").glob("shard-*"))) > 1
    assert store.ids == tuple(IDS)
    assert len(store) == len(IDS) and store.width == WIDTH and store.num_residues == sum(e.length for e in made)
    assert store.lengths.tolist() == [e.length for e in made]
    for index, embedding in enumerate(made):
        assert store[index].dtype == (np.float16 if dtype == "fp16" else np.float32)
        np.testing.assert_array_equal(store[index], embedding.values)
    for (protein_id, array), embedding in zip(store.items(), made, strict=True):
        assert protein_id == embedding.id
        np.testing.assert_array_equal(array, embedding.values)
    assert [array.shape for array in store] == [e.values.shape for e in made]
    assert store.provenance == of


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_several_layers_come_back_in_one_array_a_protein(tmp_path: Path, pool: Pool, dtype: Dtype) -> None:
    of = provenance(pool, dtype, layers=(4, 0, 2))
    made = embeddings(IDS, of)
    assert {embedding.values.ndim for embedding in made} == {3 if pool == "residues" else 2}
    write(tmp_path / "s", made, of, ShardLimits(num_residues=12))
    store = EmbeddingStore.open(tmp_path / "s")
    assert store.provenance.layers == (4, 0, 2)
    for index in (5, *range(len(made))):
        np.testing.assert_array_equal(store[index], made[index].values)


def test_a_store_of_the_first_version_stays_readable() -> None:
    store = EmbeddingStore.open(Path(__file__).parent / "data" / "store-version-1")
    store.verify()
    of = provenance("residues", "bf16", precision="bf16")
    assert store.provenance == of
    assert store.ids == ("P1", "a/b", "P1", "P3")
    for array, embedding in zip(store, embeddings(list(store.ids), of), strict=True):
        np.testing.assert_array_equal(array, embedding.values)


@pytest.mark.parametrize(("dtype", "precision"), [("fp32", "fp32"), ("bf16", "bf16"), ("fp16", "auto")])
def test_provenance_of_the_first_version_tells_what_is_known_of_its_precision(dtype: Dtype, precision: str) -> None:
    now = provenance(dtype=dtype, precision=precision)
    old = {name: value for name, value in now.to_json().items() if name not in ("precision", "states", "layers")}
    assert parse_provenance({**old, "layer": 4}) == now


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": []},
        {"layers": 4},
        {"layers": [-1]},
        {"layers": ["4"]},
        {"width": "6"},
        {"width": -6},
        {"pool": "sum"},
        {"dtype": "fp8"},
        {"precision": "fp8"},
        {"states": "both"},
        {"depth": 3},
    ],
)
def test_a_provenance_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UserError):
        parse_provenance({**provenance().to_json(), **changes})


def test_proteins_are_found_by_id_and_duplicates_by_all_their_places(store: EmbeddingStore) -> None:
    assert store.find("a/b") == (1,)
    assert store.find("P1") == (0, 3)
    assert store.find("nobody") == ()
    np.testing.assert_array_equal(store[".."], store[2])
    np.testing.assert_array_equal(store[-1], store[7])
    with pytest.raises(UserError, match=r"2 proteins have the id 'P1' \(places 0, 3\)"):
        store["P1"]
    with pytest.raises(UserError, match="no protein has the id 'P11'; did you mean 'P1'"):
        store["P11"]
    with pytest.raises(IndexError):
        store[8]


def test_an_array_read_is_its_readers_own(store: EmbeddingStore) -> None:
    before = store[0].copy()
    store[0][0, 0] = 1000
    next(iter(store))[0, 0] = 1000
    np.testing.assert_array_equal(store[0], before)
    with pytest.raises(ValueError, match="read-only"):
        next(store.matrices())[0, 0] = 1


def test_opening_reads_no_shard_and_a_read_opens_only_its_own(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = shard_reader._opened
    monkeypatch.setattr(shard_reader, "_opened", lambda path: opened.append(path.name) or real(path))
    again = EmbeddingStore.open(store.folder)
    assert len(again) == len(IDS) and opened == []
    again[-1]
    again[-1]
    assert opened == [again.manifest.shards[-1].name]


def test_the_shards_are_ordinary_safetensors_files(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    of = provenance("mean", "bf16")
    made = embeddings(IDS, of)
    write(tmp_path / "s", made, of)
    with safe_open(tmp_path / "s" / "shard-000000.safetensors", "pt") as shard:
        assert shard.get_tensor("embeddings").dtype == torch.bfloat16
        np.testing.assert_array_equal(
            shard.get_tensor("embeddings").float().numpy(), np.stack([e.values for e in made])
        )
        assert shard.get_tensor("lengths").tolist() == [e.length for e in made]


def test_bf16_is_rounded_to_nearest_as_torch_does(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    of = provenance("mean", "bf16", width=1000)
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    write(tmp_path / "s", [Embedding("a", 5, values)], of)
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(EmbeddingStore.open(tmp_path / "s")[0], expected)


def test_the_same_embeddings_make_the_same_bytes(tmp_path: Path) -> None:
    of = provenance()
    for name in ("one", "two"):
        write(tmp_path / name, embeddings(IDS, of), of, ShardLimits(num_residues=12))
    contents = [
        {file.name: file.read_bytes() for file in sorted((tmp_path / name).iterdir())} for name in ("one", "two")
    ]
    assert contents[0] == contents[1]


@pytest.mark.parametrize("place", ["header", "middle", "end"])
def test_a_flipped_bit_in_a_shard_is_found_by_verify_and_the_file_named(store: EmbeddingStore, place: str) -> None:
    path = store.folder / "shard-000001.safetensors"
    content = bytearray(path.read_bytes())
    content[{"header": 20, "middle": len(content) // 2, "end": -1}[place]] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"shard-000001\.safetensors: damaged .*SHA-256"):
        EmbeddingStore.open(store.folder).verify()


def test_a_truncated_or_missing_shard_is_refused_at_opening(store: EmbeddingStore) -> None:
    path = store.folder / "shard-000001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"shard-000001\.safetensors: [\d,]+ bytes where [\d,]+ were written"):
        EmbeddingStore.open(store.folder)
    path.unlink()
    with pytest.raises(UserError, match=r"shard-000001\.safetensors: missing"):
        EmbeddingStore.open(store.folder)


def test_swapped_shards_of_equal_size_are_refused(tmp_path: Path) -> None:
    of = provenance("mean")
    made = embeddings(["P1", "P2"], of)
    with writing_store(tmp_path / "s", of, limits=ShardLimits(num_residues=1)) as writer:
        for embedding in made:
            writer.write([Embedding(embedding.id, 5 + int(embedding.id[1]), embedding.values)])
        writer.finish("a" * 64)
    one, two = sorted((tmp_path / "s").glob("shard-*"))
    assert one.stat().st_size == two.stat().st_size
    content = one.read_bytes()
    shutil.copy(two, one)
    two.write_bytes(content)
    store = EmbeddingStore.open(tmp_path / "s")
    with pytest.raises(UserError, match="its lengths are not those of the manifest"):
        store[0]


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b"[]",
        b"not json",
        b'{"embeddings": {"dtype": "F32", "shape": [1, 1000000], "data_offsets": [0, 4000000]}}',
        b'{"embeddings": {"dtype": "F32", "shape": [3, 6], "data_offsets": [-72, 0]}}',
    ],
)
def test_a_shard_whose_header_lies_is_refused_without_reading_outside_the_file(
    store: EmbeddingStore, header: bytes
) -> None:
    path = store.folder / "shard-000000.safetensors"
    size = path.stat().st_size
    path.write_bytes((len(header).to_bytes(8, "little") + header).ljust(size, b"\0"))
    with pytest.raises(UserError, match=r"shard-000000\.safetensors: damaged"):
        EmbeddingStore.open(store.folder)[0]


def test_a_shard_with_a_huge_header_is_refused_at_once(store: EmbeddingStore) -> None:
    path = store.folder / "shard-000000.safetensors"
    content = bytearray(path.read_bytes())
    content[:8] = (1 << 40).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a safetensors file"):
        EmbeddingStore.open(store.folder)[0]


def test_a_manifest_that_was_edited_is_refused(store: EmbeddingStore) -> None:
    path = store.folder / "manifest.json"
    path.write_text(path.read_text().replace('"width": 6', '"width": 5'))
    with pytest.raises(UserError, match="changed since it was written"):
        EmbeddingStore.open(store.folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "shard-000007.safetensors"])
def test_a_manifest_cannot_name_a_file_of_another_name(store: EmbeddingStore, name: str) -> None:
    from openankh.store.manifest import _checksum

    path = store.folder / "manifest.json"
    content = json.loads(path.read_text())
    content.pop("checksum")
    content["shards"][0]["name"] = name
    path.write_text(json.dumps({**content, "checksum": _checksum(content)}))
    with pytest.raises(UserError, match="malformed"):
        EmbeddingStore.open(store.folder)


def test_what_is_no_store_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text('{"format": "openankh-corpus"}')
    for name, message in [
        ("nowhere", "no such folder"),
        ("file", "a file, not an embedding store"),
        ("empty", r"no manifest\.json"),
        ("other", "not the manifest of an embedding store"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            EmbeddingStore.open(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [False, True])
def test_matrices_are_the_rows_of_all_proteins_in_order(tmp_path: Path, keep: bool) -> None:
    of = provenance("mean")
    made = embeddings(IDS, of)
    write(tmp_path / "s", made, of, ShardLimits(num_residues=12))
    rows = np.concatenate(list(EmbeddingStore.open(tmp_path / "s").matrices(keep=keep)))
    np.testing.assert_array_equal(rows, [embedding.values for embedding in made])
