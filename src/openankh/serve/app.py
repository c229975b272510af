"""The application: all parts put together, `create_app(settings)`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from openankh import __version__
from openankh.serve.access import Access
from openankh.serve.access_log import AccessLog
from openankh.serve.admission import Admission
from openankh.serve.engine import Engine
from openankh.serve.jobs import Jobs
from openankh.serve.meters import Metering, Meters
from openankh.serve.model_host import ModelHost
from openankh.serve.pages.reception import Reception, add_pages, make_reception
from openankh.serve.predictors import served_predictors
from openankh.serve.problems import NeverBare, add_problem_handlers
from openankh.serve.request_body import RequestBody
from openankh.serve.response_headers import ResponseHeaders
from openankh.serve.routes import complete, embed, health, jobs, metrics, openai, predict, score, search
from openankh.serve.routes.documents import ERRORS
from openankh.serve.searching import ServedProteins
from openankh.serve.serving import Serving, task_thread
from openankh.serve.settings import Settings

ROUTERS: tuple[APIRouter, ...] = (
    embed.router,
    score.router,
    complete.router,
    predict.router,
    search.router,
    jobs.router,
    openai.router,
    health.router,
    metrics.router,
)

DESCRIPTION = "Ankh protein language models: embed, score, complete and predict proteins, find their neighbours."


def create_app(settings: Settings, model: ModelHost | None = None) -> FastAPI:
    """The application, its model loaded (or given); UserError where that cannot be.

    Started (by a server, or `with TestClient(app)`) it runs the model's thread, and stops it when what waits is done.
    """
    serving = _serving(settings, model or ModelHost.load(settings))
    app = FastAPI(
        title="OpenAnkh",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # FastAPI's pages fetch scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        responses=ERRORS,
    )
    app.state.serving = serving
    add_problem_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    add_pages(app, _reception(serving))
    _add_doors(app, serving)
    return app


def _add_doors(app: FastAPI, serving: Serving) -> None:
    """What a request passes before a route sees it; the last one added is the first it comes to."""
    settings, limits, meters = serving.settings, serving.settings.limits, serving.meters
    app.add_middleware(NeverBare)
    app.add_middleware(RequestBody, limits=limits)
    app.add_middleware(Admission, engine=serving.engine, per_client=limits.per_client, on_refused=meters.refused)
    app.add_middleware(Access, settings=settings)
    app.add_middleware(Metering, meters=meters)
    app.add_middleware(ResponseHeaders)
    app.add_middleware(AccessLog)


def _serving(settings: Settings, model: ModelHost) -> Serving:
    meters, jobs = Meters(), Jobs(settings.limits)
    engine = Engine(model, settings.limits.waiting_residues, settings.threads, meters.batch)
    meters.watch(engine, jobs)
    predictors = served_predictors(model, settings)
    searched = {each.name: ServedProteins.open(each, model, settings) for each in settings.searched}
    return Serving(settings, model, engine, jobs, meters, predictors, searched, task_thread(settings.threads))


def _reception(serving: Serving) -> Reception:
    """The page, with the same model and predictors."""
    artifacts = [each.artifact for each in serving.predictors.values()]
    return make_reception(serving.model.loaded, artifacts, serving.settings.results)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run the model's thread as long as the application; at the end, finish what was begun."""
    serving: Serving = app.state.serving
    reception: Reception = app.state.reception
    serving.engine.start()
    reception.desk.start()
    try:
        yield
    finally:
        await serving.jobs.drain(serving.settings.limits.drain_seconds)
        serving.engine.stop(seconds=5)
        reception.desk.stop(seconds=5)
        serving.stop()
