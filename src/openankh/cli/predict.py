"""`openankh predict`: what a predictor says of the proteins of a FASTA file, with probabilities."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from openankh.cli import before_torch, report
from openankh.cli.options import Device, Json, Offline, Quiet, Source, TrustPickle
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.fasta import Record
    from openankh.tasks.artifact import Artifact

Predictor = Annotated[
    str | None,
    Parameter(help="A predictor that comes with the package, by its name (--list), or a folder of openankh finetune."),
]
Output = Annotated[
    str | None,
    Parameter(name=("--output", "-o"), help="A table (.csv, .tsv, .parquet), or .fasta with predicted labels."),
]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace what stands at OUT.")]
Plot = Annotated[
    str | None,
    Parameter(help="Draw residues or contacts: a PNG file for one protein, a folder for many (extra `plots`)."),
]
ListPredictors = Annotated[
    bool, Parameter(name="--list", negative=(), help="Show the predictors that come with the package, and stop.")
]
ModelName = Annotated[
    str | None,
    Parameter(name=("--model", "-m"), help="Where the model is that the artifact was trained on, if it has moved."),
]
Unknown = Annotated[
    Literal["error", "x"], Parameter(help="A letter that the model does not know: refuse it, or read it as X.")
]
Least = Annotated[float, Parameter(help="Of contacts: leave out pairs that are less likely.")]


def predict(
    predictor: Predictor = None,
    source: Source | None = None,
    /,
    *,
    output: Output = None,
    plot: Plot = None,
    overwrite: Overwrite = False,
    list_predictors: ListPredictors = False,
    model: ModelName = None,
    unknown: Unknown = "error",
    least: Least = 0.05,
    device: Device = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What a predictor says of each protein of a FASTA file, in its order, with probabilities.

    Predictors that come with the package go by their names and need no network; others are folders that `openankh
    finetune` wrote.
    """
    if list_predictors:
        report.table(_listed(), as_json=json)
        return
    before_torch.settle()

    from openankh.fasta import FastaReader, ReadOptions
    from openankh.lookup.vector_kind import ModelAccess
    from openankh.tasks.artifact import load_artifact
    from openankh.tasks.predicting import Predictions

    name, source = _named(predictor, source, output, plot, least)
    found = load_artifact(_folder(name, quiet))
    paths = _checked(output, plot, found, overwrite)
    predictions = Predictions.load(found, ModelAccess(device, trust_pickle, offline, unknown), model)
    reader = FastaReader(source, ReadOptions(predictions.embedder.vocab.letters, unknown))
    num = 0
    with reader, ExitStack() as stack:
        records = _one_if_one_is_drawn(reader, plot, source)
        writers = _writers(stack, paths, found, least)
        bar = stack.enter_context(report.progress("predicting", unit="proteins", quiet=quiet))
        for prediction in predictions.predict(records):
            for writer in writers:
                writer.write(prediction)
            num += 1
            bar.reach(num)
    _report(num, output, plot, found, json, quiet)


def _listed() -> list[dict[str, object]]:
    from openankh.tasks.shipped import shipped_predictors

    return [
        {
            "name": each.name,
            "predicts": each.title,
            "of each": each.unit,
            "head": each.head,
            "tests": "; ".join(each.tests),
        }
        for each in shipped_predictors()
    ]


def _named(
    predictor: str | None, source: str | None, output: str | None, plot: str | None, least: float
) -> tuple[str, str]:
    """What must be there; UserError telling what is missing."""
    if predictor is None:
        raise UserError("no predictor named; `openankh predict --list` shows those that come with the package")
    if source is None:
        raise UserError(f"{predictor}: predicts what? Name a FASTA file, or - for standard input")
    if output is None and plot is None:
        raise UserError("nowhere to write to; name a table with -o predictions.csv, or a picture with --plot")
    if not 0 <= least <= 1:
        raise UserError(f"--least {least}: a probability from 0 to 1, as 0.05")
    return predictor, source


def _folder(name: str, quiet: bool) -> Path:
    from openankh.tasks.shipped import predictor_folder

    folder = predictor_folder(name)
    if folder != Path(name) and Path(name).is_dir():
        report.note(f"{name}: the one that comes with the package; for the folder here write ./{name}", quiet=quiet)
    return folder


def _checked(output: str | None, plot: str | None, found: "Artifact", overwrite: bool) -> tuple[Path | None, Any]:
    """Where the table and the pictures go, before anything is computed."""
    from openankh.tasks.prediction_files import check_output

    pictures = None
    table = None if output is None else check_output(output, found, overwrite)
    if plot is not None:
        from openankh.tasks.pictures.picture_files import check_pictures

        pictures = check_pictures(plot, found, overwrite)
        if table is not None and table.absolute() == pictures.absolute():
            raise UserError(f"{output}: named for the table and for the plot; give each its own name")
    return table, pictures


def _one_if_one_is_drawn(records: "Iterable[Record]", plot: str | None, source: str) -> "Iterator[Record]":
    """The records; UserError where a picture of one protein is wanted and there are several."""
    records = iter(records)
    if plot is None or not plot.lower().endswith(".png"):
        return records
    first = list(islice(records, 2))
    if len(first) > 1:
        raise UserError(f"--plot {plot}: {source} holds more than one protein; name a folder for their pictures")
    return chain(first, records)


def _writers(stack: ExitStack, paths: tuple[Path | None, Path | None], found: "Artifact", least: float) -> list[Any]:
    from openankh.tasks.prediction_files import writing_predictions

    writers: list[Any] = []
    table, pictures = paths
    if table is not None:
        writers.append(stack.enter_context(writing_predictions(table, found, least)))
    if pictures is not None:
        from openankh.tasks.pictures.picture_files import drawing_pictures

        writers.append(stack.enter_context(drawing_pictures(pictures, found)))
    return writers


def _report(num: int, output: str | None, plot: str | None, found: "Artifact", json: bool, quiet: bool) -> None:
    report.note(f"{' and '.join(filter(None, (output, plot)))}: {num:,} proteins", quiet=quiet)
    if json:
        drawn = {} if plot is None else {"plot": plot}
        report.result({"output": output, **drawn, "proteins": num, "unit": found.config.unit}, as_json=True)
