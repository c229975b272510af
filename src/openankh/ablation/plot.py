"""The plot of an ablation: each experiment's masked-residue loss, and our downstream average beside the paper's."""

from pathlib import Path
from typing import Any

from openankh.ablation.findings import Findings, Row
from openankh.files import atomic_file

_OURS, _CONTROL, _BAND = "#0072B2", "#999999", "#E69F00"


def draw(findings: Findings, path: Path) -> None:
    """Write it as a PNG; the band is what seeds alone make."""
    from matplotlib.figure import Figure

    trained = [row for row in findings.rows if not row.is_control]
    compared = [row for row in trained if row.average is not None and row.paper_average is not None]
    figure = Figure(figsize=(13 if compared else 7, 1.8 + 0.28 * max(len(trained), 10)), dpi=130, layout="constrained")
    axes = figure.subplots(1, 2 if compared else 1, squeeze=False)[0]
    _draw_losses(axes[0], trained, findings)
    if compared:
        _draw_agreement(axes[1], compared, findings)
    figure.suptitle(
        f"Ankh's experiments at {findings.record.budget / 1e12:.3g} TFLOPs each, scale {findings.record.scale}"
    )
    with atomic_file(path) as file:
        figure.savefig(file, format="png")


def _draw_losses(axes: Any, rows: list[Row], findings: Findings) -> None:
    ordered = sorted(rows, key=lambda row: row.masked_loss)
    places = range(len(ordered))
    # One that is far off, such as exp3, would leave no room for the differences between the others.
    best, composition = ordered[0].masked_loss, findings.record.composition_loss
    farthest = best + max(5 * (ordered[len(ordered) // 2].masked_loss - best), 1.5 * (composition - best), 0.01)
    if findings.loss_noise:
        axes.axvspan(
            best,
            best + findings.loss_noise.smallest_difference,
            color=_BAND,
            alpha=0.25,
            label="no more than chance from the best",
        )
    axes.axvline(composition, color=_CONTROL, linestyle="--", label="residue frequencies alone")
    for place, row in zip(places, ordered, strict=True):
        is_beyond = row.masked_loss > farthest
        axes.scatter(min(row.masked_loss, farthest), place, color=_OURS, marker=">" if is_beyond else "o", zorder=2)
        if is_beyond:
            axes.annotate(
                f"{row.masked_loss:.2f}", (farthest, place), (-30, -3), textcoords="offset points", fontsize=8
            )
    axes.legend(loc="lower left", fontsize=8)
    axes.set_yticks(places, [f"{row.name}: {row.what}" for row in ordered], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("masked-residue loss, nats (lower is better)")
    axes.grid(axis="x", alpha=0.3)


def _draw_agreement(axes: Any, rows: list[Row], findings: Findings) -> None:
    noise = findings.average_noise
    axes.errorbar(
        [row.paper_average for row in rows],
        [row.average for row in rows],
        yerr=noise.deviation if noise else None,
        fmt="o", color=_OURS, ecolor=_BAND, capsize=3,
    )  # fmt: skip
    for row in rows:
        axes.annotate(
            row.name.removeprefix("exp"), (row.paper_average, row.average), (5, 4), textcoords="offset points"
        )
    controls = [row for row in findings.rows if row.is_control and row.average is not None]
    for row, style in zip(controls, ("--", ":"), strict=False):
        axes.axhline(row.average, color=_CONTROL, linestyle=style, label=row.what)
    if controls:
        axes.legend(loc="lower right", fontsize=8)
    correlation = findings.average_correlation
    told = (
        f"\nSpearman {correlation.rho:+.2f} ({correlation.low:+.2f} to {correlation.high:+.2f})" if correlation else ""
    )
    axes.set_xlabel("the paper's average, per cent")
    axes.set_ylabel(f"our average of {len(findings.metrics)} probes, per cent")
    axes.set_title(f"Numbers are experiments; bars one standard deviation of seeds{told}", fontsize=9)
    axes.grid(alpha=0.3)
