"""`openankh info`: what a file or folder is."""

import os
from typing import Annotated

from cyclopts import Parameter

from openankh.cli import report
from openankh.cli.options import Json, Quiet, Source


def info(
    path: Annotated[
        Source, Parameter(help="A file, a folder, a model or predictor by name, or - for FASTA on standard input.")
    ],
    /,
    *,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What a file or folder is, or a model or predictor of that name, and its main facts.

    Knows models (also those of the hub, of which nothing is fetched), corpora, embeddings (folder, HDF5, Parquet, NPZ),
    training runs, predictors and FASTA files.
    """
    from openankh.inspection import inspect

    size = os.path.getsize(path) if os.path.isfile(path) else None
    with report.progress("reading", size, unit="bytes", quiet=quiet) as bar:
        finding = inspect(path, on_bytes=bar.reach)
    report.result({"path": finding.path, "kind": finding.kind, **finding.facts}, as_json=json)
