"""Verifying a store: every byte counts, all damage is named and placed, an unfinished store is one too."""

from pathlib import Path

import pytest

from embedding_samples import embeddings, provenance
from openankh.errors import UserError
from openankh.store import EmbeddingStore
from openankh.store.description import describe_store
from openankh.store.id_index import INDEX_NAME, index_of, write_index
from openankh.store.manifest import Manifest, read_manifest, write_manifest
from openankh.store.verification import Damage, verify_store
from openankh.store.writer import writing_store
from store_samples import SMALL_SHARDS, flip_bit, store_of

IDS = [f"P{number}" for number in range(12)]


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return store_of(tmp_path / "s", IDS)


def test_a_whole_store_is_whole_and_every_byte_was_read(store: EmbeddingStore) -> None:
    heard: list[int] = []
    found = verify_store(store.folder, heard.append)
    assert found.is_whole and found.is_finished and found.strangers == ()
    assert (found.num_proteins, found.num_shards) == (len(IDS), len(store.manifest.shards))
    sizes = [path.stat().st_size for path in store.folder.iterdir() if path.name != "manifest.json"]
    assert heard[-1] == found.num_bytes == sum(sizes)


def test_every_single_byte_of_a_store_is_under_its_seal(store: EmbeddingStore) -> None:
    for path in sorted(store.folder.iterdir()):
        content = path.read_bytes()
        for place in range(0, len(content), 23):
            flip_bit(path, place)
            if path.name == "manifest.json":
                with pytest.raises(UserError, match=r"^.*manifest\.json: .*$"):
                    verify_store(store.folder)
            else:
                assert [damage.file for damage in verify_store(store.folder).damages] == [path.name], place
            path.write_bytes(content)


def test_all_damage_is_named_with_the_proteins_it_concerns(store: EmbeddingStore) -> None:
    shards = store.manifest.shards
    flip_bit(store.folder / shards[1].name, -1)
    (store.folder / shards[2].name).unlink()
    (store.folder / "shard-000099.safetensors").write_text("x")
    found = verify_store(store.folder)
    first = shards[0].num_records
    second = first + shards[1].num_records
    assert found.damages == (
        Damage(shards[1].name, "its SHA-256 differs from the manifest's", first, second - 1),
        Damage(shards[2].name, "it is missing", second, second + shards[2].num_records - 1),
    )
    assert found.strangers == ("shard-000099.safetensors",)
    with pytest.raises(UserError, match=r"shard-000001\.safetensors: damaged \(its SHA-256"):
        store.verify()


def test_an_index_of_other_ids_is_found_though_its_hash_is_right(store: EmbeddingStore) -> None:
    entry = write_index(store.folder, index_of([b"Q"] * len(IDS)))
    manifest = store.manifest
    write_manifest(store.folder, Manifest(manifest.provenance, manifest.shards, entry))
    assert verify_store(store.folder).damages == (Damage(INDEX_NAME, "it is not the index of these ids"),)


def test_an_unfinished_store_is_verified_and_described_as_far_as_it_goes(tmp_path: Path) -> None:
    of = provenance()
    with pytest.raises(KeyError), writing_store(tmp_path / "s", of, limits=SMALL_SHARDS) as writer:
        for embedding in embeddings(IDS, of):
            writer.write([embedding])
        raise KeyError
    partial = tmp_path / "s.partial"
    found, described = verify_store(partial), describe_store(partial)
    assert found.is_whole and not found.is_finished
    assert 0 < found.num_proteins == described.num_proteins <= len(IDS)
    assert not described.is_finished
    flip_bit(partial / "shard-000000.safetensors", 9)
    assert [damage.file for damage in verify_store(partial).damages] == ["shard-000000.safetensors"]
    with pytest.raises(UserError, match=r"s: not finished; .*s\.partial holds what is done so far"):
        describe_store(tmp_path / "s")


def test_a_description_tells_counts_size_and_what_made_the_numbers(store: EmbeddingStore) -> None:
    found = describe_store(store.folder)
    assert (found.num_proteins, found.num_residues) == (len(store), store.num_residues)
    assert found.num_bytes == sum(path.stat().st_size for path in store.folder.iterdir())
    assert found.provenance == store.provenance and found.array == "L x 6"
    assert found.format_version == read_manifest(store.folder).version == 2


@pytest.mark.parametrize(("pool", "layers", "array"), [("mean", (4,), "6"), ("residues", (4, 2), "2 x L x 6")])
def test_the_array_of_a_protein_is_told_in_letters(tmp_path: Path, pool: str, layers: tuple[int], array: str) -> None:
    of = provenance(pool, layers=layers)  # type: ignore[arg-type]
    assert describe_store(store_of(tmp_path / "s", IDS, of).folder).array == array
