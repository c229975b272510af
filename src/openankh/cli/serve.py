"""`openankh serve`: a page and an API on this machine, one model behind both."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from openankh.cli import before_torch, report
from openankh.cli.options import DEFAULT_MODEL, Device, Json, Model, Offline, Precision, Quiet, TrustPickle
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.serve.settings import NamedFolder

_WHERE = Group("Where it listens", sort_key=1)
_WHAT = Group("What is served", sort_key=2)
_LIMITS = Group("Limits", sort_key=3)

TOKEN = "OPENANKH_TOKEN"
"""The environment variable that may hold the token."""

_EXTRA = ("fastapi", "uvicorn", "httptools", "orjson", "prometheus_client", "jinja2")

Host = Annotated[
    str, Parameter(group=_WHERE, help="The address; any other than this machine's own is refused without a token.")
]
Port = Annotated[int, Parameter(group=_WHERE, help="The port; 0 takes a free one.")]
TokenFile = Annotated[
    Path | None,
    Parameter(group=_WHERE, help=f"A file with the token that clients must send; or the variable {TOKEN}."),
]
PredictorFolders = Annotated[
    tuple[str, ...],
    Parameter(
        name="--predictor", group=_WHAT, negative=(), help="NAME=FOLDER, what `openankh finetune` wrote; repeat."
    ),
]
AgainstFolders = Annotated[
    tuple[str, ...],
    Parameter(
        name="--against", group=_WHAT, negative=(), help="NAME=STORE or NAME=FASTA, proteins to search among; repeat."
    ),
]
LabelTables = Annotated[
    tuple[str, ...],
    Parameter(name="--labels", group=_WHAT, negative=(), help="NAME=TABLE, what is known of those proteins; repeat."),
]
MaxTokens = Annotated[
    int | None, Parameter(group=_LIMITS, help="Tokens of a batch; as many as serve the device where not given.")
]
Threads = Annotated[int | None, Parameter(group=_LIMITS, help="Processor cores for the model; all where not given.")]
MaxProteins = Annotated[int, Parameter(group=_LIMITS, help="Proteins of a request.")]
MaxResidues = Annotated[int, Parameter(group=_LIMITS, help="Residues of a protein.")]
MaxWaiting = Annotated[int, Parameter(group=_LIMITS, help="Residues that may wait; requests beyond are turned away.")]
LogRequests = Annotated[bool, Parameter(group=_WHERE, negative=(), help="A line a request on standard error.")]
PerClient = Annotated[int, Parameter(group=_LIMITS, help="Requests of one address at a time; 0 is any number.")]


def serve(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token_file: TokenFile = None,
    predictor: PredictorFolders = (),
    against: AgainstFolders = (),
    labels: LabelTables = (),
    max_tokens: MaxTokens = None,
    threads: Threads = None,
    max_proteins: MaxProteins = 2_000,
    max_residues: MaxResidues = 10_000,
    max_waiting: MaxWaiting = 1_000_000,
    per_client: PerClient = 0,
    log_requests: LogRequests = False,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    precision: Precision = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A page for people and an API for programs, on this machine, until it is stopped (Ctrl-C or SIGTERM)."""
    before_torch.settle()
    require_extra()

    from openankh.serve.server import run
    from openankh.serve.settings import Limits, Settings

    settings = Settings(
        model=model,
        host=host,
        port=port,
        device=device,
        precision=precision,
        offline=offline,
        trust_pickle=trust_pickle,
        token=_token(token_file),
        batch_tokens=max_tokens,
        threads=threads,
        predictors=_named(predictor, "--predictor"),
        searched=_with_labels(_named(against, "--against"), _named(labels, "--labels")),
        limits=Limits(
            proteins=max_proteins, residues=max_residues, waiting_residues=max_waiting, per_client=per_client
        ),
    )

    def ready(url: str) -> None:
        report.note(f"serving {model} at {url} (Ctrl-C stops it)", quiet=quiet)
        if json:
            report.result({"url": url, "model": model}, as_json=True)

    run(settings, ready, log_requests=log_requests)


def require_extra() -> None:
    """UserError that says what to install where the extra is not there."""
    from importlib.util import find_spec

    if missing := [name for name in _EXTRA if find_spec(name) is None]:
        raise UserError(f'serving needs {missing[0]}, which is not installed; pip install "openankh[serve]"')


def _token(path: Path | None) -> str | None:
    """The token of the file, else of the environment; None for none."""
    if path is None:
        return os.environ.get(TOKEN) or None
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a token ({type(error).__name__}); name a text file") from None
    if not text or len(text.split()) != 1:
        raise UserError(f"{path}: holds no token; write one word of at least 16 letters into it")
    return text


def _named(words: tuple[str, ...], option: str) -> "tuple[NamedFolder, ...]":
    """`NAME=PATH` as pairs; UserError for what is none, and for a name that is given twice."""
    from openankh.serve.settings import NamedFolder

    found: dict[str, NamedFolder] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise UserError(f"{option} {word}: write NAME=PATH")
        if name in found:
            raise UserError(f"{option} {name}: is named twice; give each its own name")
        found[name] = NamedFolder(name, Path(path))
    return tuple(found.values())


def _with_labels(searched: "tuple[NamedFolder, ...]", tables: "tuple[NamedFolder, ...]") -> "tuple[NamedFolder, ...]":
    """What is searched, each with the table of its name."""
    from dataclasses import replace

    of_name = {each.name: each.folder for each in tables}
    if unknown := of_name.keys() - {each.name for each in searched}:
        raise UserError(f"--labels {min(unknown)}: there is no --against of that name")
    return tuple(replace(each, labels=of_name.get(each.name)) for each in searched)
