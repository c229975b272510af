"""`POST /v1/embed`: proteins as vectors."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from openankh.embedding.options import EmbedOptions
from openankh.serve.answers import Answer, RowsAnswer
from openankh.serve.jobs import Progress
from openankh.serve.problems import Problem
from openankh.serve.proteins import Sequences, records_of
from openankh.serve.routes.documents import binary_answers
from openankh.serve.serving import answer, serving_of

router = APIRouter(tags=["proteins"])

EXAMPLE: JsonDict = {"sequences": [{"id": "P69905", "sequence": "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMF"}, "MKTAYIAKQR"]}


class EmbedBody(BaseModel):
    """What to embed, and how; the options are those of `openankh embed`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    sequences: Sequences
    pool: Literal["mean", "max", "residues"] = Field("mean", description="`residues` gives one row a residue.")
    layer: int | list[int] | Literal["all"] = Field(-1, description="0 is the embedded input, -1 the last layer.")
    prefix: Literal["auto", "nlu", "s2s", "none"] = "auto"
    dtype: Literal["fp32", "fp16"] | None = Field(None, description="What numbers are rounded to.")
    states: Literal["encoder", "decoder"] = "encoder"
    model: str | None = Field(None, description="The model served, for clients that insist on naming one.")

    def options(self) -> EmbedOptions:
        """As the library takes them; UserError for what makes no sense."""
        layer = tuple(self.layer) if isinstance(self.layer, list) else self.layer
        return EmbedOptions(self.pool, layer, self.dtype, self.prefix, states=self.states)


class Embedding(BaseModel):
    """One protein's embedding: (D,) pooled, (L, D) of residues; of K layers (K, D) or (K, L, D)."""

    id: str
    length: int = Field(description="Residues.")
    embedding: list[float] | list[list[float]] | list[list[list[float]]]


class Embeddings(BaseModel):
    """Embeddings in the order of the request."""

    model: str
    pool: str
    layers: list[int]
    dtype: str
    embeddings: list[Embedding]


@router.post("/v1/embed", response_model=Embeddings, responses=binary_answers("one array a protein, named 0, 1, 2, …"))
async def embed(request: Request, body: EmbedBody) -> Response:
    """Embed proteins: one vector each, or one row a residue. As JSON, safetensors or NPZ, by `Accept`."""
    serving = serving_of(request)
    require_model(body.model, serving.model.name)
    options = serving.model.completed(body.options())
    records = records_of(body.sequences, serving.model.letters, serving.settings.limits)
    numbers = serving.model.num_numbers(options, records)
    if numbers > serving.settings.limits.answer_numbers:
        raise Problem(
            422,
            f"the answer would be {numbers:,} numbers, {serving.settings.limits.answer_numbers:,} are the most; pool, "
            "name fewer layers, or send fewer proteins",
        )
    layers = list(options.layers_of(serving.model.loaded.model.config))
    head = {"model": serving.model.name, "pool": options.pool, "layers": layers, "dtype": options.dtype}

    async def work(progress: Progress) -> Answer:
        arrays = await serving.embed(records, options, progress)
        rows = [
            {"id": record.id, "length": len(record.sequence), "embedding": array}
            for record, array in zip(records, arrays, strict=True)
        ]
        return RowsAnswer(head, "embeddings", rows, array="embedding")

    return await answer(request, "embed", work)


def require_model(named: str | None, served: str) -> None:
    """Problem 404 for another model than the one served."""
    if named not in (None, served):
        raise Problem(404, f"model {named[:80]!r} is not served here; {served} is", "model")
