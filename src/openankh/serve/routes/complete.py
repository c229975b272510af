"""`POST /v1/complete`: proteins of which a beginning is kept and the rest is written."""

import math
from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from openankh.fasta import Record
from openankh.generation.completion import Completion
from openankh.generation.method import Method
from openankh.generation.options import CompletionOptions
from openankh.generation.residue_rules import ResidueRules
from openankh.generation.stretch import Stretch
from openankh.serve.answers import Answer, RowsAnswer
from openankh.serve.jobs import Progress
from openankh.serve.problems import Problem
from openankh.serve.proteins import Sequences, records_of
from openankh.serve.routes.documents import ACCEPTED
from openankh.serve.routes.embed import require_model
from openankh.serve.serving import Serving, answer, serving_of

router = APIRouter(tags=["proteins"])

EXAMPLE: JsonDict = {
    "sequences": ["MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMF"],
    "keep": 0.5,
    "method": "sample",
    "num": 2,
    "temperature": 0.8,
}


class CompleteBody(BaseModel):
    """What to complete, and how; the options are those of `openankh complete`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    sequences: Sequences
    keep: float | None = Field(None, gt=0, le=1e6, description="A share below 1, or residues; all where not given.")
    length: int | None = Field(None, ge=1, le=1_000_000, description="Of the finished protein, exactly.")
    min_length: int | None = Field(None, ge=1, le=1_000_000)
    max_length: int | None = Field(None, ge=1, le=1_000_000)
    method: Literal["greedy", "sample", "beam", "beam-sample"] = "greedy"
    num: int = Field(1, ge=1, le=1_000, description="Completions of each protein.")
    temperature: float = Field(1.0, ge=0.01, le=100)
    top_k: int = Field(0, ge=0, le=1_000)
    top_p: float = Field(1.0, gt=0, le=1)
    beams: int = Field(10, ge=1, le=256)
    seed: int = Field(0, ge=-(2**53), le=2**53)
    letters: str | None = Field(None, max_length=100, description="Residues that may be written.")
    forbid: str = Field("", max_length=100)
    require: str = Field("", max_length=10_000)
    fixed: str = Field("", max_length=20_000, description="Places and their letters, as 120=H,121=ILV.")
    task: Literal["auto", "s2s", "sentinels"] = "auto"
    model: str | None = None

    def options(self) -> CompletionOptions:
        """As the library takes them; UserError for what makes no sense."""
        return CompletionOptions(
            Stretch(self.keep, self.length, self.min_length, self.max_length),
            Method(self.method, self.temperature, self.top_k, self.top_p, self.beams),
            ResidueRules.of(self.letters, self.forbid, self.require, self.fixed or None),
            self.num,
            self.seed,
            self.task,
        )


class CompletionBody(BaseModel):
    """One completion of one protein."""

    id: str
    number: int = Field(description="Counted from 1; best first where beams were followed.")
    sequence: str = Field(description="The whole protein.")
    kept: int = Field(description="Residues at its beginning that were given.")
    ended: bool = Field(description="Whether the model wrote its end.")
    mean_log_prob: float | None = Field(description="Of a residue written, in nats.")
    perplexity: float | None
    score: float | None = Field(description="What ranks the completions of a search with beams.")


class Completions(BaseModel):
    """Completions in the order of the request."""

    model: str
    completions: list[CompletionBody]


@router.post("/v1/complete", response_model=Completions, responses=ACCEPTED)
async def complete(request: Request, body: CompleteBody) -> Response:
    """Complete proteins: keep a beginning of each, and let the model write the rest."""
    serving = serving_of(request)
    require_model(body.model, serving.model.name)
    options = body.options()
    records = records_of(body.sequences, serving.model.letters, serving.settings.limits)
    _require_affordable(records, options, serving.settings.limits.written_residues)

    async def work(progress: Progress) -> Answer:
        progress.total = len(records) * options.num
        return await serving.run_task(lambda: _completed(serving, records, options, progress))

    return await answer(request, "complete", work)


def _require_affordable(records: Sequence[Record], options: CompletionOptions, most: int) -> None:
    spans = [options.stretch.of(len(each.sequence), f"sequences[{n}]") for n, each in enumerate(records)]
    beams = options.method.num_beams if options.method.has_beams else options.num
    written = sum(span.most - span.kept for span in spans) * max(beams, options.num)
    if written > most:
        raise Problem(
            422, f"{written:,} residues to write; {most:,} a request are the most: keep more, or ask for fewer"
        )


def _completed(
    serving: Serving, records: Sequence[Record], options: CompletionOptions, progress: Progress
) -> RowsAnswer:
    rows = []
    for completion in serving.model.loaded.completer(options).complete(records):
        rows.append(_row(completion))
        progress.reach(len(rows), progress.total)
    return RowsAnswer({"model": serving.model.name}, "completions", rows)


def _row(completion: Completion) -> dict[str, str | int | float | bool | None]:
    return {
        "id": completion.record.id,
        "number": completion.number,
        "sequence": completion.sequence,
        "kept": completion.kept,
        "ended": completion.ended,
        "mean_log_prob": _finite(completion.mean_log_prob),
        "perplexity": _finite(completion.perplexity),
        "score": _finite(completion.score),
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
