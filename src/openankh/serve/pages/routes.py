"""The page's routes: a form, a result for each question, a page for each protein, their `.json` twins and files."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from openankh.dossier.dossier import Dossier, Overview
from openankh.dossier.json_text import to_json
from openankh.dossier.options import VARIANTS, DossierOptions
from openankh.errors import UserError
from openankh.serve.pages.asked import asked
from openankh.serve.pages.downloads import File, protein_files, result_files
from openankh.serve.pages.examples import example_fasta, examples
from openankh.serve.pages.reception import Reception, reception_of
from openankh.serve.pages.results import Result
from openankh.serve.pages.view import half_rows, map_view, text_rows

router = APIRouter(include_in_schema=False)

ResultId = Annotated[str, Path(max_length=40)]
Number = Annotated[int, Path(ge=1, le=999_999)]
By = Annotated[str, Query(max_length=200)]
_PLACE = re.compile(r"FASTA, line (\d+)(?:, column (\d+))?")
_TITLES = {"waiting": "Waiting", "working": "Working", "failed": "This did not work", "cancelled": "Cancelled"}


@router.get("/")
def index(request: Request, of: Annotated[str, Query(alias="from", max_length=40)] = "") -> Response:
    """The form, empty or with the question of a result."""
    reception = reception_of(request)
    result = reception.desk.results.find(of) if of else None
    return reception.form(result.fasta if result else "")


@router.get("/index.json")
def index_json(request: Request) -> Response:
    """What can be asked."""
    reception = reception_of(request)
    names = [{"name": example.name, "title": example.title, "ids": list(example.ids)} for example in examples()]
    return _json(to_json({"model": reception.model, "variants": list(VARIANTS), "examples": names}))


@router.post("/results")
async def ask(request: Request) -> Response:
    """Take a question from the form: on to its result, or back to the form with what is wrong."""
    form = _fields(await request.body())
    return await run_in_threadpool(_ask, reception_of(request), form)


def _ask(reception: Reception, form: Mapping[str, str]) -> Response:
    fasta = form.get("fasta", "").replace("\r\n", "\n")
    if "example" in form:
        fasta = example_fasta(form["example"]) or ""
    variants = form.get("variants", "auto")
    try:
        question = asked(fasta, DossierOptions(variants), reception.desk.letters)  # pyright: ignore[reportArgumentType]
    except UserError as error:
        place = _PLACE.match(str(error))
        return reception.form(fasta, variants, str(error), place.groups() if place else (None, None))
    return RedirectResponse(f"/results/{reception.desk.ask(question)}", 303)


@router.get("/results/{result_id}.json")
def result_json(request: Request, result_id: ResultId) -> Response:
    """The overview; 202 and how far it is while it is being made."""
    reception = reception_of(request)
    result = reception.desk.results.find(result_id)
    if result is None:
        return _json(to_json({"error": {"code": "not_found", "message": "no such result"}}), 404)
    if result.is_whole:
        return _json(result.overview_json())
    return _json(to_json(reception.desk.standing(result)), 202)


@router.get("/results/{result_id}")
def result_page(request: Request, result_id: ResultId, by: By = "") -> Response:
    """The overview of several proteins, the page of a single one, or how far it is."""
    reception = reception_of(request)
    result = reception.desk.results.find(result_id)
    if result is None:
        return _missing(reception)
    try:
        standing = reception.desk.standing(result)
    except UserError as error:
        return reception.html("missing.html", 410, title="Not here any more", message=f"{error}.")
    if not result.is_whole:
        return reception.html("working.html", standing=standing, titles=_TITLES)
    found = result.overview()
    result.touch()
    if len(found.lines) == 1:
        return RedirectResponse(f"/results/{result_id}/1", 302)
    by = by if by in found.fields else found.fields[0]
    return reception.html("overview.html", id=result_id, found=found, **_overview_values(result, found, by, reception))


def _overview_values(result: Result, found: Overview, by: str, reception: Reception) -> Mapping[str, Any]:
    seen = map_view(found, by)
    return {
        "by": by,
        "points": seen.points,
        "height": seen.height,
        "legend": seen.legend,
        "columns": [name for name in found.fields if name != "length"][:5],
        "files": result_files(result, found, reception.provenance(), by),
    }


@router.get("/results/{result_id}/{number}.json")
def protein_json(request: Request, result_id: ResultId, number: Number) -> Response:
    """A dossier."""
    result = reception_of(request).desk.results.find(result_id)
    text = result.dossier_json(number) if result else None
    if text is None:
        return _json(to_json({"error": {"code": "not_found", "message": "no such protein"}}), 404)
    return _json(text)


@router.get("/results/{result_id}/{number}")
def protein_page(request: Request, result_id: ResultId, number: Number) -> Response:
    """The page of a protein."""
    reception = reception_of(request)
    result = reception.desk.results.find(result_id)
    if result is not None and not result.is_whole:
        return RedirectResponse(f"/results/{result_id}", 302)
    found = result.dossier(number) if result else None
    if result is None or found is None:
        return _missing(reception)
    result.touch()
    known = result.overview()
    labels = [label for near in found.neighbours for label in near.labels]
    return reception.html(
        "protein.html",
        id=result_id,
        here=f"/results/{result_id}/{number}",
        found=found,
        total=len(known.lines),
        against=known.against,
        has_reliability=any(label.reliability is not None for label in labels),
        text_rows=list(text_rows(found)),
        alignment=list(half_rows(found)),
        files=protein_files(found, reception.provenance()),
    )


@router.post("/results/{result_id}/cancel")
def cancel(request: Request, result_id: ResultId) -> Response:
    """Stop a question."""
    reception = reception_of(request)
    result = reception.desk.results.find(result_id)
    if result is None:
        return _missing(reception)
    reception.desk.cancel(result)
    return RedirectResponse(f"/results/{result_id}", 303)


@router.post("/results/{result_id}/again")
def again(request: Request, result_id: ResultId) -> Response:
    """Ask a cancelled or failed question again."""
    reception = reception_of(request)
    result = reception.desk.results.find(result_id)
    if result is None:
        return _missing(reception)
    return RedirectResponse(f"/results/{reception.desk.ask(result.question(reception.desk.letters))}", 303)


@router.get("/results/{result_id}/files/{name}")
def result_file(request: Request, result_id: ResultId, name: str, by: By = "") -> Response:
    """A file of all proteins."""
    reception = reception_of(request)
    result = reception.desk.results.find(result_id)
    if result is None or not result.is_whole:
        return _missing(reception)
    found = result.overview()
    by = by if by in found.fields else found.fields[0]
    return _file(result_files(result, found, reception.provenance(), by), name, "", reception)


@router.get("/results/{result_id}/{number}/files/{name}")
def protein_file(request: Request, result_id: ResultId, number: Number, name: str) -> Response:
    """A file of one protein."""
    reception = reception_of(request)
    result = reception.desk.results.find(result_id)
    found: Dossier | None = result.dossier(number) if result else None
    if found is None:
        return _missing(reception)
    return _file(protein_files(found, reception.provenance()), name, f"-{number}", reception)


def _file(files: Sequence[File], name: str, mark: str, reception: Reception) -> Response:
    """The file of that name; names are looked up and never become paths."""
    found = next((file for file in files if file.name == name), None)
    if found is None:
        return _missing(reception)
    stem, _, ending = found.name.rpartition(".")
    headers = {"content-disposition": f'attachment; filename="{stem}{mark}.{ending}"'}
    return Response(found.make(), 200, headers, media_type=found.media_type)


def _missing(reception: Reception) -> Response:
    message = "There is no such result here: its address is mistyped, or nobody has looked at it for 30 days."
    return reception.html("missing.html", 404, title="Not found", message=message)


def _json(text: bytes, status: int = 200) -> Response:
    return Response(text, status, media_type="application/json")


def _fields(body: bytes) -> Mapping[str, str]:
    """The fields of a form, the first of each name."""
    text = body.decode("ascii", "replace")
    try:
        pairs = parse_qs(text, keep_blank_values=True, max_num_fields=20, errors="surrogateescape")
    except ValueError:  # of more fields than the form has
        return {}
    return {name: values[0] for name, values in pairs.items()}
