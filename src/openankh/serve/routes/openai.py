"""`/v1/embeddings` and `/v1/models` as clients of OpenAI's API expect them: a protein in the place of a text."""

import base64
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from openankh.embedding.options import EmbedOptions
from openankh.serve.answers import Answer, RowsAnswer
from openankh.serve.jobs import Progress
from openankh.serve.problems import Problem
from openankh.serve.proteins import records_of
from openankh.serve.routes.documents import ACCEPTED
from openankh.serve.routes.embed import require_model
from openankh.serve.serving import answer, serving_of
from openankh.serve.waiting import Array

router = APIRouter(prefix="/v1", tags=["as OpenAI's"])

Text = Annotated[str, Field(min_length=1)]


class EmbeddingsBody(BaseModel):
    """What OpenAI's clients send; fields that mean nothing for proteins are accepted and left alone."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "openankh-nano", "input": ["MKTAYIAKQR"]}]})

    input: Text | Annotated[list[Text], Field(min_length=1)] = Field(description="One sequence, or several.")
    model: str | None = None
    encoding_format: Literal["float", "base64"] = Field("float", description="base64: of little-endian float32.")
    dimensions: int | None = Field(None, ge=1, description="The model's own width, or nothing.")
    user: str | None = None


class OpenAIEmbedding(BaseModel):
    """The mean over a protein's residues."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """What was read: residues."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddings(BaseModel):
    """Embeddings in the order of the request."""

    object: Literal["list"] = "list"
    data: list[OpenAIEmbedding]
    model: str
    usage: Usage


class OpenAIModel(BaseModel):
    """A model served."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "openankh"


class OpenAIModels(BaseModel):
    """All models served: one."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


@router.get("/models")
async def models(request: Request) -> OpenAIModels:
    """The model served."""
    return OpenAIModels(data=[OpenAIModel(id=serving_of(request).model.name)])


@router.post("/embeddings", response_model=OpenAIEmbeddings, responses=ACCEPTED)
async def embeddings(request: Request, body: EmbeddingsBody) -> Response:
    """Embed proteins, asked and answered as by OpenAI's embeddings API: the mean of the last layer."""
    serving = serving_of(request)
    require_model(body.model, serving.model.name)
    _require_width(body.dimensions, serving.model.loaded.model.config.d_model)
    sequences = [body.input] if isinstance(body.input, str) else body.input
    records = records_of(sequences, serving.model.letters, serving.settings.limits, "input")
    num_residues = sum(len(record.sequence) for record in records)
    usage = {"prompt_tokens": num_residues, "total_tokens": num_residues}
    head = {"object": "list", "model": serving.model.name, "usage": usage}
    options = serving.model.completed(EmbedOptions())

    async def work(progress: Progress) -> Answer:
        arrays = await serving.embed(records, options, progress)
        rows = [
            {"object": "embedding", "index": number, "embedding": _written(array, body.encoding_format)}
            for number, array in enumerate(arrays)
        ]
        return RowsAnswer(head, "data", rows)

    return await answer(request, "embeddings", work)


def _written(array: Array, encoding: str) -> Any:
    if encoding == "float":
        return array
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _require_width(asked: int | None, width: int) -> None:
    if asked not in (None, width):
        raise Problem(422, f"dimensions: this model's vectors have {width} numbers; leave dimensions out", "dimensions")
