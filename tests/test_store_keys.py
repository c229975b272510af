"""Names of proteins inside files: nothing lost, nothing a path, ids that can be names left as they are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openankh.errors import UserError
from openankh.store.keys import KeyMaker, id_of_key, key_of_id, text_of_id

# What the FASTA reader can yield: UTF-8 text, with surrogates for other bytes, and spaces besides.
letters = st.characters(exclude_categories=("Cs",)) | st.sampled_from("%/\\. \0#\udc80\udcff23ABF")
protein_ids = st.text(letters, max_size=12) | st.sampled_from(["", ".", "..", "ids", "lengths", "a.npy", "%", "%2F"])


@pytest.mark.parametrize("name", ["P69905", "sp|P69905|HBA_HUMAN", "a%zz", "a#2", "é😀", "x.y", "...", "a:b"])
def test_an_ordinary_id_is_its_own_name(name: str) -> None:
    assert key_of_id(name) == name


@pytest.mark.parametrize(
    ("protein_id", "key"),
    [
        ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
        ("..", "%2E."),
        (".", "%2E"),
        ("a\0b", "a%00b"),
        ("a b", "a%20b"),
        ("a\\b", "a%5Cb"),
        ("100%2F", "100%252F"),
        ("ids", "%69ds"),
        ("x.npy", "x%2Enpy"),
        ("caf\udce9", "caf%E9"),
        ("", "%"),
        ("%", "%25"),
    ],
)
def test_an_id_that_cannot_be_a_name_is_escaped(protein_id: str, key: str) -> None:
    assert key_of_id(protein_id) == key
    assert id_of_key(key) == protein_id


@given(protein_ids)
@settings(max_examples=500, deadline=None)
def test_every_id_comes_back_from_its_name_and_no_name_is_a_path(protein_id: str) -> None:
    key = key_of_id(protein_id)
    assert id_of_key(key) == protein_id
    assert not set(key) & set("/\\\0 ")
    assert key not in (".", "..", "", "ids", "lengths", "provenance")
    key.encode("utf-8")
    text_of_id(protein_id).encode("utf-8")


@given(st.lists(protein_ids, max_size=12))
@settings(max_examples=200, deadline=None)
def test_names_are_unique_whatever_repeats_and_each_gives_its_id_back(ids: list[str]) -> None:
    taken: dict[str, str] = {}
    keys = KeyMaker(taken.__contains__)
    for protein_id in ids:
        taken[keys.next(protein_id)] = protein_id
    assert len(taken) == len(ids)
    assert [id_of_key(key) for key in taken] == ids


def test_the_second_and_third_protein_of_an_id_are_numbered() -> None:
    taken: dict[str, None] = {}
    keys = KeyMaker(taken.__contains__)
    for protein_id in ("A", "B", "A", "A", "B"):
        taken[keys.next(protein_id)] = None
    assert list(taken) == ["A", "B", "A #2", "A #3", "B #2"]


def test_an_id_too_long_to_be_a_name_is_refused_with_a_remedy() -> None:
    keys = KeyMaker({}.__contains__)
    assert len(keys.next("A" * 10_000)) == 10_000
    with pytest.raises(UserError, match=r"write a folder or \.parquet instead"):
        keys.next("A" * 100_000)
