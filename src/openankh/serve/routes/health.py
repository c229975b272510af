"""`/v2`: health and metadata at the paths of the Open Inference Protocol (KServe's version 2)."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from openankh import __version__
from openankh.serve.problems import Problem
from openankh.serve.serving import Serving, serving_of

router = APIRouter(prefix="/v2", tags=["health"])
LIVE = "/v2/health/live"

ModelName = Annotated[str, Path(max_length=200, examples=["openankh-nano"])]


class ServerMetadata(BaseModel):
    """What server this is."""

    name: str = "openankh"
    version: str = __version__
    extensions: list[str] = []


class TensorMetadata(BaseModel):
    """A tensor; -1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What model it serves."""

    name: str
    versions: list[str] = Field(description="Its commit on the hub, or 1.")
    platform: str = "openankh"
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str | int]


class Liveness(BaseModel):
    """The server answers."""

    live: bool = True


class Readiness(BaseModel):
    """The server takes work."""

    ready: bool = True


@router.get("/health/live")
async def live() -> Liveness:
    """Whether the server is there; the one route that asks for no token."""
    return Liveness()


@router.get("/health/ready")
async def ready(request: Request) -> Readiness:
    """Whether it takes work: 503 while it stops."""
    return _readiness(serving_of(request))


@router.get("")
async def server() -> ServerMetadata:
    """Name and version of the server."""
    return ServerMetadata()


@router.get("/models/{name}")
async def model(request: Request, name: ModelName) -> ModelMetadata:
    """What is known of the model served."""
    return _metadata(_served(request, name))


@router.get("/models/{name}/ready")
async def model_ready(request: Request, name: ModelName) -> Readiness:
    """Whether the model takes work."""
    return _readiness(_served(request, name))


@router.get("/models/{name}/versions/{version}")
async def model_version(request: Request, name: ModelName, version: ModelName) -> ModelMetadata:
    """The same, of one version."""
    found = _metadata(_served(request, name))
    if version not in found.versions:
        raise Problem(404, "there is no such version here; " + ", ".join(found.versions) + " is", "version")
    return found


@router.get("/models/{name}/versions/{version}/ready")
async def model_version_ready(request: Request, name: ModelName, version: ModelName) -> Readiness:
    """Whether that version takes work."""
    await model_version(request, name, version)
    return _readiness(serving_of(request))


def _served(request: Request, name: str) -> Serving:
    serving = serving_of(request)
    if name != serving.model.name:
        raise Problem(404, f"there is no such model here; {serving.model.name} is", "name")
    return serving


def _readiness(serving: Serving) -> Readiness:
    if not serving.engine.is_ready:
        raise Problem(503, "the server stops", headers={"Retry-After": "5"})
    return Readiness()


def _metadata(serving: Serving) -> ModelMetadata:
    loaded = serving.model.loaded
    config = loaded.model.config
    return ModelMetadata(
        name=serving.model.name,
        versions=[loaded.revision or "1"],
        inputs=[TensorMetadata(name="sequences", datatype="BYTES", shape=[-1])],
        outputs=[TensorMetadata(name="embeddings", datatype="FP32", shape=[-1, config.d_model])],
        parameters={
            "licence": loaded.licence,
            "device": loaded.device.type,
            "dtype": loaded.dtype,
            "width": config.d_model,
            "encoder_layers": config.num_encoder_layers,
            "decoder_layers": config.num_decoder_layers,
        },
    )
