"""`openankh search`: the nearest proteins of each query, and what their labels say of it."""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Group, Parameter

from openankh.cli import before_torch, report
from openankh.cli.options import DEFAULT_MODEL, Device, Json, Model, Offline, Precision, Quiet, Source, TrustPickle
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.lookup.lookup import Lookup
    from openankh.lookup.vector_kind import VectorKind
    from openankh.lookup.watching import Watcher
    from openankh.search.answers import Answer
    from openankh.search.answers import LabelNames as AnswerLabels

_AGAINST = Group("What is searched", sort_key=1)
_HOW = Group("How it is searched", sort_key=2)
_MODEL = Group("How FASTA becomes vectors", sort_key=3)

Query = Annotated[Source, Parameter(help="A FASTA file (- is standard input) or a store that `openankh embed` wrote.")]
Against = Annotated[
    str,
    Parameter(
        group=_AGAINST, help="A store of pooled embeddings, or a FASTA file: embedded once, into a store beside it."
    ),
]
Cache = Annotated[
    Path | None, Parameter(group=_AGAINST, help="Where the embeddings of a FASTA file are kept, if not beside it.")
]
Labels = Annotated[
    Path | None,
    Parameter(
        group=_AGAINST,
        help="What is known of the proteins searched: CSV or TSV with a column id, or FASTA with key=value headers.",
    ),
]
LabelNames = Annotated[
    tuple[str, ...],
    Parameter(
        name="--label",
        group=_AGAINST,
        negative=(),
        help="A column, or a key of FASTA headers, that is a label; repeat.",
    ),
]
Neighbours = Annotated[
    int, Parameter(name=("--neighbours", "-k"), group=_HOW, help="How many neighbours of each query.")
]
MetricChoice = Annotated[Literal["euclidean", "cosine"], Parameter(name="--metric", group=_HOW, help="The distance.")]
Approximate = Annotated[
    bool,
    Parameter(
        group=_HOW,
        negative=(),
        help="Through a faiss index, built once and kept beside the store: much faster among millions, may miss some.",
    ),
]
ExcludeSelf = Annotated[
    bool, Parameter(group=_HOW, negative=(), help="Leave out proteins of the query's own id or sequence.")
]
ModelName = Annotated[
    str | None,
    Parameter(
        name=("--model", "-m"), group=_MODEL, help=f"The model; that of the store, or for FASTA only {DEFAULT_MODEL}."
    ),
]
PoolChoice = Annotated[
    Literal["mean", "max"] | None,
    Parameter(name="--pool", group=_MODEL, help="For FASTA only: mean (the default) or max over the residues."),
]
Layer = Annotated[
    int | None,
    Parameter(
        group=_MODEL, help="Of a store of several layers the one to search; for FASTA only as in openankh embed."
    ),
]
PrecisionChoice = Annotated[
    Literal["auto", "fp32", "bf16", "fp16", "int8"],
    Parameter(name="--precision", group=_MODEL, help="For FASTA only: arithmetic of the model, as in openankh embed."),
]
Unknown = Annotated[
    Literal["error", "x"], Parameter(group=_MODEL, help="A letter that the model does not know: refuse it, or read X.")
]
Output = Annotated[
    str | None, Parameter(name=("--output", "-o"), help=".csv, .tsv or .json; without it, a table on standard output.")
]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace what stands at OUT.")]

search = App(name="search", help="The nearest proteins of each query by their embeddings.", help_format="plaintext")


@search.default
def neighbours(
    query: Query,
    /,
    *,
    against: Against,
    labels: Labels = None,
    label: LabelNames = (),
    cache: Cache = None,
    num: Neighbours = 5,
    metric: MetricChoice = "euclidean",
    approximate: Approximate = False,
    exclude_self: ExcludeSelf = False,
    output: Output = None,
    overwrite: Overwrite = False,
    model: ModelName = None,
    pool: PoolChoice = None,
    layer: Layer = None,
    precision: PrecisionChoice = "auto",
    unknown: Unknown = "error",
    device: Device = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The nearest proteins of each query by their embeddings, with their labels and how far to trust them.

    Queries are embedded as what is searched was: by the same model, pool and layer. Another model is refused.
    """
    before_torch.settle()

    from openankh.lookup.lookup import Lookup
    from openankh.lookup.vector_kind import ModelAccess
    from openankh.search.answers import check_output

    path = None if output is None else check_output(output, overwrite)
    with _watching(quiet) as watcher:
        lookup = Lookup.open(
            against,
            labels=labels,
            label_names=label,
            metric=metric,
            approximate=approximate,
            model=model,
            pool=pool,
            layer=layer,
            precision=precision,
            like=_kind_of_queries(query, against, layer, model, pool),
            access=ModelAccess(device, trust_pickle, offline, unknown),
            cache=cache,
            watcher=watcher,
        )
        counts = _Counts()
        answers = counts.passing(lookup.search(query, num, exclude_self=exclude_self), watcher)
        names = lookup.label_names(num)
        if path is None:
            _print(answers, names, json)
        else:
            _write(answers, names, path)
    _report(lookup, counts, output, json, quiet)


@search.command
def cath(
    *,
    data: Annotated[
        Path, Parameter(help="The folder with lookup_s20, val200 and test219 (.csv.gz: id, sequence, cath).")
    ],
    model: Model = DEFAULT_MODEL,
    compare: Annotated[
        bool,
        Parameter(negative=(), help="Every layer, by mean and maximum, on val200; the best of them on test219."),
    ] = False,
    random: Annotated[int, Parameter(help="How many models of random weights are the control.")] = 3,
    output: Annotated[
        Path | None, Parameter(name=("--output", "-o"), help="A Markdown file for the tables; else they are printed.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    trust_pickle: TrustPickle = False,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The CATH benchmark: how often the nearest domain has a query's class, architecture, topology and superfamily.

    Beside it what needs no training, published models, and whether the reliabilities told were right.
    """
    before_torch.settle()

    from openankh.files import write_file_atomically
    from openankh.loaded import load
    from openankh.lookup.cath_benchmark import run_cath
    from openankh.lookup.cath_report import markdown

    loaded = load(model, device, precision=precision, part="encoder", trust_pickle=trust_pickle, offline=offline)
    with _watching(quiet) as watcher:
        result = run_cath(loaded, data, compare=compare, num_random=random, watcher=watcher)
    if output is not None:
        write_file_atomically(output, markdown(result))
        report.note(f"{output}: the tables", quiet=quiet)
    if json:
        compared = [{**asdict(choice), "accuracy": accuracy} for choice, accuracy in result.compared.items()]
        report.result({**vars(result), "compared": compared}, as_json=True)
    elif output is None:
        print(markdown(result), end="")


class _Counts:
    """What has gone by: queries, neighbours, queries that have none."""

    def __init__(self) -> None:
        self.num_queries = self.num_neighbours = self.num_without = 0
        self.first_without = ""

    def passing(self, answers: Iterable["Answer"], watcher: "Watcher") -> Iterator["Answer"]:
        """The same answers, each taken into account as it goes by."""
        for answer in answers:
            self.num_queries += 1
            self.num_neighbours += len(answer.neighbours)
            if not answer.neighbours:
                self.num_without += 1
                self.first_without = self.first_without or answer.query
            if self.num_queries % 100 == 0:
                watcher.progress("searching", self.num_queries, None, "queries")
            yield answer


def _kind_of_queries(
    query: str, against: str, layer: int | None, model: str | None, pool: str | None
) -> "VectorKind | None":
    """How the queries' store was embedded, for a FASTA file to be searched that is to match it."""
    if not os.path.isdir(query) or os.path.isdir(against):
        return None
    from openankh.lookup.vector_kind import VectorKind
    from openankh.search.vectors import layer_of
    from openankh.store import EmbeddingStore

    provenance = EmbeddingStore.open(query).provenance
    if pool not in (None, provenance.pool):
        raise UserError(f"{query}: pool is {provenance.pool}, not {pool}; embed again, or leave out --pool")
    return VectorKind.of(provenance, layer_of(provenance, layer, query), query, model)


def _write(answers: Iterable["Answer"], names: "AnswerLabels", path: Path) -> None:
    from openankh.search.answers import writing_answers

    with writing_answers(path, names) as writer:
        for answer in answers:
            writer.write(answer)


def _print(answers: Iterable["Answer"], names: "AnswerLabels", json: bool) -> None:
    from openankh.search.answers import answer_object, column_names, row_of

    if json:
        report.table([answer_object(answer) for answer in answers], as_json=True)
        return
    columns = column_names(names)
    rows = [
        dict(zip(columns, row_of(each.query, one, names), strict=True)) for each in answers for one in each.neighbours
    ]
    report.table(rows, as_json=False)


def _report(lookup: "Lookup", counts: _Counts, output: str | None, json: bool, quiet: bool) -> None:
    facts = {
        "output": output,
        "num_queries": counts.num_queries,
        "num_neighbours": counts.num_neighbours,
        "num_queries_without_neighbours": counts.num_without,
        "num_searched": len(lookup),
        "num_searched_not_comparable": lookup.num_unusable,
        "metric": lookup.metric,
        "labelled": {column.name: column.num_labelled for column in lookup.labels},
        **lookup.store.provenance.to_json(),
    }
    if lookup.num_unusable:
        report.note(f"{lookup.num_unusable:,} proteins searched cannot be compared: not finite, or zero", quiet=quiet)
    if counts.num_without:
        whose = f"{counts.num_without:,} queries have no neighbour, the first of them {counts.first_without}"
        report.note(f"{whose}: nothing comparable is left for them", quiet=quiet)
    if output is not None:
        whose = f"{counts.num_neighbours:,} neighbours of {counts.num_queries:,} queries"
        report.note(f"{output}: {whose} among {len(lookup):,} proteins", quiet=quiet)
        if json:
            report.result(facts, as_json=True)


@contextmanager
def _watching(quiet: bool) -> Iterator["Watcher"]:
    """Shows one bar after the other, as what is done changes, and notes."""
    from openankh.lookup.watching import Watcher

    with ExitStack() as stack:
        shown: dict[str, report.Bar] = {}

        def progress(what: str, done: float, total: float | None, unit: str) -> None:
            if what not in shown:
                stack.close()
                shown.clear()
                shown[what] = stack.enter_context(report.progress(what, total, unit=unit, quiet=quiet))
            shown[what].reach(done)

        def note(text: str) -> None:
            stack.close()
            shown.clear()
            report.note(text, quiet=quiet)

        yield Watcher(progress, note)
