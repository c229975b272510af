"""Writing a store: killed anywhere it continues to the bytes of an undisturbed run, and one writer at a time."""

import json
import os
from pathlib import Path

import pytest

from embedding_samples import embeddings, provenance
from openankh.errors import UserError
from openankh.store import Embedding, EmbeddingStore, Provenance, ShardLimits
from openankh.store.writer import StoreWriter, writing_store

LIMITS = ShardLimits(num_residues=20)
IDS = [f"P{number}" for number in range(40)]
OF = provenance()
MADE = embeddings(IDS, OF)


class StopError(Exception):
    """A run that ends early."""


def go_on(writer: StoreWriter, made: list[Embedding], stop_after: int | None = None) -> None:
    """Write batches of three from where the writer is."""
    for number, start in enumerate(range(writer.num_done, len(made), 3)):
        if number == stop_after:
            raise StopError
        writer.write(made[start : start + 3])
    writer.finish("a" * 64)


def run(target: Path, stop_after: int | None = None, of: Provenance = OF, overwrite: bool = False) -> None:
    with writing_store(target, of, limits=LIMITS, overwrite=overwrite) as writer:
        go_on(writer, MADE, stop_after)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    target = tmp_path_factory.mktemp("undisturbed") / "s"
    run(target)
    assert sum(name.startswith("shard") for name in contents(target)) > 4
    return contents(target)


def test_an_unfinished_store_does_not_stand_at_the_target_and_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        run(tmp_path / "s", stop_after=8)
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.partial"]
    with pytest.raises(UserError, match="not finished"):
        EmbeddingStore.open(tmp_path / "s.partial")


@pytest.mark.parametrize("stop_after", range(1, 14))
def test_a_run_that_stopped_is_continued_and_ends_with_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes], stop_after: int
) -> None:
    with pytest.raises(StopError):
        run(tmp_path / "s", stop_after=stop_after)
    run(tmp_path / "s")
    assert contents(tmp_path / "s") == undisturbed
    assert [entry.name for entry in tmp_path.iterdir()] == ["s"]


def test_a_run_that_failed_before_the_first_shard_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        run(tmp_path / "s", stop_after=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_sha256", "c" * 64),
        ("model_sha256", "c" * 64),
        ("dtype", "fp16"),
        ("pool", "mean"),
        ("precision", "bf16"),
        ("states", "decoder"),
        ("layers", (3,)),
        ("layers", (4, 3)),
        ("prefix", ""),
        ("width", 5),
    ],
)
def test_continuing_with_another_field_is_refused_by_its_name_and_overwrite_begins_again(
    tmp_path: Path, field: str, value: object
) -> None:
    with pytest.raises(StopError):
        run(tmp_path / "s", stop_after=8)
    before = contents(tmp_path / "s.partial")
    changed = provenance(**{field: value})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"begun with {field} .*--overwrite"), writing_store(tmp_path / "s", changed):
        pass
    assert contents(tmp_path / "s.partial") == before
    with writing_store(tmp_path / "s", changed, overwrite=True) as writer:
        assert writer.num_done == 0
        writer.write(embeddings(["X"], changed))
        writer.finish("c" * 64)
    assert EmbeddingStore.open(tmp_path / "s").ids == ("X",)


def test_a_model_of_another_name_but_the_same_weights_continues(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        run(tmp_path / "s", stop_after=8)
    run(tmp_path / "s", of=provenance(model="a copy"))
    assert EmbeddingStore.open(tmp_path / "s").ids == tuple(IDS)


def test_a_stream_is_not_kept_and_not_continued(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        run(tmp_path / "s", stop_after=8, of=provenance(input_sha256=None))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StopError):
        run(tmp_path / "s", stop_after=8)
    with pytest.raises(UserError, match="input_sha256"):
        run(tmp_path / "s", of=provenance(input_sha256=None))


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_an_acknowledged_shard_that_was_damaged_is_embedded_again_with_all_that_follow(
    tmp_path: Path, undisturbed: dict[str, bytes], damage: str
) -> None:
    with pytest.raises(StopError):
        run(tmp_path / "s", stop_after=12)
    shard = tmp_path / "s.partial" / "shard-000001.safetensors"
    shard.write_bytes(b"x") if damage == "truncated" else shard.unlink()
    with writing_store(tmp_path / "s", OF) as writer:
        assert 0 < writer.num_done < 20
        go_on(writer, MADE)
    assert contents(tmp_path / "s") == undisturbed


@pytest.mark.parametrize("torn", [b'{"name": "shard-0', b"\0\0\0\0", b"[]\n"])
def test_a_torn_end_of_the_journal_is_dropped(tmp_path: Path, undisturbed: dict[str, bytes], torn: bytes) -> None:
    with pytest.raises(StopError):
        run(tmp_path / "s", stop_after=12)
    with open(tmp_path / "s.partial" / "journal.jsonl", "ab") as journal:
        journal.write(torn)
    run(tmp_path / "s", overwrite=torn == b"[]\n")
    assert contents(tmp_path / "s") == undisturbed


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        run(tmp_path / "s", stop_after=12)
    journal = tmp_path / "s.partial" / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"version": 2', '"version": 99'))
    with pytest.raises(UserError, match="not a journal this openankh can continue"):
        run(tmp_path / "s")


def test_a_foreign_folder_of_the_partial_name_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "s.partial").mkdir()
    (tmp_path / "s.partial" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="not an unfinished embedding store"):
        run(tmp_path / "s", overwrite=True)
    assert contents(tmp_path / "s.partial") == {"thesis.tex": b"x"}


def test_overwriting_keeps_the_old_store_until_the_new_one_is_whole(tmp_path: Path) -> None:
    with writing_store(tmp_path / "s", OF) as writer:
        writer.write(MADE[:5])
        writer.finish("a" * 64)
    old = contents(tmp_path / "s")
    with pytest.raises(StopError):
        run(tmp_path / "s", stop_after=8, overwrite=True)
    assert contents(tmp_path / "s") == old
    run(tmp_path / "s", overwrite=True)
    assert EmbeddingStore.open(tmp_path / "s").ids == tuple(IDS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["s"]


def test_a_full_disk_keeps_the_acknowledged_shards_and_names_the_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, []

    def full_later(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 12:
            raise OSError(28, os.strerror(28))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_later)
    with pytest.raises(UserError, match=r"no space left on device \([a-z\d, ]+ bytes needed, [\d,]+ free\)"):
        run(tmp_path / "s")
    monkeypatch.undo()
    done = [json.loads(line) for line in (tmp_path / "s.partial" / "journal.jsonl").read_text().splitlines()[1:]]
    assert done
    run(tmp_path / "s")
    assert contents(tmp_path / "s") == undisturbed
