"""What the page's routes stand on: the desk, what its answers are, and who may ask."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from openankh import __version__
from openankh.dossier.options import VARIANTS
from openankh.dossier.predictors import bundled_artifacts, predictors_on
from openankh.dossier.sources import Sources, annotated_bundled, kept_folder
from openankh.embedding.options import EmbedOptions
from openankh.embedding.run import ModelIdentity, provenance_of
from openankh.loaded import LoadedModel
from openankh.lookup.watching import Watcher
from openankh.serve.pages.asked import MOST_PROTEINS, MOST_RESIDUES
from openankh.serve.pages.desk import Desk
from openankh.serve.pages.examples import examples
from openankh.serve.pages.results import Results
from openankh.serve.pages.view import HERE, STATIC, page
from openankh.store import Provenance
from openankh.tasks.artifact import Artifact
from openankh.tasks.predicting import Predictions

_METHOD_CHOICES = (
    ("auto", "as good as about a minute allows"),
    ("masked-marginal", "hide each residue in turn: best, one pass a residue"),
    ("wild-type-marginal", "read each protein once: quick"),
    ("none", "leave them out"),
)


@dataclass(frozen=True)
class Most:
    """The limits that the form tells."""

    proteins: int = MOST_PROTEINS
    residues: int = MOST_RESIDUES


@dataclass(frozen=True, eq=False)
class Reception:
    """`app.state.reception`: the desk, the model's name and licence, and what its embeddings are."""

    desk: Desk
    model: str
    licence: str
    provenance: Callable[[], Provenance]

    def html(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page; `values` are what its template asks for."""
        frame = {"model": self.model, "licence": self.licence, "version": __version__}
        headers = {"cache-control": "private, no-cache"}  # kept for the back button, asked again otherwise
        return Response(page(template, {**frame, **values}), status, headers, media_type="text/html; charset=utf-8")

    def form(
        self, fasta: str = "", variants: str = "auto", problem: str = "", place: Sequence[str | None] = (None, None)
    ) -> Response:
        """The form, with what was wrong in it."""
        values: Mapping[str, Any] = {
            "fasta": fasta,
            "variants": variants if variants in VARIANTS else "auto",
            "problem": problem,
            "place": place,
            "most": Most(),
            "methods": _METHOD_CHOICES,
            "examples": examples(),
        }
        return self.html("index.html", 422 if problem else 200, **values)


def make_reception(loaded: LoadedModel, artifacts: Sequence[Artifact] = (), folder: Path | None = None) -> Reception:
    """The page's parts for a model; `artifacts` beside those of the package are asked too, as far as they fit.

    Results and the bundled proteins' embeddings are kept in `folder`, by default in the user's cache.
    """
    place = kept_folder() if folder is None else folder

    @cache
    def predictors() -> tuple[Predictions, ...]:
        return predictors_on(loaded, [*bundled_artifacts(), *artifacts])

    def sources(watcher: Watcher) -> Sources:
        place.mkdir(parents=True, exist_ok=True)
        return Sources(loaded, annotated_bundled(loaded, place, watcher), predictors())

    @cache
    def answering() -> str:
        names = [f"{each.artifact.origin.task} {each.artifact.origin.data_sha256}" for each in predictors()]
        return "\n".join([loaded.sha256, loaded.precision, __version__, *names])

    @cache
    def provenance() -> Provenance:
        identity = ModelIdentity(loaded.pinned_name, loaded.sha256)
        return provenance_of(loaded.embedder(EmbedOptions("mean")), identity, None)

    desk = Desk(sources, loaded.vocab.letters, answering, Results(place))
    return Reception(desk, loaded.pinned_name, loaded.licence, provenance)


def reception_of(request: Request) -> Reception:
    """The reception of the server that a request came to."""
    return request.app.state.reception


class _Static(StaticFiles):
    """The page's own files; a browser asks each time whether they changed."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def add_pages(app: FastAPI, reception: Reception) -> None:
    """Give an application the page; whoever runs it starts and stops `reception.desk`."""
    from openankh.serve.pages.routes import router

    app.state.reception = reception
    app.include_router(router)
    app.mount(STATIC, _Static(directory=HERE / "static"), name="static")
