"""A local Ray cluster of two workers: one is killed, its part is done again, nothing twice; mistakes come as one line.

In a process of its own, since Ray warns about itself and leaves threads behind. The cluster's start takes most of the
time, so one serves all that is asked.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedding_samples import provenance
from fleet_jobs import LIMITS, write_proteins
from openankh.fasta import Record
from openankh.fleet.job import Failed
from openankh.fleet.landing import Landed
from openankh.fleet.part_rows import outcome_of_row, part_of_row, row_of_failure, row_of_outcome, row_of_part
from openankh.fleet.parts import cut_parts
from openankh.store import EmbeddingStore
from openankh.store.shard import ShardEntry
from test_fleet import assert_holds, contents

POOLED = provenance("mean")

SCRIPT = """
import json, sys
from dataclasses import replace
from pathlib import Path
from fleet_jobs import StandInJob
from openankh.embedding.survey import survey
from openankh.errors import UserError
from openankh.fasta import FastaReader
from openankh import __version__
from openankh.fleet import part_rows
from openankh.fleet.device_workers import DeviceWorkers
from openankh.fleet.landing import FolderLanding, Landed
from openankh.fleet.parts import cut_parts
from openankh.fleet.ray_cluster import RayCluster, RayWorker
from openankh.fleet.run import FleetRun
from openankh.fleet.url_folder import UrlFolder
from openankh.store import parse_target

folder = Path(sys.argv[1])
fasta = folder / "in.fasta"
job = StandInJob(deaths=str(folder))

def embed(workers, destination):
    reader, seen = FastaReader(fasta), []
    summary = FleetRun(reader, destination, survey(reader)).embed(workers, lambda *counts: seen.append(counts))
    return {"counts": summary.counts.records, "kept": summary.records_kept, "last": seen[-1]}

def problem_of(work):
    try:
        work()
    except UserError as error:
        return str(error)

def hopeless():
    "What a worker says of a part with which three have died."
    landing, setup = FolderLanding(str(folder)), job.load("cpu", 1)[1]
    part = next(cut_parts(FastaReader(fasta), setup.provenance, setup.limits))
    worker = RayWorker(job, "cpu", 1, landing, setup, __version__)
    rows = [worker(part_rows.row_of_part(part)).to_pylist()[0] for _ in range(4)]
    outcomes = [part_rows.outcome_of_row(row["kind"], row["content"]) for row in rows]
    assert all(isinstance(outcome, Landed) for outcome in outcomes[:3])
    return outcomes[3].line

found = {}
with DeviceWorkers(job, ["cpu"]) as alone:
    embed(alone, parse_target(str(folder / "alone")))
with RayCluster(job, "local", 2) as cluster:
    found["share"] = [cluster.share.num_workers, cluster.share.num_gpus]
    deadly = RayCluster(replace(job, deadly="P31/ü"), "local", 2)
    found["killed"] = embed(deadly, parse_target(str(folder / "killed")))
    refusing = RayCluster(replace(job, refused="P31/ü"), "local", 2)
    url = UrlFolder((folder / "url").as_uri())
    found["refused"] = problem_of(lambda: embed(refusing, url))
    found["resumed"] = embed(cluster, url)
    found["hopeless"] = hopeless()
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Cluster:
    """What the script found, and the folder with its stores."""

    folder: Path
    records: list[Record]
    found: Mapping[str, object]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    if any(importlib.util.find_spec(name) is None for name in ("ray", "pandas", "pyarrow")):
        pytest.skip('needs Ray Data: pip install "openankh[ray]"')
    folder = tmp_path_factory.mktemp("ray")
    records = write_proteins(folder / "in.fasta")
    quiet = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)],
        env={**os.environ, **quiet, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return Cluster(folder, records, json.loads(done.stdout.splitlines()[-1]))


def test_a_killed_workers_part_is_done_again_and_nothing_twice(cluster: Cluster) -> None:
    assert (cluster.folder / "death-0").exists()
    assert cluster.found["share"] == [2, 0]
    residues = sum(len(record.sequence) for record in cluster.records)
    assert cluster.found["killed"] == {"counts": 60, "kept": 0, "last": [60, residues]}
    assert_holds(EmbeddingStore.open(cluster.folder / "killed"), list(cut_parts(cluster.records, POOLED, LIMITS)))
    assert contents(cluster.folder / "killed") == contents(cluster.folder / "alone")


def test_a_users_mistake_on_a_worker_is_one_line_and_what_was_done_is_kept(cluster: Cluster) -> None:
    assert cluster.found["refused"] == "record 'P31/ü': not to be embedded on cpu"
    resumed = cluster.found["resumed"]
    assert isinstance(resumed, dict) and resumed["counts"] == 60
    store = EmbeddingStore.open(cluster.folder / "url")
    assert_holds(store, list(cut_parts(cluster.records, POOLED, LIMITS)))
    shards = {name: content for name, content in contents(cluster.folder / "alone").items() if name.startswith("shard")}
    assert shards.items() <= contents(cluster.folder / "url").items()


def test_a_part_with_which_three_workers_died_is_given_up_in_one_line(cluster: Cluster) -> None:
    hopeless = cluster.found["hopeless"]
    assert isinstance(hopeless, str)
    assert hopeless.startswith("records 'P0/ü' to ") and "3 workers ended one after the other" in hopeless


def test_parts_and_outcomes_travel_unchanged_in_rows() -> None:
    pytest.importorskip("pyarrow")
    odd = (Record("a\udcff/\0", "", "MKV", 3), Record("", "", "A" * 1000, 5))
    (part,) = cut_parts(odd, POOLED, LIMITS, 7, 100)
    assert part_of_row(row_of_part(part)) == part
    failed = Failed("line", True, "details")
    assert part_of_row(row_of_failure(failed)) == failed
    landed = Landed(7, 100, ShardEntry("shard-000007.safetensors", 10, "a" * 64, 2, 1003), "landed-x")
    for outcome in (failed, landed):
        (row,) = row_of_outcome(outcome).to_pylist()
        assert outcome_of_row(row["kind"], row["content"]) == outcome
