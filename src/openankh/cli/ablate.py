"""`openankh ablate`: the Ankh paper's experiments at equal compute, in one table and one plot."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from openankh.cli import report
from openankh.cli.options import Json, Quiet
from openankh.errors import UserError

if TYPE_CHECKING:
    from openankh.ablation.campaign import Campaign
    from openankh.ablation.findings import Findings
    from openankh.pretraining.experiments import Identity

_WHAT = Group("Which experiments, on what", sort_key=1)
_COMPUTE = Group("Compute of each run: by default what the baseline's recipe takes", sort_key=2)
_MEASURES = Group("What is measured", sort_key=3)

Settings = Annotated[
    str,
    Parameter(help="Changes of every recipe as key=value, such as packing.crop=256 (`openankh pretrain --settings`)."),
]
CorpusFolder = Annotated[
    Path,
    Parameter(
        group=_WHAT, help="A corpus made by `openankh prepare`, clustered at 50 % as the paper's; it validates all."
    ),
]
Corpus90 = Annotated[
    Path | None, Parameter(name="--corpus-90", group=_WHAT, help="The same clustered at 90 %, for exp23.")
]
Corpus100 = Annotated[
    Path | None, Parameter(name="--corpus-100", group=_WHAT, help="The same with all proteins, for exp25.")
]
Out = Annotated[
    Path,
    Parameter(
        name=("--out", "-o"), help="A folder for runs, table and plot; the same command goes on where it stopped."
    ),
]
ScaleName = Annotated[
    Literal["tiny", "small", "paper"],
    Parameter(group=_WHAT, help="Minutes of a CPU core each, an hour of a GPU each, or as published."),
]
Only = Annotated[
    str | None, Parameter(group=_WHAT, help="Experiments such as exp1,exp8 instead of all: `openankh pretrain --list`.")
]
Flops = Annotated[float | None, Parameter(group=_COMPUTE, help="Training FLOPs of each run, such as 2e12.")]
MinutesEach = Annotated[
    float | None,
    Parameter(group=_COMPUTE, help="What the baseline computes here in so many minutes, measured once."),
]
Seeds = Annotated[int, Parameter(group=_WHAT, help="Runs of each experiment, with seeds 0, 1, …")]
BaselineSeeds = Annotated[
    int, Parameter(group=_WHAT, help="Runs of the baseline, exp20, at least: they tell the noise.")
]
Data = Annotated[
    Path | None,
    Parameter(group=_MEASURES, help="A folder of labelled proteins (docs/ablations.md): probe the embeddings too."),
]
ProbeSizeName = Annotated[
    Literal["quick", "full"], Parameter(group=_MEASURES, help="How many proteins the probes take.")
]
Plot = Annotated[bool, Parameter(negative="--no-plot", group=_MEASURES, help="Draw the plot (extra `plots`).")]
Plan = Annotated[bool, Parameter(negative=(), help="Show what each run would take, and stop.")]
Threads = Annotated[int | None, Parameter(help="CPU threads; the same number gives the same bits.")]
TrainingDevice = Annotated[str, Parameter(help="auto, cpu, cuda or cuda:N; auto takes a GPU when it sees one.")]


def ablate(
    *settings: Settings,
    corpus: CorpusFolder,
    out: Out,
    scale: ScaleName = "tiny",
    only: Only = None,
    corpus_90: Corpus90 = None,
    corpus_100: Corpus100 = None,
    flops: Flops = None,
    minutes_each: MinutesEach = None,
    seeds: Seeds = 1,
    baseline_seeds: BaselineSeeds = 3,
    data: Data = None,
    probe_size: ProbeSizeName = "quick",
    plot: Plot = True,
    plan: Plan = False,
    threads: Threads = None,
    device: TrainingDevice = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train experiments of the Ankh paper at equal compute, and compare them with each other and with the paper.

    The same command goes on after any stop; finished runs are never done again. The exit code is 0 when all is done, 75
    when a signal stopped it with a checkpoint.
    """
    from openankh.ablation.campaign import prepare_campaign, run_campaign
    from openankh.ablation.findings import read_findings
    from openankh.ablation.options import AblationOptions
    from openankh.cli.pretrain import training_device, training_progress, use_threads
    from openankh.pretraining.stop_signals import STOPPED_EXIT_CODE

    use_threads(threads)
    options = AblationOptions(
        corpora=_corpora(corpus, corpus_90, corpus_100),
        out=out,
        scale=scale,
        only=_names(only),
        settings=settings,
        flops=flops,
        minutes_each=minutes_each,
        seeds=seeds,
        baseline_seeds=baseline_seeds,
        data=data,
        probe_size=probe_size,
        device=training_device(device),
        plot=plot,
    )
    with training_progress(quiet) as progress:
        campaign = prepare_campaign(options, progress)
        is_finished = plan or run_campaign(campaign, progress)
    if plan:
        report.table(_plan_rows(campaign), as_json=json)
    elif (findings := read_findings(out)) is not None:
        _report(findings, out, as_json=json, quiet=quiet)
    return 0 if is_finished else STOPPED_EXIT_CODE


def _corpora(corpus: Path, corpus_90: Path | None, corpus_100: Path | None) -> "dict[Identity, Path]":
    corpora: dict[Identity, Path] = {"50": corpus}
    if corpus_90 is not None:
        corpora["90"] = corpus_90
    if corpus_100 is not None:
        corpora["100"] = corpus_100
    return corpora


def _names(only: str | None) -> tuple[str, ...] | None:
    if only is None:
        return None
    names = tuple(name.strip() for name in only.split(",") if name.strip())
    if not names:
        raise UserError("--only names no experiment; give such as exp1,exp8")
    return names


def _plan_rows(campaign: "Campaign") -> list[dict[str, object]]:
    return [
        {
            "run": trial.name,
            "parameters": trial.recipe.model.num_parameters,
            "layers": f"{trial.recipe.model.num_encoder_layers}/{trial.recipe.model.num_decoder_layers}",
            "steps": trial.recipe.total_steps,
            "tokens": trial.recipe.total_steps * trial.recipe.accumulation * trial.recipe.packing.tokens,
            "flops": trial.recipe.total_steps * trial.flops_a_step,
            "what": trial.experiment.what,
        }
        for trial in campaign.trials
    ]


def _report(findings: "Findings", out: Path, as_json: bool, quiet: bool) -> None:
    from dataclasses import asdict

    from openankh.ablation.write_up import TABLE

    if as_json:
        report.result(asdict(findings), as_json=True)
        return
    columns = ("name", "masked_loss", "own_loss", "average", "paper_average", "steps", "residues", "what")
    report.table([{name: getattr(row, name) for name in columns} for row in findings.rows], as_json=False)
    report.note(f"the whole table: {out / TABLE}", quiet=quiet)
