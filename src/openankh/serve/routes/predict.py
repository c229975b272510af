"""`POST /v1/predict/{task}`: what a predictor says of proteins."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from openankh.fasta import Record
from openankh.serve.answers import Answer, RowsAnswer
from openankh.serve.jobs import Progress
from openankh.serve.predictors import ServedPredictor
from openankh.serve.problems import Problem
from openankh.serve.proteins import Sequences, records_of
from openankh.serve.routes.documents import binary_answers
from openankh.serve.serving import answer, serving_of
from openankh.serve.waiting import Array
from openankh.tasks.predicting import Prediction

router = APIRouter(tags=["proteins"])

TaskName = Annotated[str, Path(max_length=200, examples=["secondary-structure"], description="As told by `GET /v1`.")]
_MAPS = 4
"""So many times the numbers of an answer may be held as attention maps for a moment."""

EXAMPLE: JsonDict = {"sequences": [{"id": "P69905", "sequence": "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMF"}]}


class PredictBody(BaseModel):
    """The proteins to say something of."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    sequences: Sequences
    probabilities: bool = Field(
        True, description="Whether each class's probability comes too; of pairs it always does."
    )


class PredictedProtein(BaseModel):
    """What is said of one protein.

    `value`: a class, several labels joined, or a number; of residues a text with one class a residue where classes are
    letters, else a list; of pairs null. `probabilities`: (C,) of the protein, (L, C) of residues, (L, L) of pairs.
    """

    id: str
    length: int
    value: str | float | list[str] | None
    probabilities: list[float] | list[list[float]] | None = None


class PredictedProteins(BaseModel):
    """Predictions in the order of the request."""

    task: str
    unit: str
    classes: list[str]
    predictions: list[PredictedProtein]


@router.post(
    "/v1/predict/{task}",
    response_model=PredictedProteins,
    responses=binary_answers("the probabilities of each protein, named 0, 1, 2, …"),
)
async def predict(request: Request, task: TaskName, body: PredictBody) -> Response:
    """Predict with one of the predictors served."""
    serving = serving_of(request)
    found = serving.predictors.get(task)
    if found is None:
        known = ", ".join(serving.predictors) or "none"
        raise Problem(404, f"there is no such predictor here; served: {known}", "task")
    records = records_of(body.sequences, serving.model.letters, serving.settings.limits)
    _require_room(found, records, serving.settings.limits.answer_numbers)

    async def work(progress: Progress) -> Answer:
        if found.shared is None:
            return await serving.run_task(lambda: _predicted(task, found, records, None, body, progress))
        arrays = await serving.embed(records, found.shared, progress)
        return await serving.run_quick(lambda: _predicted(task, found, records, arrays, body, progress))

    return await answer(request, "predict", work)


def _predicted(
    task: str,
    predictor: ServedPredictor,
    records: Sequence[Record],
    arrays: Sequence[Array] | None,
    body: PredictBody,
    progress: Progress,
) -> Answer:
    rows = []
    for prediction in predictor.predict(records, arrays):
        rows.append(_row(prediction, predictor.unit, body.probabilities))
        progress.reach(len(rows), len(records))
    head = {"task": task, "unit": predictor.unit, "classes": list(predictor.classes)}
    has_arrays = rows[0].get("probabilities") is not None
    return RowsAnswer(head, "predictions", rows, array="probabilities" if has_arrays else None)


def _row(prediction: Prediction, unit: str, with_probabilities: bool) -> dict[str, Any]:
    values = prediction.values
    if isinstance(values, tuple):
        is_text = unit == "residue" and all(len(each) == 1 for each in values)
        value = "".join(values) if is_text else values[0] if unit == "protein" else list(values)
    else:
        value = values
    shares = prediction.probabilities
    if unit == "protein" and shares is not None:
        shares = shares.ravel()
    row = {"id": prediction.record.id, "length": len(prediction.record.sequence), "value": value}
    return {**row, "probabilities": shares if with_probabilities or unit == "pair" else None}


def _require_room(predictor: ServedPredictor, records: Sequence[Record], most: int) -> None:
    """Problem 422 where states, maps or probabilities would be too many numbers; of maps one protein's are held."""
    pre, lengths = predictor.artifact.preprocessing, [len(record.sequence) for record in records]
    held = max(lengths) ** 2 * pre.width // _MAPS if pre.reads == "attention" else sum(lengths) * pre.width
    told = sum(length**2 for length in lengths) if predictor.unit == "pair" else 0
    if held + told > most:
        raise Problem(422, f"{held + told:,} numbers to hold; {most:,} are the most: send fewer or shorter proteins")
