"""The options that every verb spells alike.

A verb is one function in a file of its own, its parameters annotated; it imports its layer inside the function, so that
`--help` stays fast, calls one function of that layer and reports the result:

    def embed(
        source: Source,
        /,
        *,
        model: Model = DEFAULT_MODEL,
        device: Device = "auto",
        precision: Precision = "auto",
        trust_pickle: TrustPickle = False,
        offline: Offline = False,
        json: Json = False,
        quiet: Quiet = False,
    ) -> None:
        '''One line for the list of verbs.'''
        from openankh.loaded import load

        ...
        report.result(summary, as_json=json)

`--debug`, `--version` and a lone `-` for standard input are taken care of by `main`: a parameter annotated `Source`
receives `-`, and mistyped options beside it are still told. A verb raises UserError for what its user got wrong, and
SystemExit(code) for an exit code of its own.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from cyclopts import Token

DEFAULT_MODEL = "openankh-nano"

EVERYWHERE = Group("Everywhere", sort_key=90)

STANDARD_INPUT = "<stdin>"
"""What `main` puts in the place of a lone `-`, which the parser would take for an option."""


def read_source(kind: Any, tokens: "Sequence[Token]") -> str:
    """The source that a token names, `-` for standard input."""
    value = tokens[0].value
    return "-" if value == STANDARD_INPUT else value


Source = Annotated[
    str,
    Parameter(converter=read_source, help="A FASTA file, plain or compressed (gz, xz, bz2, zst); - is standard input."),
]

Model = Annotated[
    str,
    Parameter(
        name=("--model", "-m"),
        group=EVERYWHERE,
        help="A name that `openankh models` lists, ORGANISATION/NAME on the hub (either also @REVISION), or a folder.",
    ),
]

Device = Annotated[
    str,
    Parameter(
        name="--device", group=EVERYWHERE, help="auto, cpu, cuda, cuda:N or mps; auto takes a GPU when it sees one."
    ),
]

Dtype = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    Parameter(
        name="--dtype", group=EVERYWHERE, help="Arithmetic of the model; auto is the fastest one that is safe here."
    ),
]

Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8"],
    Parameter(
        name="--precision",
        group=EVERYWHERE,
        help="Arithmetic of the model; auto is bf16 where the device multiplies in it, else fp32; fp16 is guarded.",
    ),
]

TrustPickle = Annotated[
    bool,
    Parameter(
        name="--trust-pickle",
        negative=(),
        group=EVERYWHERE,
        help="Read a model whose weights are a pytorch_model.bin, tensors alone; only from a source you trust. "
        "Published names need it not.",
    ),
]

Offline = Annotated[
    bool,
    Parameter(
        name="--offline",
        negative=(),
        group=EVERYWHERE,
        help="Fetch nothing: take the model from this machine, or say that it is not here; as HF_HUB_OFFLINE=1.",
    ),
]

Json = Annotated[
    bool,
    Parameter(name="--json", negative=(), group=EVERYWHERE, help="Print the result as JSON on standard output."),
]

Quiet = Annotated[
    bool,
    Parameter(
        name=("--quiet", "-q"), negative=(), group=EVERYWHERE, help="No progress and no notes on standard error."
    ),
]
