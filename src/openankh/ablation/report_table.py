"""The table of an ablation in Markdown: what was equal, a row an experiment, noise, agreement with the paper."""

from openankh.ablation.findings import Findings, Noise, Row
from openankh.ablation.rank_correlation import RankCorrelation

LOSS_DECIMALS, SCORE_DECIMALS = 4, 2


def markdown(findings: Findings) -> str:
    """The whole page."""
    parts = [
        _what_was_equal(findings),
        _table(findings),
        _how_to_read(findings),
        _noise(findings),
        _agreement(findings),
    ]
    return "\n\n".join(parts) + "\n"


def _what_was_equal(findings: Findings) -> str:
    record = findings.record
    flops = [row.flops for row in findings.rows if not row.is_control]
    corpora = ", ".join(f"{fingerprint[:12]} for {identity} %" for identity, fingerprint in record.corpora.items())
    return (
        f"Scale {record.scale}. Equal in all runs: training FLOPs, forward and backward, {record.budget / 1e12:.4g} T "
        f"each (made: {min(flops) / 1e12:.4g} to {max(flops) / 1e12:.4g} T, {findings.flops_spread:.2%} apart); the "
        "optimiser, warm-up, form of the schedule and encoder tokens of a batch; and the validation proteins. So runs "
        f"differ in the residues they read and in the time they took. Corpora by identity: {corpora}."
    )


def _table(findings: Findings) -> str:
    tasks = list(findings.metrics)
    head = [
        "experiment",
        "what changes",
        "seeds",
        "parameters",
        "steps",
        "M residues",
        "min",
        "masked loss",
        "own loss",
    ]
    head += [f"{task} {findings.metrics[task]}" for task in tasks] + ["average", "paper"]
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    lines += [_cells(row, tasks) for row in findings.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Row, tasks: list[str]) -> list[str]:
    scores = [_score(row.scores[task] if row.scores else None) for task in tasks]
    own = f"{row.own_loss:.{LOSS_DECIMALS}f}" + ("" if row.shares_objective else " *")
    return [
        row.name,
        row.what,
        str(len(row.seeds)),
        f"{row.num_parameters:,}",
        f"{row.steps:,}",
        f"{row.residues / 1e6:.3f}",
        f"{row.minutes:.1f}",
        f"{row.masked_loss:.{LOSS_DECIMALS}f}",
        own,
        *scores,
        _score(row.average),
        _score(row.paper_average),
    ]


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.{SCORE_DECIMALS}f}"


def _how_to_read(findings: Findings) -> str:
    text = (
        f"Masked loss: nats a hidden residue, the same {findings.num_masked:,} of the same validation proteins in "
        "every row (10, 15, 20 or 30 % of a protein, single residues), each model asked in the presentation it was "
        "trained in, probabilities taken among residues. Comparable in all rows: whatever the presentation, the "
        "decoder knows the visible residues and the hidden ones before. With three reservations: merged spans (exp6) "
        "do not tell how long a run of hidden residues is, so that model knows less; masks that hide every kind of "
        "residue (exp1, exp3, exp5) teach to expect the kinds not yet seen, which this mask does not keep to; and "
        "models trained on 3-grams (exp2) or at one rate are asked about a mixture of rates. Own loss: that of the "
        "residues in the targets of the experiment's own objective; with `*` another objective than the baseline's, "
        "not to be compared (full reconstruction counts visible residues too). Residue frequencies alone get a masked "
        f"loss of {findings.record.composition_loss:.{LOSS_DECIMALS}f}: what is not below it has learnt nothing else."
    )
    if findings.metrics:
        counts = ", ".join(f"{task} {number:,}" for task, number in findings.num_probed.items())
        text += (
            " Downstream: linear probes of frozen residue embeddings, per cent, learnt on training splits and measured "
            f"on validation splits ({findings.record.probe_size} size; examples: {counts}); the average is their plain "
            "mean, the paper's is over its own tasks with its own heads."
        )
    return text


def _noise(findings: Findings) -> str:
    if findings.loss_noise is None:
        return (
            "Noise: unknown, no experiment was run with several seeds; no difference in this table is known to be real."
        )
    lines = [_noise_line("masked loss", findings.loss_noise, LOSS_DECIMALS)]
    if findings.average_noise:
        lines.append(_noise_line("average", findings.average_noise, SCORE_DECIMALS))
    return "Noise between seeds: " + "; ".join(lines) + "."


def _noise_line(what: str, noise: Noise, decimals: int) -> str:
    return (
        f"{what}: standard deviation {noise.deviation:.{decimals}f} ({noise.num_free} degrees of freedom), so a "
        f"difference of two single runs below {noise.smallest_difference:.{decimals}f} means nothing"
    )


def _agreement(findings: Findings) -> str:
    lines = [
        _correlation_line("our average", findings.average_correlation),
        _correlation_line("our masked loss, lower being better,", findings.loss_correlation),
    ]
    return "Rank correlation with the paper's averages (Spearman): " + "; ".join(lines) + "."


def _correlation_line(what: str, correlation: RankCorrelation | None) -> str:
    if correlation is None:
        return f"{what}: too few experiments to tell"
    return (
        f"{what} {correlation.rho:+.2f} over {correlation.num_pairs} experiments (bootstrap 95 %: "
        f"{correlation.low:+.2f} to {correlation.high:+.2f}; permutation p = {correlation.chance:.3f})"
    )
