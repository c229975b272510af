"""Killed, or met by a full disk, at any step: nothing acknowledged is lost, and the end has an undisturbed run's bytes.

The whole campaign, hundreds of kills of runs on real data at every single write, is `make campaign`.
"""

import json
import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import openankh
from embedding_samples import provenance
from openankh.store import EmbeddingStore
from openankh.store.writer import partial_folder
from store_processes import FULL, KILL, FaultyRuns
from store_samples import files_of, write_store

NEEDED_AND_FREE = re.compile(
    r"error: cannot write \S+: no space left on device \((more than )?[\d,]+ (more )?bytes needed, [\d,]+ free\); .+\n"
)


@pytest.fixture(scope="module")
def writer() -> Iterator[FaultyRuns]:
    runs = FaultyRuns(of_writer=True)
    yield runs
    runs.close()


@pytest.fixture(scope="module")
def undisturbed(writer: FaultyRuns, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], int]:
    """The files of a store that nothing befell, and the steps it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ending = writer.run([folder / "s"], folder)
    assert ending.code == 0, ending.errors
    files = files_of(folder / "s")
    assert len(files) >= 5
    assert [entry.name for entry in folder.iterdir()] == ["s"]
    return files, ending.num_steps


def acknowledged(target: Path) -> list[dict[str, object]]:
    """What the journal of an unfinished store acknowledges."""
    journal = partial_folder(target) / "journal.jsonl"
    return [json.loads(line) for line in journal.read_bytes().split(b"\n")[1:-1]] if journal.exists() else []


def check_acknowledged(target: Path, whole: dict[str, bytes]) -> None:
    for shard in acknowledged(target):
        name = str(shard["name"])
        assert (partial_folder(target) / name).read_bytes() == whole[name]


def old_store(folder: Path) -> dict[str, bytes]:
    """A finished store at the place where another is to be written."""
    write_store(folder / "s", ["old", "older"], provenance("mean"))
    return files_of(folder / "s")


@pytest.mark.parametrize("replaces", [False, True])
def test_a_writer_killed_at_any_step_is_continued_to_the_same_bytes(
    tmp_path: Path, writer: FaultyRuns, undisturbed: tuple[dict[str, bytes], int], replaces: bool
) -> None:
    whole, num_steps = undisturbed
    assert num_steps > 50
    for step in range(num_steps - 10 if replaces else 1, num_steps + (12 if replaces else 1)):
        folder = tmp_path / f"step-{step}"
        folder.mkdir()
        target, before = folder / "s", old_store(folder) if replaces else {}
        arguments = [target, *(["--overwrite"] if replaces else [])]
        ending = writer.run(arguments, folder, KILL, step)
        if replaces and ending.code == 0:
            assert step > num_steps
            break
        assert ending.code == -signal.SIGKILL, ending.errors
        found = files_of(target) if target.exists() else {}
        assert found in (before, whole), step
        check_acknowledged(target, whole)
        if found != whole or replaces:
            assert writer.run(arguments, folder).code == 0, step
            assert [entry.name for entry in folder.iterdir()] == ["s"], step
        assert files_of(target) == whole, step


@pytest.mark.parametrize("replaces", [False, True])
def test_a_disk_full_from_any_step_on_is_told_in_one_line_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, writer: FaultyRuns, undisturbed: tuple[dict[str, bytes], int], replaces: bool
) -> None:
    whole, num_steps = undisturbed
    for step in range(num_steps - 10 if replaces else 1, num_steps):
        folder = tmp_path / f"step-{step}"
        folder.mkdir()
        target, before = folder / "s", old_store(folder) if replaces else {}
        arguments = [target, *(["--overwrite"] if replaces else [])]
        ending = writer.run(arguments, folder, FULL, step)
        assert ending.code == 2, (step, ending)
        assert NEEDED_AND_FREE.fullmatch(ending.errors), (step, ending.errors)
        found = files_of(target) if target.exists() else {}
        assert found in (before, whole), step
        names = {entry.name for entry in folder.iterdir() if ".tmp-" not in entry.name or not replaces}
        assert names <= {"s", "s.partial"}, (step, names)
        check_acknowledged(target, whole)
        if found != whole or replaces:
            assert writer.run(arguments, folder).code == 0, step
            assert [entry.name for entry in folder.iterdir()] == ["s"], step
        assert files_of(target) == whole, step


@pytest.fixture(scope="module")
def proteins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty of the bundled proteins, two of them twice."""
    path = tmp_path_factory.mktemp("proteins") / "some.fasta"
    records = (Path(openankh.__file__).parent / "data" / "demo.fasta").read_text().split(">")[1:31]
    path.write_text("".join(f">{record}" for record in (*records, *records[3:5])))
    return path


def test_a_dozen_random_kills_of_embed_lose_nothing_and_change_no_bit(tmp_path: Path, proteins: Path) -> None:
    runs, generator = FaultyRuns(), random.Random(0)
    (tmp_path / "undisturbed").mkdir()
    ending = runs.run(["embed", proteins, "-o", tmp_path / "undisturbed" / "s"], tmp_path)
    assert ending.code == 0, ending.errors
    whole = files_of(tmp_path / "undisturbed" / "s")
    assert len(whole) >= 5
    num_kills = num_acknowledged = 0
    for trial in range(12):
        target = tmp_path / str(trial) / "s"
        target.parent.mkdir()
        arguments = ["embed", proteins, "-o", target, "--quiet"]
        for _ in range(generator.choice((1, 2))):
            ending = runs.run(arguments, target.parent, KILL, generator.randint(1, ending.num_steps))
            num_kills += ending.code == -signal.SIGKILL
            assert not target.exists() or files_of(target) == whole
            check_acknowledged(target, whole)
            num_acknowledged += len(acknowledged(target))
            if target.exists():
                break
        else:
            assert runs.run(arguments, target.parent).code == 0
        EmbeddingStore.open(target).verify()
        assert files_of(target) == whole
    runs.close()
    assert num_kills >= 12 and num_acknowledged > 5
