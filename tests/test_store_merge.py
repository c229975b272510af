"""Merging stores: all proteins once, in order, shards linked, nothing half-way, only what belongs together."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from embedding_samples import provenance
from openankh.errors import UserError
from openankh.store import EmbeddingStore, merging
from openankh.store.merging import merge_stores
from store_samples import files_of, flip_bit, write_store

PARTS = {"one": [f"P{n}" for n in range(7)], "two": ["Q1", "P3", "Q2"], "three": ["R1"]}


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    for number, (name, ids) in enumerate(PARTS.items()):
        write_store(tmp_path / name, ids, provenance(input_sha256=f"{number}" * 64), seed=number)
    return [tmp_path / name for name in PARTS]


@pytest.mark.parametrize("can_link", [True, False])
def test_a_merged_store_holds_every_protein_in_order(
    tmp_path: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch, can_link: bool
) -> None:
    if not can_link:
        monkeypatch.setattr(merging, "_is_linked", lambda path, new: False)
    heard: list[int] = []
    summary = merge_stores(parts, tmp_path / "all", on_bytes=heard.append)
    merged = EmbeddingStore.open(tmp_path / "all")
    merged.verify()
    assert merged.ids == tuple(protein_id for ids in PARTS.values() for protein_id in ids)
    assert merged.find("P3") == (3, 8) and merged.repeats() == [8]
    arrays = [array for part in parts for array in EmbeddingStore.open(part)]
    for found, expected in zip(merged, arrays, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (summary.num_proteins, summary.num_duplicates) == (11, 1)
    assert heard == sorted(heard) and heard[-1] > 0
    shared = os.path.samefile(tmp_path / "one" / "shard-000000.safetensors", tmp_path / "all/shard-000000.safetensors")
    assert shared == can_link
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["all", "one", "three", "two"]


def test_the_input_of_a_merged_store_is_told_from_those_of_its_parts_or_given(
    tmp_path: Path, parts: list[Path]
) -> None:
    found = {
        name: merge_stores(chosen, tmp_path / name, input_sha256=given).provenance.input_sha256
        for name, chosen, given in [
            ("a", parts, None),
            ("b", parts[::-1], None),
            ("c", parts[:2], None),
            ("d", parts, "f" * 64),
        ]
    }
    assert len(set(found.values())) == 4 and found["d"] == "f" * 64
    again = merge_stores(parts, tmp_path / "e")
    assert again.provenance.input_sha256 == found["a"]
    assert files_of(tmp_path / "e") == files_of(tmp_path / "a")


def test_a_store_may_be_added_to_by_merging_into_its_own_place(tmp_path: Path, parts: list[Path]) -> None:
    merge_stores(parts, tmp_path / "one", overwrite=True)
    merged = EmbeddingStore.open(tmp_path / "one")
    merged.verify()
    assert len(merged) == 11


def test_parts_that_were_merged_may_go(tmp_path: Path, parts: list[Path]) -> None:
    merge_stores(parts, tmp_path / "all")
    for part in parts:
        for path in part.iterdir():
            path.unlink()
    EmbeddingStore.open(tmp_path / "all").verify()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_sha256", "c" * 64),
        ("precision", "bf16"),
        ("dtype", "fp16"),
        ("states", "decoder"),
        ("layers", (3,)),
        ("pool", "mean"),
        ("prefix", ""),
        ("width", 5),
    ],
)
def test_stores_that_differ_in_more_than_their_input_are_refused_and_the_field_named(
    tmp_path: Path, parts: list[Path], field: str, value: object
) -> None:
    write_store(tmp_path / "other", ["X"], provenance(**{field: value}))  # type: ignore[arg-type]
    before = sorted(entry.name for entry in tmp_path.iterdir())
    with pytest.raises(UserError, match=rf"other: its {field} is .*only their inputs differ"):
        merge_stores([*parts, tmp_path / "other"], tmp_path / "all")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before


def test_ids_that_repeat_can_be_refused(tmp_path: Path, parts: list[Path]) -> None:
    with pytest.raises(UserError, match=r"two: protein 'P3' is in .*one too; leave one out"):
        merge_stores(parts, tmp_path / "all", duplicates="refuse")
    assert not (tmp_path / "all").exists()
    assert merge_stores([parts[0], parts[2]], tmp_path / "all", duplicates="refuse").num_duplicates == 0


def test_a_damaged_part_is_named_and_nothing_is_left(tmp_path: Path, parts: list[Path]) -> None:
    flip_bit(parts[1] / "shard-000000.safetensors", -1)
    with pytest.raises(UserError, match=r"two/shard-000000\.safetensors: damaged"):
        merge_stores(parts, tmp_path / "all")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["one", "three", "two"]


def test_a_copy_that_is_not_its_original_is_found(
    tmp_path: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_is_linked", lambda path, new: False)
    monkeypatch.setattr(shutil, "copyfile", lambda path, new: new.write_bytes(bytes(path.stat().st_size)))
    with pytest.raises(UserError, match="its copy is not as it was read"):
        merge_stores(parts, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_what_cannot_be_merged_is_refused_in_one_line(tmp_path: Path, parts: list[Path]) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    for chosen, target, message in [
        ([], "all", "no store to merge"),
        ([parts[0], parts[0]], "all", "given twice"),
        ([parts[0], tmp_path / "thesis"], "all", "not an embedding store"),
        (parts, "one", "exists already"),
        (parts, "thesis", "exists already"),
    ]:
        with pytest.raises(UserError, match=message):
            merge_stores(chosen, tmp_path / target)
    with pytest.raises(UserError, match="it is not an embedding store"):
        merge_stores(parts, tmp_path / "thesis", overwrite=True)
    assert files_of(tmp_path / "thesis") == {"chapter.tex": b"x"}


def test_what_a_killed_merge_left_is_removed(tmp_path: Path, parts: list[Path]) -> None:
    (tmp_path / "all.tmp-1234").mkdir()
    merge_stores(parts, tmp_path / "all")
    assert not (tmp_path / "all.tmp-1234").exists()
