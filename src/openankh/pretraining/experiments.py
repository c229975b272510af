"""The experiments of the Ankh paper as values: what each changes, the average it reached, and its recipe at a scale.

Each stands on the choice before it, as in the paper: masking first (36 encoder and 36 decoder layers), then its rate,
layers, activation, relative positions, tied embeddings, data. Where sources give a change but not what else it took to
keep the number of parameters (experiments 14 and 15), the change alone is made.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from openankh.config import ModelConfig
from openankh.errors import UserError
from openankh.objectives import (
    DistinctResidues,
    FullReconstruction,
    Mask,
    MaskedAlone,
    MergedSpans,
    NGrams,
    Objective,
    PartialDemasking,
    Presentation,
    RandomResidues,
)
from openankh.packing import PackingSettings
from openankh.pretraining.optimisers import OptimiserSettings
from openankh.pretraining.recipes import Recipe
from openankh.pretraining.schedule import Schedule
from openankh.pretraining.settings import nearest

Scale = Literal["tiny", "small", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)
Identity = Literal["50", "90", "100"]
"""Per cent of identity at which the corpus is clustered, one protein a cluster; at 100, all proteins."""


@dataclass(frozen=True)
class Experiment:
    """One of the paper's experiments.

    `average` is what the paper measured over its tasks, per cent; None for what it speaks of without a number of its
    own. `epochs` are those of the paper's run.
    """

    number: int
    what: str
    average: float | None
    recipe: Recipe
    identity: Identity = "50"
    epochs: int = 2

    @property
    def name(self) -> str:
        """`exp0` to `exp23`."""
        return f"exp{self.number}"


@dataclass(frozen=True)
class _Shape:
    """What the experiments say of the network."""

    encoder_layers: int = 36
    decoder_layers: int = 36
    d_model: int = 768
    d_ff: int = 3072
    activation: Literal["gelu", "silu", "relu"] = "gelu"
    gated: bool = True
    distance: int = 128
    buckets: int = 32
    tied: bool = False


_BEST_LAYERS = _Shape(48, 24)
_BEST_POSITIONS = replace(_BEST_LAYERS, buckets=64)


@dataclass(frozen=True)
class _Row:
    average: float | None
    what: str
    mask: Mask
    presentation: Presentation
    shape: _Shape
    identity: Identity = "50"
    epochs: int = 2


def _masking(average: float, what: str, mask: Mask, presentation: Presentation) -> _Row:
    return _Row(average, what, mask, presentation, _Shape())


def _shaped(average: float | None, what: str, shape: _Shape, identity: Identity = "50", epochs: int = 2) -> _Row:
    return _Row(average, what, RandomResidues(0.20), PartialDemasking(), shape, identity, epochs)


_ROWS: tuple[_Row, ...] = (
    _masking(64.0, "random 15 %, full reconstruction", RandomResidues(0.15), FullReconstruction()),
    _masking(
        65.0, "each distinct residue at least once, full reconstruction", DistinctResidues(), FullReconstruction()
    ),
    _masking(58.1, "3-grams, full reconstruction", NGrams(), FullReconstruction()),
    _masking(56.1, "as 1, masked residues alone reconstructed", DistinctResidues(), MaskedAlone()),
    _masking(67.9, "1-gram span partial demasking, 15 %", RandomResidues(0.15), PartialDemasking()),
    _masking(63.5, "as 1, span partial demasking", DistinctResidues(), PartialDemasking()),
    _masking(65.4, "as 4, neighbouring masked residues merged (T5 spans)", RandomResidues(0.15), MergedSpans()),
    _masking(66.7, "as 4, 10 %", RandomResidues(0.10), PartialDemasking()),
    _masking(67.1, "as 4, 20 % (chosen)", RandomResidues(0.20), PartialDemasking()),
    _masking(67.0, "as 4, 30 %", RandomResidues(0.30), PartialDemasking()),
    _shaped(67.7, "54 encoder, 18 decoder layers", _Shape(54, 18)),
    _shaped(67.8, "48 encoder, 24 decoder layers (chosen)", _BEST_LAYERS),
    _shaped(66.8, "24 encoder, 48 decoder layers", _Shape(24, 48)),
    _shaped(67.4, "width for depth: 24 and 12 layers, width 1024", _Shape(24, 12, d_model=1024, d_ff=4864)),
    _shaped(65.3, "ReLU, 62 and 11 layers", _Shape(62, 11, activation="relu", gated=False)),
    _shaped(66.3, "ReLU, 48 and 24 layers", replace(_BEST_LAYERS, activation="relu", gated=False)),
    _shaped(67.7, "relative distance 256, 32 buckets", replace(_BEST_LAYERS, distance=256)),
    _shaped(68.2, "relative distance 64, 32 buckets", replace(_BEST_LAYERS, distance=64)),
    _shaped(63.7, "relative distance 64, 64 buckets", replace(_BEST_LAYERS, distance=64, buckets=64)),
    _shaped(67.8, "relative distance 64, 16 buckets", replace(_BEST_LAYERS, distance=64, buckets=16)),
    _shaped(68.6, "relative distance 128, 64 buckets (chosen)", _BEST_POSITIONS),
    _shaped(67.8, "relative distance 256, 128 buckets", replace(_BEST_LAYERS, distance=256, buckets=128)),
    _shaped(67.6, "tied embeddings", replace(_BEST_POSITIONS, tied=True)),
    _shaped(67.2, "clusters at 90 % identity, 1 epoch", _BEST_POSITIONS, identity="90", epochs=1),
    _shaped(None, "gated silu (Ankh2's choice)", replace(_BEST_POSITIONS, activation="silu")),
    _shaped(None, "all proteins, whatever their identity, 1 epoch", _BEST_POSITIONS, identity="100", epochs=1),
)
"""The paper's 24 by their numbers; behind them two choices that it or its successor names without an average."""


def experiments(scale: Scale = "paper") -> tuple[Experiment, ...]:
    """All experiments at one scale: `paper` as published, the others for what one GPU or two CPU cores can do."""
    return tuple(
        Experiment(number, row.what, row.average, _recipe(number, row, scale), row.identity, row.epochs)
        for number, row in enumerate(_ROWS)
    )


def experiment_named(name: str, scale: Scale = "paper") -> Experiment:
    """The experiment `exp0` to `exp25`, or its number; UserError names the nearest."""
    known = {each.name: each for each in experiments(scale)}
    wanted = f"exp{name}" if name.isdigit() else name
    if wanted not in known:
        raise UserError(f"no experiment {name!r}{nearest(wanted, list(known))}; they are exp0 to exp{len(known) - 1}")
    return known[wanted]


def _recipe(number: int, row: _Row, scale: Scale) -> Recipe:
    """The experiment's recipe, its vocabulary ours: 116 sentinels do not suffice for 30 % of 512 residues."""
    make = {"tiny": _tiny, "small": _small, "paper": _paper}[scale]
    objective = Objective(row.what, row.mask, row.presentation)
    return replace(make(row), name=f"exp{number}", objective=objective)


def _paper(row: _Row) -> Recipe:
    """As published: Adafactor, rate 1e-2, batches of 1,536 crops of 512 residues, 45 M proteins an epoch at 50 %."""
    return Recipe(
        name="",
        model=_model(row.shape, width=768, feed_forward=3072, head_width=64, layer_share=1),
        packing=PackingSettings(tokens=32 * 514, crop=512),
        optimiser=OptimiserSettings("adafactor", learning_rate=1e-2),
        schedule=Schedule("linear"),
        total_steps=row.epochs * 45_000_000 // 1536,
        warmup_steps=10_000,
        accumulation=1536 // 32,
    )


def _small(row: _Row) -> Recipe:
    """A third of the layers, a third of the width: an hour of one GPU each."""
    return replace(
        _tiny(row),
        model=_model(row.shape, width=256, feed_forward=768, head_width=32, layer_share=3),
        packing=PackingSettings(tokens=32_768, crop=512),
        total_steps=8_000,
        warmup_steps=200,
        valid_every=2_000,
        valid_tokens=500_000,
    )


def _tiny(row: _Row) -> Recipe:
    """A sixth of the layers, an eighth of the width: minutes of one CPU core each.

    All begin with weights that favour matching sentinels where there are any (see `initialise`), or a run this short
    would end before the decoder reads the encoder.
    """
    return Recipe(
        name="",
        model=_model(row.shape, width=96, feed_forward=256, head_width=32, layer_share=6),
        packing=PackingSettings(tokens=2048, crop=128, length_multiple=16),
        optimiser=OptimiserSettings("muon", learning_rate=5e-3, matrix_learning_rate=0.02, query_rate=0.125),
        schedule=Schedule("wsd", decay_share=0.6, final_factor=0.02),
        total_steps=600,
        warmup_steps=20,
        initialisation="eager",
        valid_every=600,
        valid_tokens=100_000,
        checkpoint_every=100,
    )


def _model(shape: _Shape, width: int, feed_forward: int, head_width: int, layer_share: int) -> ModelConfig:
    """The network of a shape, its layers divided by `layer_share`, its width brought from 768 to `width`."""
    d_model = shape.d_model * width // 768
    return ModelConfig(
        vocab_size=256,
        d_model=d_model,
        d_ff=shape.d_ff * feed_forward // 3072 // 8 * 8,
        d_kv=head_width,
        num_heads=d_model // head_width,
        num_encoder_layers=round(shape.encoder_layers / layer_share),
        num_decoder_layers=round(shape.decoder_layers / layer_share),
        activation=shape.activation,
        gated=shape.gated,
        relative_buckets=shape.buckets,
        relative_distance=shape.distance,
        tied_head=shape.tied,
    )
