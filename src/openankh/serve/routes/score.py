"""`POST /v1/score`: the effects of variants of one protein."""

from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from openankh.scoring.method import ScoringOptions
from openankh.scoring.scan import COLUMNS
from openankh.serve.answers import Answer, ArraysAnswer, Plain
from openankh.serve.jobs import Progress
from openankh.serve.problems import Problem
from openankh.serve.proteins import Protein, records_of
from openankh.serve.routes.documents import binary_answers
from openankh.serve.routes.embed import require_model
from openankh.serve.serving import Serving, answer, serving_of

router = APIRouter(tags=["proteins"])

EXAMPLE: JsonDict = {"sequence": "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMF", "variants": ["A6V", "K8R:T9S", "WT"]}


class ScoreBody(BaseModel):
    """A protein and its variants (`A23V:G41D`, `K23del`, `K23_L24insGS`); without any, all single substitutions."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    sequence: str = Field(min_length=1)
    variants: list[Annotated[str, Field(min_length=1, max_length=20_000)]] | None = Field(None, min_length=1)
    method: Literal["masked-marginal", "wild-type-marginal", "pseudo-log-likelihood", "likelihood"] = "masked-marginal"
    window: int = Field(1022, ge=8, le=100_000, description="Residues of a longer protein that are read at once.")
    background: Literal["protein", "standard"] = "protein"
    model: str | None = None


class VariantScore(BaseModel):
    """One variant, in nats: above 0 the model prefers it to the wild type."""

    variant: str
    raw: float
    calibrated: float


class Scores(BaseModel):
    """The scores of the variants of the request, in its order; or of all single substitutions, a row a position."""

    model: str
    method: str
    scores: list[VariantScore] | None = None
    wild_type: str | None = None
    amino_acids: str | None = Field(None, description="The columns of `raw` and `calibrated`.")
    raw: list[list[float]] | None = None
    calibrated: list[list[float]] | None = None


@router.post("/v1/score", response_model=Scores, responses=binary_answers("of a scan `raw` and `calibrated`, (L, 20)"))
async def score(request: Request, body: ScoreBody) -> Response:
    """Score variants of a protein, or all its single substitutions."""
    serving = serving_of(request)
    require_model(body.model, serving.model.name)
    options = ScoringOptions(body.method, body.window, body.background)
    limits = serving.settings.limits
    if body.variants is not None and len(body.variants) > limits.variants:
        raise Problem(422, f"variants: {len(body.variants):,}; {limits.variants:,} are the most", "variants")
    (record,) = records_of([Protein(id="", sequence=body.sequence)], serving.model.letters, limits, "sequence")

    def scored(progress: Progress) -> Answer:
        if body.variants is None:
            return _scanned(serving, record.sequence, options, progress)
        return _scored(serving, record.sequence, body.variants, options, progress)

    async def work(progress: Progress) -> Answer:
        return await serving.run_task(lambda: scored(progress))

    return await answer(request, "score", work)


def _scanned(serving: Serving, sequence: str, options: ScoringOptions, progress: Progress) -> Answer:
    scan = serving.model.loaded.scorer(options, progress.reach).scan(sequence)
    head = {"model": serving.model.name, "method": options.method, "wild_type": sequence, "amino_acids": COLUMNS}
    arrays = {"raw": scan.raw_L20 + 0.0, "calibrated": scan.calibrated_L20 + 0.0}
    return ArraysAnswer(head, {name: np.ascontiguousarray(array) for name, array in arrays.items()})


def _scored(
    serving: Serving, sequence: str, variants: list[str], options: ScoringOptions, progress: Progress
) -> Answer:
    found = serving.model.loaded.scorer(options, progress.reach).score(sequence, variants)
    scores = [{"variant": each.variant.name, "raw": each.raw, "calibrated": each.calibrated} for each in found]
    return Plain({"model": serving.model.name, "method": options.method, "scores": scores}, 2 * len(scores))
