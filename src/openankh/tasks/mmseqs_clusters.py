"""Clusters of similar sequences by MMseqs2, where its program `mmseqs` is installed."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError

PROGRAM = "mmseqs"
COVERAGE = 0.8


def has_mmseqs() -> bool:
    """Whether MMseqs2 can be run here."""
    return shutil.which(PROGRAM) is not None


def mmseqs_clusters(sequences: Sequence[str], identity: float = 0.3) -> NDArray[np.int64]:
    """The number of each sequence's cluster (N,), members aligned over 80 % of both; UserError when it fails."""
    with tempfile.TemporaryDirectory(prefix="openankh-") as folder:
        place = Path(folder)
        (place / "in.fasta").write_text("".join(f">{at}\n{sequence}\n" for at, sequence in enumerate(sequences)))
        options = ("--min-seq-id", str(identity), "-c", str(COVERAGE), "-v", "1")
        command = (PROGRAM, "easy-cluster", place / "in.fasta", place / "out", place / "tmp", *options)
        try:
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        except OSError as error:
            raise UserError(f"{PROGRAM}: cannot be run ({error}); mend it, or cluster by words instead") from None
        table = place / "out_cluster.tsv"
        if done.returncode or not table.is_file():
            said = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise UserError(f"{PROGRAM}: failed ({' '.join(said) or done.returncode}); cluster by words instead")
        return read_clusters(table.read_text(), len(sequences))


def read_clusters(text: str, num: int) -> NDArray[np.int64]:
    """Cluster numbers (N,) from lines of representative and member, both counted from 0."""
    cluster_N = np.full(num, -1, np.int64)
    for line in text.splitlines():
        representative, _, member = line.partition("\t")
        cluster_N[int(member)] = int(representative)
    if (cluster_N < 0).any():
        raise UserError(
            f"{PROGRAM}: left {int((cluster_N < 0).sum()):,} sequences in no cluster; cluster by words instead"
        )
    return np.unique(cluster_N, return_inverse=True)[1]
