"""Many workers: parts of the input, shards taken up in any order, and a store as if one process had written it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_samples import provenance
from fleet_jobs import LIMITS, StandInJob, vector_of, write_proteins
from openankh.embedding.survey import survey
from openankh.errors import UserError
from openankh.fasta import FastaReader, Record
from openankh.fleet.assembly import FolderAssembly, assembling
from openankh.fleet.device_workers import DeviceWorkers
from openankh.fleet.devices import choose_devices
from openankh.fleet.job import Job
from openankh.fleet.landing import FolderLanding, Landed
from openankh.fleet.parts import Part, PartSource, cut_parts
from openankh.fleet.run import FleetRun
from openankh.fleet.url_assembly import UrlAssembly
from openankh.store import EmbeddingStore, ShardLimits, parse_target
from openankh.store.manifest import read_manifest
from openankh.store.shard import ShardContent

POOLED = provenance("mean")


def records_of(lengths: list[int]) -> list[Record]:
    return [Record(f"P{number}", "", "A" * length, number) for number, length in enumerate(lengths)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(st.lists(st.integers(1, 400), max_size=60), st.integers(1, 900), st.integers(1, 5000))
def test_parts_are_the_input_in_order_each_up_to_the_record_that_reaches_a_limit(
    lengths: list[int], num_residues: int, num_bytes: int
) -> None:
    records, limits = records_of(lengths), ShardLimits(num_bytes, num_residues)
    parts = list(cut_parts(records, POOLED, limits))
    assert [record for part in parts for record in part.records] == records
    assert [part.number for part in parts] == list(range(len(parts)))
    for part in parts:
        assert records[part.first] == part.records[0]
        shorter = replace(part, records=part.records[:-1])
        assert shorter.num_residues < num_residues and len(shorter.records) * 24 < num_bytes
    for part in parts[:-1]:
        assert part.num_residues >= num_residues or len(part.records) * 24 >= num_bytes


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(0, 5))
def test_parts_from_a_boundary_on_are_the_parts_from_the_beginning(lengths: list[int], start: int) -> None:
    records = records_of(lengths)
    parts = list(cut_parts(records, POOLED, LIMITS))
    begin = parts[min(start, len(parts) - 1)]
    assert list(cut_parts(records[begin.first :], POOLED, LIMITS, begin.number, begin.first)) == parts[begin.number :]


def shard_of(part: Part) -> ShardContent:
    arrays = [vector_of(record) for record in part.records]
    return ShardContent([r.id for r in part.records], [len(r.sequence) for r in part.records], arrays)


def land(assembly: FolderAssembly | UrlAssembly, part: Part) -> Landed:
    return assembly.landing.land(part.number, part.first, shard_of(part), POOLED)


@pytest.fixture
def parts(tmp_path: Path) -> list[Part]:
    parts = list(cut_parts(write_proteins(tmp_path / "in.fasta"), POOLED, LIMITS))
    assert len(parts) > 8
    return parts


def assert_holds(store: EmbeddingStore, parts: list[Part]) -> None:
    records = [record for part in parts for record in part.records]
    assert list(store.ids) == [record.id for record in records]
    for array, record in zip(store, records, strict=True):
        np.testing.assert_array_equal(array, vector_of(record))
    store.verify()


@pytest.mark.parametrize("seed", range(5))
def test_shards_taken_up_in_any_order_make_the_same_store(parts: list[Part], tmp_path: Path, seed: int) -> None:
    folders = []
    for name, order in (("one", list(parts)), ("other", np.random.default_rng(seed).permutation(len(parts)))):
        folders.append(tmp_path / name)
        with assembling(folders[-1], POOLED, LIMITS) as assembly:
            for part in order:
                assembly.take(land(assembly, part if isinstance(part, Part) else parts[part]))
            assembly.finish(POOLED)
    assert contents(folders[0]) == contents(folders[1])
    assert_holds(EmbeddingStore.open(folders[1]), parts)


def test_a_broken_off_store_keeps_every_shard_taken_up_and_nothing_else(parts: list[Part], tmp_path: Path) -> None:
    folder, taken = tmp_path / "store.partial", (0, 1, 3, 4, 6)
    with pytest.raises(KeyboardInterrupt), assembling(folder, POOLED, LIMITS) as assembly:
        for number in taken:
            assembly.take(land(assembly, parts[number]))
        land(assembly, parts[7])  # never taken up
        raise KeyboardInterrupt
    (folder / "shard-000004.safetensors").write_bytes(b"torn")
    with assembling(folder, POOLED, ShardLimits(1, 1)) as assembly:
        assert assembly.limits == LIMITS
        assert (assembly.number, assembly.first) == (2, parts[2].first)
        assert sorted(assembly.kept) == [3, 6]
        assert not list(folder.glob("landed-*"))
        source = PartSource(FastaReader(tmp_path / "in.fasta"), POOLED, LIMITS, 2, parts[2].first, assembly.kept)
        missing = list(source.parts())
        assert [part.number for part in missing] == [n for n in range(2, len(parts)) if n not in (3, 6)]
        for part in missing:
            assembly.take(land(assembly, part))
        assembly.finish(POOLED)
    assert_holds(EmbeddingStore.open(folder), parts)


def test_a_part_made_twice_is_taken_up_once(parts: list[Part], tmp_path: Path) -> None:
    with assembling(tmp_path / "store", POOLED, LIMITS) as assembly:
        for number in (0, 2, 2, 0, 1, 1):
            assembly.take(land(assembly, parts[number]))
        assembly.finish(POOLED)
    assert_holds(EmbeddingStore.open(tmp_path / "store"), parts[:3])


def test_a_part_is_tried_so_often_as_workers_began_with_it_in_this_run(tmp_path: Path) -> None:
    for _ in range(2):
        with assembling(tmp_path / "store", POOLED, LIMITS) as assembly:
            assert [assembly.landing.attempt(number) for number in (1, 1, 0, 1)] == [0, 1, 0, 2]


def test_a_folder_that_a_workers_machine_does_not_see_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a folder that all machines see, or a URL"):
        FolderLanding(str(tmp_path / "nowhere")).attempt(0)


def test_an_unfinished_store_of_another_provenance_is_refused(parts: list[Part], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), assembling(tmp_path / "store", POOLED, LIMITS) as assembly:
        assembly.take(land(assembly, parts[1]))
        raise KeyboardInterrupt
    with (
        pytest.raises(UserError, match="begun with pool mean, this run has max"),
        assembling(tmp_path / "store", replace(POOLED, pool="max"), LIMITS),
    ):
        pass
    with assembling(tmp_path / "store", POOLED, LIMITS) as assembly:
        assert sorted(assembly.kept) == [1]


class Run:
    """A run of stand-ins on devices named cpu, from a file to a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fasta = folder / "in.fasta"
        self.records = write_proteins(self.fasta)

    def __call__(self, name: str, job: Job | None = None, devices: int = 2) -> EmbeddingStore:
        reader = FastaReader(self.fasta)
        target = parse_target(str(self.folder / name))
        with DeviceWorkers(job or StandInJob(), ["cpu"] * devices) as workers:
            summary = FleetRun(reader, target, survey(reader)).embed(workers)
        assert summary.counts.records == len(self.records)
        return EmbeddingStore.open(self.folder / name)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a store that one worker made without an accident."""
    run = Run(tmp_path_factory.mktemp("undisturbed"))
    assert_whole(run, run("store", devices=1))
    return contents(run.folder / "store")


def assert_whole(run: Run, store: EmbeddingStore) -> None:
    assert list(store.ids) == [record.id for record in run.records]
    for array, record in zip(store, run.records, strict=True):
        np.testing.assert_array_equal(array, vector_of(record))
    store.verify()
    assert not [path for path in run.folder.iterdir() if ".partial" in path.name]


def test_any_number_of_workers_makes_the_same_bytes(run: Run, undisturbed: dict[str, bytes]) -> None:
    assert_whole(run, run("store", devices=3))
    assert contents(run.folder / "store") == undisturbed


def test_what_a_dead_worker_had_in_hand_is_done_by_another_and_nothing_twice(
    run: Run, undisturbed: dict[str, bytes]
) -> None:
    assert_whole(run, run("store", StandInJob(deadly="P31/ü", deaths=str(run.folder))))
    assert (run.folder / "death-0").exists()
    assert contents(run.folder / "store") == undisturbed


def test_a_part_at_which_every_worker_dies_is_named_in_one_line(run: Run) -> None:
    job = StandInJob(deadly="P31/ü", num_deaths=100, deaths=str(run.folder))
    with pytest.raises(
        UserError, match=r"^records 'P3\d/ü' to .* \(lines .*\): 3 workers ended .*by SIGKILL"
    ) as caught:
        run("store", job)
    assert "\n" not in str(caught.value)
    assert_whole(run, run("store"))  # goes on after what is safe


def test_workers_that_die_while_they_load_are_given_up(run: Run) -> None:
    with pytest.raises(UserError, match="device cpu: 3 workers ended one after the other, the last by SIGKILL"):
        run("store", StandInJob(deadly_start=True))


def test_what_a_worker_says_of_a_users_mistake_comes_as_it_is(run: Run) -> None:
    with pytest.raises(UserError, match=r"^record 'P31/ü': not to be embedded on cpu$"):
        run("store", StandInJob(refused="P31/ü"))


def test_an_error_of_the_code_comes_with_its_traceback(run: Run) -> None:
    with pytest.raises(RuntimeError, match=r"^worker on cpu: ZeroDivisionError: the code is broken") as caught:
        run("store", StandInJob(broken="P31/ü"))
    assert "in meet" in caught.value.__notes__[0]


def test_devices_that_would_compute_differently_are_refused(run: Run) -> None:
    reader, target = FastaReader(run.fasta), parse_target(str(run.folder / "store"))
    with (
        pytest.raises(UserError, match=r"device (mps|cpu) would make precision (bf16|fp32) where another worker makes"),
        DeviceWorkers(StandInJob(odd_device="mps"), ["cpu", "mps"]) as workers,
    ):
        FleetRun(reader, target, survey(reader)).embed(workers)


def test_progress_only_grows_to_the_whole_input_when_nobody_dies(run: Run) -> None:
    reader, seen = FastaReader(run.fasta), []
    with DeviceWorkers(StandInJob(), ["cpu", "cpu"]) as workers:
        FleetRun(reader, parse_target(str(run.folder / "store")), survey(reader)).embed(
            workers, lambda records, residues: seen.append((records, residues))
        )
    assert seen == sorted(seen)
    assert seen[0] == (0, 0)
    assert seen[-1] == (len(run.records), sum(len(record.sequence) for record in run.records))


def test_the_plan_is_told_before_and_incidents_of_all_workers_together_after(run: Run) -> None:
    reader, plans = FastaReader(run.fasta), []
    found, target = survey(reader), parse_target(str(run.folder / "store"))
    with DeviceWorkers(StandInJob(), ["cpu", "cpu"]) as workers:
        summary = FleetRun(reader, target, found).embed(workers, on_begin=plans.append)
    (plan,) = plans
    assert (plan.survey, plan.records_kept, plan.residues_kept) == (found, 0, 0)
    assert plan.num_bytes == target.needed_bytes(summary.provenance, found.num_records, found.num_residues)
    assert plan.free_bytes > plan.num_bytes
    sizes = [shard.num_records for shard in read_manifest(run.folder / "store").shards]
    assert summary.records_reused == sum(size // 3 for size in sizes)
    assert (summary.num_halvings, summary.max_tokens) == (0, 7)


def test_an_input_that_changes_meanwhile_is_refused(run: Run) -> None:
    reader = FastaReader(run.fasta)
    before = survey(reader)
    run.fasta.write_text(run.fasta.read_text().replace("ACD", "ACC").replace("W", "Y"))
    with (
        pytest.raises(UserError, match="changed while it was being read"),
        DeviceWorkers(StandInJob(), ["cpu"]) as workers,
    ):
        FleetRun(reader, parse_target(str(run.folder / "store")), before).embed(workers)
    assert not (run.folder / "store").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from fleet_jobs import StandInJob
from openankh.embedding.survey import survey
from openankh.fasta import FastaReader
from openankh.fleet.assembly import FolderAssembly
from openankh.fleet.device_workers import DeviceWorkers
from openankh.fleet.run import FleetRun
from openankh.store import parse_target
real, count = FolderAssembly.take, 0
def take(*arguments):
    global count
    real(*arguments)
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
FolderAssembly.take = take
reader = FastaReader(sys.argv[1])
with DeviceWorkers(StandInJob(), ["cpu", "cpu"]) as workers:
    print(*(worker.process.pid for worker in workers._workers), flush=True)
    FleetRun(reader, parse_target(sys.argv[2]), survey(reader)).embed(workers)
"""


def killed(run: Run, after: int) -> list[int]:
    """Run a process that kills itself after so many shards; the numbers of its workers' processes."""
    command = [sys.executable, "-c", KILLED, str(run.fasta), str(run.folder / "store"), str(after)]
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return [int(number) for number in done.stdout.split()]


@pytest.mark.parametrize("after", [1, 8])
def test_a_killed_run_goes_on_after_every_shard_it_had_taken_up(
    run: Run, after: int, undisturbed: dict[str, bytes]
) -> None:
    killed(run, after)
    reader, embedded = FastaReader(run.fasta), []
    with DeviceWorkers(StandInJob(), ["cpu", "cpu"]) as workers:
        original = workers.run

        def counted(*arguments: object) -> Iterator[Landed]:
            for landed in original(*arguments):  # type: ignore[arg-type]
                embedded.append(landed.number)
                yield landed

        workers.run = counted  # type: ignore[method-assign]
        FleetRun(reader, parse_target(str(run.folder / "store")), survey(reader)).embed(workers)
    assert_whole(run, EmbeddingStore.open(run.folder / "store"))
    assert contents(run.folder / "store") == undisturbed
    assert len(embedded) == sum(name.startswith("shard-") for name in undisturbed) - after


def test_workers_end_with_whoever_started_them(run: Run) -> None:
    for number in killed(run, 1):
        with pytest.raises(ChildProcessError):  # no child of ours, and soon nobody's
            os.waitpid(number, 0)
        deadline = 1_000_000
        while is_alive(number):
            deadline -= 1
            assert deadline, f"worker {number} still runs"


def is_alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_run_begun_by_many_is_finished_by_one_process_and_the_other_way_round(run: Run) -> None:
    from openankh.store import Embedding
    from openankh.store.writer import writing_store

    killed(run, 4)
    reader, target = FastaReader(run.fasta), run.folder / "store"
    found = survey(reader)
    of_input = replace(POOLED, input_sha256=found.sha256)
    with writing_store(target, of_input, limits=LIMITS) as writer:
        assert writer.num_done > 0
        for record in run.records[writer.num_done :]:
            writer.write([Embedding(record.id, len(record.sequence), vector_of(record))])
        writer.finish(found.sha256)
    assert_whole(run, EmbeddingStore.open(target))

    other = run.folder / "other"
    with pytest.raises(KeyboardInterrupt), writing_store(other, of_input, limits=LIMITS) as writer:
        for record in run.records[:23]:
            writer.write([Embedding(record.id, len(record.sequence), vector_of(record))])
        raise KeyboardInterrupt
    assert_whole(run, run("other"))


DEVICES: dict[str, tuple[str | None, str, str]] = {
    "two answers": ("cpu,cpu", "cpu", "two answers to one question"),
    "no such GPU": ("0,99", "auto", "PyTorch sees 0 CUDA GPUs"),
    "no such name": ("cpu,cupola", "auto", "not one of auto, cpu, cuda"),
    "an empty name": ("cpu,", "auto", "a name is missing"),
}


@pytest.mark.parametrize("mistake", DEVICES)
def test_devices_that_are_not_there_are_refused(mistake: str) -> None:
    names, device, message = DEVICES[mistake]
    with pytest.raises(UserError, match=message):
        choose_devices(names, device)


def test_devices_are_all_gpus_by_default_and_those_named_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert choose_devices() == choose_devices("all") == ("auto",)
    assert choose_devices("cpu,cpu") == ("cpu", "cpu")
    assert choose_devices(None, "cpu") == ("cpu",)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert choose_devices() == choose_devices("all") == ("cuda:0", "cuda:1", "cuda:2", "cuda:3")
    assert choose_devices("0, 3") == choose_devices("cuda:0,cuda:3") == ("cuda:0", "cuda:3")
    assert choose_devices(None, "cuda:1") == ("cuda:1",)
