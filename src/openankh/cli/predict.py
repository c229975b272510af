"""`openankh predict`: what an artifact says of the proteins of a FASTA file, with probabilities."""

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from openankh.cli import report
from openankh.cli.options import Device, Json, Offline, Quiet, Source, TrustPickle
from openankh.errors import UserError

Folder = Annotated[Path, Parameter(help="An artifact: a folder that `openankh finetune` wrote.")]
Output = Annotated[
    str, Parameter(name=("--output", "-o"), help="A table (.csv, .tsv, .parquet), or .fasta with predicted labels.")
]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace what stands at OUT.")]
ModelName = Annotated[
    str | None,
    Parameter(name=("--model", "-m"), help="Where the model is that the artifact was trained on, if it has moved."),
]
Unknown = Annotated[
    Literal["error", "x"], Parameter(help="A letter that the model does not know: refuse it, or read it as X.")
]
Least = Annotated[float, Parameter(help="Of contacts: leave out pairs that are less likely.")]


def predict(
    artifact: Folder,
    source: Source,
    /,
    *,
    output: Output,
    overwrite: Overwrite = False,
    model: ModelName = None,
    unknown: Unknown = "error",
    least: Least = 0.05,
    device: Device = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What an artifact says of each protein of a FASTA file, in its order, with probabilities."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `openankh embed`

    from openankh.fasta import FastaReader, ReadOptions
    from openankh.lookup.vector_kind import ModelAccess
    from openankh.tasks.artifact import load_artifact
    from openankh.tasks.predicting import Predictions
    from openankh.tasks.prediction_files import check_output, writing_predictions

    if not 0 <= least <= 1:
        raise UserError(f"--least {least}: a probability from 0 to 1, as 0.05")
    found = load_artifact(artifact)
    path = check_output(output, found, overwrite)
    predictions = Predictions.load(found, ModelAccess(device, trust_pickle, offline, unknown), model)
    reader = FastaReader(source, ReadOptions(predictions.embedder.vocab.letters, unknown))
    num = 0
    bars = report.progress("predicting", unit="proteins", quiet=quiet)
    with reader, writing_predictions(path, found, least) as writer, bars as bar:
        for prediction in predictions.predict(reader):
            writer.write(prediction)
            num += 1
            bar.reach(num)
    report.note(f"{output}: {num:,} proteins", quiet=quiet)
    if json:
        report.result({"output": output, "proteins": num, "unit": found.config.unit}, as_json=True)
