"""The corpus on disk: what was prepared is what is read, in any order, and no damage passes unnoticed."""

import json
import pickle
import random
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openankh.corpus import Corpus
from openankh.corpus_manifest import FileEntry, Manifest, Shard, Split, split_file_names, write_manifest
from openankh.corpus_writer import SplitWriter
from openankh.errors import UserError
from openankh.preparation import PrepareOptions, prepare
from openankh.vocab import ankh_vocab, openankh_vocab

LETTERS = "ACDEFGHIKLMNPQRSTVWYXBOUZJ"


def proteins(num: int, seed: int = 0, longest: int = 60) -> list[str]:
    source = random.Random(seed)
    return ["".join(source.choices(LETTERS, k=source.randint(1, longest))) for _ in range(num)]


def written(folder: Path, sequences: list[str], shard_residues: int = 400) -> Path:
    """A corpus with these proteins to train on and the first three of them to validate."""
    folder.parent.mkdir(exist_ok=True)
    for name, part in (("train", sequences), ("valid", sequences[:3])):
        text = "".join(f">p{number}\n{sequence}\n" for number, sequence in enumerate(part))
        folder.with_name(f"{name}.fasta").write_text(text)
    options = PrepareOptions(shard_residues=shard_residues)
    prepare([folder.with_name("train.fasta")], folder, options, valid=folder.with_name("valid.fasta"), overwrite=True)
    return folder


@pytest.fixture(scope="module")
def sequences() -> list[str]:
    return proteins(100)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, sequences: list[str]) -> Path:
    return written(tmp_path_factory.mktemp("pristine") / "corpus", sequences)


@pytest.fixture
def corpus_folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(pristine, tmp_path / "corpus"))


def test_every_protein_reads_back_as_it_was_given(pristine: Path, sequences: list[str]) -> None:
    corpus = Corpus.open(pristine, verify=True)
    assert len(corpus.manifest.splits["train"].shards) > 3
    assert [corpus.vocab.decode(corpus[index]) for index in range(len(corpus))] == sequences
    assert corpus.lengths.tolist() == list(map(len, sequences))
    assert (corpus.num_proteins, corpus.num_residues) == (100, sum(map(len, sequences)))
    assert corpus.longest == max(map(len, sequences))
    assert corpus.vocab == openankh_vocab()


def test_each_split_is_its_own(pristine: Path, sequences: list[str]) -> None:
    valid = Corpus.open(pristine, split="valid", verify=True)
    assert [valid.vocab.decode(valid[index]) for index in range(3)] == sequences[:3]
    assert valid.fingerprint == Corpus.open(pristine).fingerprint


@settings(max_examples=100, deadline=None)
@given(indices=st.lists(st.integers(0, 99), max_size=30))
def test_gathering_equals_reading_one_by_one(pristine: Path, indices: list[int]) -> None:
    corpus = Corpus.open(pristine)
    ids, offsets = corpus.gather(np.array(indices, dtype=np.int64))
    assert ids.dtype == np.uint8
    assert offsets.dtype == np.int64
    assert offsets.tolist() == [0, *np.cumsum([corpus.lengths[index] for index in indices]).tolist()]
    assert ids.tobytes() == b"".join(corpus[index].tobytes() for index in indices)


def test_what_is_gathered_is_a_copy_and_what_is_read_is_read_only(pristine: Path) -> None:
    corpus = Corpus.open(pristine)
    ids, _ = corpus.gather(np.array([5, 6]))
    before = corpus[5].tolist()
    ids[:] = 0
    assert corpus[5].tolist() == before
    with pytest.raises(ValueError, match="read-only"):
        corpus[5][0] = 0
    with pytest.raises(IndexError):
        corpus[100]
    with pytest.raises(IndexError):
        corpus[-1]


@pytest.mark.parametrize("shard_residues", [1, 59, 60, 61, 10**6])
def test_the_size_of_shards_changes_nothing_that_is_read(tmp_path: Path, shard_residues: int) -> None:
    sequences = proteins(80, seed=shard_residues)
    corpus = Corpus.open(written(tmp_path / "corpus", sequences, shard_residues), verify=True)
    ids, _ = corpus.gather(np.arange(80))
    assert corpus.vocab.decode(ids) == "".join(sequences)
    shards = corpus.manifest.splits["train"].shards
    assert all(shard.file.size <= shard_residues or shard.num_proteins == 1 for shard in shards)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.lists(st.integers(1, 40), max_size=8), min_size=1, max_size=5), room=st.integers(1, 60))
def test_proteins_written_in_any_batches_lie_whole_in_one_shard(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[list[int]], room: int
) -> None:
    folder = tmp_path_factory.mktemp("split")
    writer = SplitWriter(folder, "train", room)
    for batch in lengths:
        offsets = np.concatenate([[0], np.cumsum(batch)]).astype(np.int64)
        writer.write(np.full(offsets[-1], 5, dtype=np.uint8), offsets)
    split = writer.finish()
    every = [length for batch in lengths for length in batch]
    assert sum(shard.num_proteins for shard in split.shards) == split.num_proteins == len(every)
    first = 0
    for shard in split.shards:
        inside = every[first : first + shard.num_proteins]
        assert shard.file.size == sum(inside) == (folder / shard.file.name).stat().st_size
        assert shard.file.size <= room or shard.num_proteins == 1
        first += shard.num_proteins
    assert np.fromfile(folder / split.lengths.name, "<i4").tolist() == every


def test_titin_and_longer_proteins_pass_through(tmp_path: Path) -> None:
    sequences = ["M" * 35_213, "W" * 300_000, "C"]
    corpus = Corpus.open(written(tmp_path / "corpus", sequences, shard_residues=100_000), verify=True)
    assert corpus.lengths.tolist() == [35_213, 300_000, 1]
    assert corpus.vocab.decode(corpus[1]) == sequences[1]


def test_a_pickled_corpus_is_a_name_and_not_its_contents(pristine: Path) -> None:
    parcel = pickle.dumps(Corpus.open(pristine, split="valid"))
    assert len(parcel) < 500
    assert pickle.loads(parcel)[0].tolist() == Corpus.open(pristine, split="valid")[0].tolist()


def test_the_fingerprint_tells_contents_and_nothing_else(tmp_path: Path, sequences: list[str]) -> None:
    one = Corpus.open(written(tmp_path / "one", sequences)).fingerprint
    assert Corpus.open(written(tmp_path / "two", sequences)).fingerprint == one
    assert Corpus.open(written(tmp_path / "two", [*sequences, "M"])).fingerprint != one


def sparse_corpus(folder: Path, num_shards: int) -> Path:
    """Shards of 1 GiB that take no disk: a giant of zeros and a small protein of zeros in each."""
    small, giant = 100, 2**30 - 100
    for number, name in enumerate(split_file_names("train", num_shards)[:-2]):
        (folder / "train").mkdir(parents=True, exist_ok=number > 0)
        with open(folder / name, "wb") as file:
            file.truncate(small + giant)
    lengths = np.array([giant, small] * num_shards, dtype="<i4")
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype="<i8")]).astype("<i8")
    offsets_name, lengths_name = split_file_names("train", 0)
    offsets.tofile(folder / offsets_name)
    lengths.tofile(folder / lengths_name)
    split = Split(
        num_proteins=2 * num_shards,
        num_residues=num_shards << 30,
        longest=giant,
        shards=tuple(
            Shard(FileEntry(name, 2**30, sha256=""), num_proteins=2)
            for name in split_file_names("train", num_shards)[:-2]
        ),
        offsets=FileEntry(offsets_name, offsets.nbytes, sha256=""),
        lengths=FileEntry(lengths_name, lengths.nbytes, sha256=""),
    )
    write_manifest(folder, Manifest(openankh_vocab().pieces, {"train": split}, (), {}, {}))
    return folder


def test_a_corpus_larger_than_the_memory_is_served_from_a_few_megabytes(tmp_path: Path) -> None:
    folder = sparse_corpus(tmp_path / "sparse", num_shards=64)
    tracemalloc.start()
    try:
        corpus = Corpus.open(folder)
        ids, offsets = corpus.gather(np.arange(1, 128, 2))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert corpus.num_residues == 64 << 30
    assert offsets.tolist() == list(range(0, 6401, 100))
    assert not ids.any()


def test_one_bit_flipped_in_any_file_is_found_and_named(corpus_folder: Path) -> None:
    source = random.Random(1)
    for path in sorted(entry for entry in corpus_folder.rglob("*") if entry.is_file()):
        content = path.read_bytes()
        for place in source.sample(range(len(content)), min(25, len(content))):
            damaged = bytearray(content)
            damaged[place] ^= 1 << source.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(UserError) as raised:
                for split in ("train", "valid"):
                    Corpus.open(corpus_folder, split, verify=True)
            assert path.name in str(raised.value)
            assert "\n" not in str(raised.value)
        path.write_bytes(content)
    Corpus.open(corpus_folder, verify=True)


def test_sizes_are_checked_without_being_asked(corpus_folder: Path) -> None:
    for path in sorted((corpus_folder / "train").iterdir()):
        content = path.read_bytes()
        for wrong in (content[:-1], content + b"\0", b""):
            path.write_bytes(wrong)
            with pytest.raises(UserError, match=path.name):
                Corpus.open(corpus_folder)
        path.unlink()
        with pytest.raises(UserError, match=f"{path.name}: missing"):
            Corpus.open(corpus_folder)
        path.write_bytes(content)
    Corpus.open(corpus_folder)


def test_an_index_that_does_not_fit_its_tokens_is_found_without_hashing(corpus_folder: Path) -> None:
    path = corpus_folder / "train" / "offsets.i64"
    np.concatenate([np.fromfile(path, "<i8")[:-1], [10**9]]).astype("<i8").tofile(path)
    with pytest.raises(UserError, match="offsets"):
        Corpus.open(corpus_folder)


def test_what_is_no_complete_corpus_is_said_to_be_none(corpus_folder: Path, tmp_path: Path) -> None:
    (corpus_folder / "manifest.json").unlink()
    with pytest.raises(UserError, match="not a corpus, or one not finished"):
        Corpus.open(corpus_folder)
    with pytest.raises(UserError, match="no such folder"):
        Corpus.open(tmp_path / "nowhere")
    (tmp_path / "a.fasta").write_text(">a\nM\n")
    with pytest.raises(UserError, match="a file, not a corpus folder"):
        Corpus.open(tmp_path / "a.fasta")


def test_a_split_that_was_not_made_is_refused_with_those_there_are(pristine: Path) -> None:
    with pytest.raises(UserError, match="no split 'test', only train, valid"):
        Corpus.open(pristine, split="test")


def test_another_vocabulary_is_refused(pristine: Path) -> None:
    corpus = Corpus.open(pristine)
    corpus.require_vocab(openankh_vocab())
    with pytest.raises(UserError, match="another vocabulary"):
        corpus.require_vocab(ankh_vocab())


def changed_manifest(folder: Path, change: Callable[[dict], None]) -> None:
    """Rewrite the manifest with a checksum that fits, as somebody with bad intentions would."""
    from openankh import corpus_manifest

    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    content.pop("checksum")
    change(content)
    path.write_text(json.dumps({**content, "checksum": corpus_manifest._hash(content)}))


CHANGES: dict[str, Callable[[dict], object]] = {
    "another format": lambda content: content.update(format="other"),
    "a future version": lambda content: content.update(version=2),
    "no vocabulary": lambda content: content.pop("vocabulary"),
    "swapped pieces": lambda content: content["vocabulary"]["pieces"].reverse(),
    "pieces that are no text": lambda content: content["vocabulary"].update(pieces=[1, 2]),
    "splits of another kind": lambda content: content.update(splits=[1]),
    "an unknown split": lambda content: content["splits"].update(test=content["splits"]["train"]),
    "a path out of the folder": lambda content: content["splits"]["train"]["lengths"].update(name="../../etc/passwd"),
    "a shard elsewhere": lambda content: content["splits"]["train"]["shards"][0]["file"].update(name="/etc/passwd"),
    "no proteins": lambda content: content["splits"]["train"].update(num_proteins=0),
    "other counts": lambda content: content["splits"]["train"]["shards"][0].update(num_proteins=1),
    "other sizes": lambda content: content["splits"]["train"]["shards"][0]["file"].update(size=1),
    "a size of text": lambda content: content["splits"]["train"]["shards"][0]["file"].update(size="1"),
    "an unknown key": lambda content: content["splits"]["train"]["offsets"].update(extra=1),
    "another fingerprint": lambda content: content.update(fingerprint="0" * 64),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_manifest_made_up_is_refused_in_one_line(corpus_folder: Path, change: Callable[[dict], None]) -> None:
    changed_manifest(corpus_folder, change)
    with pytest.raises(UserError, match=r"manifest\.json") as raised:
        Corpus.open(corpus_folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a": 1}'])
def test_a_manifest_that_is_something_else_is_refused_in_one_line(corpus_folder: Path, content: bytes) -> None:
    (corpus_folder / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json") as raised:
        Corpus.open(corpus_folder)
    assert "\n" not in str(raised.value)
