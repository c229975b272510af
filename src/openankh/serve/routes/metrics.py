"""`/metrics`: what Prometheus reads; and `/v1`: what is served here."""

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from openankh import __version__
from openankh.serve.meters import CONTENT_TYPE
from openankh.serve.serving import serving_of

router = APIRouter(tags=["server"])


class ServedPredictor(BaseModel):
    """A predictor, by the name that `/v1/predict/{task}` takes."""

    name: str
    unit: str
    title: str
    classes: list[str] = []


class ServedProteins(BaseModel):
    """Proteins to search among, by the name that `/v1/search` takes."""

    name: str
    proteins: int
    labels: list[str]


class ServedLimits(BaseModel):
    """What a request may hold."""

    body_bytes: int
    proteins: int
    residues: int
    request_residues: int
    variants: int


class Served(BaseModel):
    """What this server serves."""

    version: str
    model: str
    letters: str
    predictors: list[ServedPredictor]
    searched: list[ServedProteins]
    limits: ServedLimits


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Meters in Prometheus's text format."""
    return Response(serving_of(request).meters.text(), headers={"content-type": CONTENT_TYPE})


@router.get("/v1")
async def served(request: Request) -> Served:
    """What is served here, and what a request may hold."""
    serving = serving_of(request)
    limits = serving.settings.limits
    return Served(
        version=__version__,
        model=serving.model.name,
        letters=serving.model.letters,
        predictors=[
            ServedPredictor(name=name, unit=each.unit, title=each.title, classes=list(each.classes))
            for name, each in serving.predictors.items()
        ],
        searched=[
            ServedProteins(name=name, proteins=each.num_proteins, labels=list(each.labels))
            for name, each in serving.searched.items()
        ],
        limits=ServedLimits(
            body_bytes=limits.body_bytes,
            proteins=limits.proteins,
            residues=limits.residues,
            request_residues=limits.request_residues,
            variants=limits.variants,
        ),
    )
