"""`POST /v1/search`: the nearest known proteins, and what their labels say."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from openankh.search.answers import answer_object
from openankh.serve.answers import Answer, RowsAnswer
from openankh.serve.jobs import Progress
from openankh.serve.problems import Problem
from openankh.serve.proteins import Sequences, records_of
from openankh.serve.routes.documents import ACCEPTED
from openankh.serve.searching import ServedProteins
from openankh.serve.serving import Serving, answer, serving_of

router = APIRouter(tags=["proteins"])

EXAMPLE: JsonDict = {"sequences": ["MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMF"], "k": 3}


class SearchBody(BaseModel):
    """Queries, and among which proteins to search."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    sequences: Sequences
    against: str | None = Field(None, max_length=200, description="As told by `GET /v1`; the first where not given.")
    k: int = Field(5, ge=1, le=100, description="Neighbours of each.")
    exclude_self: bool = Field(False, description="Leave out proteins of the query's own id or sequence.")


class NeighbourBody(BaseModel):
    """A neighbour: its rank, its distance, and what its labels say of the query, with how far to trust them."""

    rank: int
    id: str
    distance: float
    similarity: float | None
    labels: dict[str, dict[str, Any]] = {}


class QueryAnswer(BaseModel):
    """A query and its neighbours, nearest first."""

    query: str
    neighbours: list[NeighbourBody]


class SearchAnswers(BaseModel):
    """Answers in the order of the queries."""

    against: str
    answers: list[QueryAnswer]


@router.post("/v1/search", response_model=SearchAnswers, responses=ACCEPTED)
async def search(request: Request, body: SearchBody) -> Response:
    """Find the nearest proteins of each query by their embeddings."""
    serving = serving_of(request)
    name, searched = _searched(serving, body.against)
    records = records_of(body.sequences, serving.model.letters, serving.settings.limits)

    async def work(progress: Progress) -> Answer:
        arrays = await serving.embed(records, searched.options, progress)
        found = await serving.run_quick(lambda: searched.search(records, arrays, body.k, body.exclude_self))
        return RowsAnswer({"against": name}, "answers", [answer_object(each) for each in found])

    return await answer(request, "search", work)


def _searched(serving: Serving, name: str | None) -> tuple[str, ServedProteins]:
    known = serving.searched
    if not known:
        raise Problem(404, "this server has no proteins to search among; start it with --against NAME=STORE", "against")
    chosen = next(iter(known)) if name is None else name
    if chosen not in known:
        raise Problem(404, f"there are no such proteins here; served: {', '.join(known)}", "against")
    return chosen, known[chosen]
