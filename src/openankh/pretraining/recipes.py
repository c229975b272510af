"""Named training runs: functions that return everything a run is decided by, as one frozen value.

A setting is changed with `key=value`, dots leading inside (`optimiser.learning_rate=0.01`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from openankh.config import ModelConfig
from openankh.errors import UserError
from openankh.objectives import (
    Continuation,
    Mixture,
    Objective,
    RandomResidues,
    SeveralRates,
    Share,
    Suffix,
    Training,
    has_sentinel_each,
)
from openankh.packed import Packed
from openankh.packing import PackingSettings
from openankh.pretraining.initialisation import Initialisation
from openankh.pretraining.optimisers import OptimiserSettings
from openankh.pretraining.schedule import Schedule
from openankh.pretraining.settings import changed, nearest
from openankh.pretraining.stability import StabilitySettings
from openankh.vocab import Vocab, ankh_vocab, openankh_vocab

VocabularyName = Literal["openankh", "ankh"]
Dtype = Literal["fp32", "bf16"]
VOCABULARIES: dict[str, Callable[[], Vocab]] = {"openankh": openankh_vocab, "ankh": ankh_vocab}

_COUNTS = ("total_steps", "accumulation", "valid_every", "valid_tokens", "checkpoint_every", "keep_checkpoints")
_LEAST = dict.fromkeys(_COUNTS, 1) | {"warmup_steps": 0, "seed": 0, "other_targets": 0.0, "encoder_loss": 0.0}
_LEGAL = {
    "vocabulary": get_args(VocabularyName),
    "dtype": get_args(Dtype),
    "initialisation": get_args(Initialisation),
}


@dataclass(frozen=True)
class Recipe:
    """A pre-training run.

    A step is `accumulation` batches; loss is averaged over all their targets. `other_targets` is what a sentinel or
    `</s>` among the targets counts beside a residue's 1, `encoder_loss` what the encoder's own guess of a hidden
    residue counts (published: 1 and 0). With a time budget `total_steps` is replaced by what fits into it. Counts
    ending in `_every` are steps; `valid_tokens` is how many encoder tokens a validation reads. `pieces` are those of a
    vocabulary that has no name, taken from the model a run begins with.
    """

    name: str
    model: ModelConfig
    vocabulary: VocabularyName = "openankh"
    pieces: tuple[str, ...] = ()
    objective: Training = field(default_factory=Objective)
    packing: PackingSettings = field(default_factory=PackingSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    schedule: Schedule = field(default_factory=Schedule)
    stability: StabilitySettings = field(default_factory=StabilitySettings)
    total_steps: int = 10_000
    warmup_steps: int = 100
    accumulation: int = 1
    clip_norm: float = 1.0
    other_targets: float = 1.0
    encoder_loss: float = 0.0
    initialisation: Initialisation = "published"
    dtype: Dtype = "bf16"
    seed: int = 0
    valid_every: int = 500
    valid_tokens: int = 200_000
    checkpoint_every: int = 500
    keep_checkpoints: int = 3

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if not least <= getattr(self, name):
                raise UserError(f"{name} is {getattr(self, name)}, but must be at least {least}")
        if not self.clip_norm > 0:
            raise UserError(f"clip_norm is {self.clip_norm}, but must be above 0 (inf clips nothing)")
        for name, legal in _LEGAL.items():
            if getattr(self, name) not in legal:
                raise UserError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(legal)}")
        if self.seed >= 2**63:
            raise UserError(f"seed is {self.seed}, but must be below 2**63")
        self._check_model()

    def _check_model(self) -> None:
        """The model can show what the objective makes of the longest crop."""
        if self.model.vocab_size < self.vocab.size:
            raise UserError(f"model.vocab_size is {self.model.vocab_size}, but vocabulary has {self.vocab.size} pieces")
        if self.model.num_decoder_layers < 1:
            raise UserError("model.num_decoder_layers is 0, but training needs a decoder: give at least 1")
        longest = Packed.join([np.full(self.packing.crop, self.vocab.residue_ids[0])])
        for objective in self.objectives:
            examples = objective.examples(longest, self.vocab, np.random.default_rng(0))
            if self.encoder_loss and not has_sentinel_each(examples, self.vocab):
                raise UserError(
                    f"encoder_loss is {self.encoder_loss}, but objective {objective.name!r} does not show each hidden "
                    "residue as a sentinel of its own; set it to 0"
                )

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is trained, and what a validation measures one by one."""
        return self.objective.tasks

    @property
    def vocab(self) -> Vocab:
        """The vocabulary the model is trained with."""
        return Vocab(self.pieces) if self.pieces else VOCABULARIES[self.vocabulary]()


def nano() -> Recipe:
    """The bundled model: what two CPU cores can learn in an hour or two.

    Command: openankh pretrain nano --corpus CORPUS --out RUN --minutes 52 --threads 1. Hardware: one CPU core.
    What came of it stands in the bundled model's card.
    """
    return Recipe(
        name="nano",
        model=ModelConfig(
            vocab_size=256, d_model=192, d_ff=512, d_kv=32, num_heads=6, num_encoder_layers=8, num_decoder_layers=2
        ),
        objective=Objective(mask=RandomResidues(0.20)),
        packing=PackingSettings(tokens=2048, crop=256, length_multiple=32),
        optimiser=OptimiserSettings(
            "muon", learning_rate=3e-3, matrix_learning_rate=0.01, query_rate=0.125, weight_decay=0.01
        ),
        schedule=Schedule("wsd", decay_share=0.5, final_factor=0.02),
        warmup_steps=50,
        other_targets=0.1,
        encoder_loss=0.25,
        initialisation="eager",
        valid_every=1000,
        valid_tokens=150_000,
        checkpoint_every=250,
    )


def nano_mixture() -> Recipe:
    """The bundled model's second schooling: denoising at several rates, and completion (Ankh3 paper).

    Command: openankh pretrain nano_mixture --corpus CORPUS --out RUN --init openankh-nano --minutes 100 --threads 1.
    Hardware: one CPU core. One protein in five is completed: its target is twice as long as that of a denoised one, and
    embedding is what the model is for. The cut is drawn between a quarter and three quarters, so that a prompt of any
    length is something it knows.
    """
    return replace(
        nano(),
        name="nano_mixture",
        objective=denoising_and_completion(completion=0.25, cut=(0.25, 0.75)),
        schedule=Schedule("wsd", decay_share=0.6, final_factor=0.01),
    )


def denoising_and_completion(completion: float = 1.0, cut: tuple[float, float] = (0.5, 0.5)) -> Mixture:
    """Ankh3's two tasks: denoising at several rates behind `[NLU]`, completion behind `[S2S]` (Ankh3 paper).

    `completion` is the weight of the second beside 1 of the first (the paper does not tell it), `cut` the range of
    shares of a protein from which the cut is drawn.
    """
    denoising = Objective("denoising", SeveralRates(), prefix="[NLU]")
    completing = Objective("completion", Suffix(*cut), Continuation(), prefix="[S2S]")
    return Mixture((Share(denoising), Share(completing, completion)))


def nano_gpu() -> Recipe:
    """As the bundled model, for one GPU: 14,755,840 parameters, 28.1 MiB in bf16, batches of 65,408 tokens.

    Command: openankh pretrain nano_gpu --corpus CORPUS --out RUN --minutes 30. Hardware: one GPU with bf16. Its rates
    are those of nano, not tuned for the larger batch.
    """
    return replace(
        nano(),
        name="nano_gpu",
        model=ModelConfig(
            vocab_size=256, d_model=320, d_ff=768, d_kv=32, num_heads=10, num_encoder_layers=10, num_decoder_layers=2
        ),
        packing=PackingSettings(tokens=65_408, crop=512, length_multiple=32),
        warmup_steps=200,
        valid_every=2000,
        valid_tokens=1_000_000,
        checkpoint_every=1000,
        keep_checkpoints=1,
    )


def micro() -> Recipe:
    """A minute's run to see that all works: seconds a hundred steps on one CPU core; learns the composition, no more.

    Command: openankh pretrain micro --corpus CORPUS --out RUN.
    """
    return Recipe(
        name="micro",
        model=ModelConfig(
            vocab_size=256, d_model=64, d_ff=128, d_kv=32, num_heads=2, num_encoder_layers=2, num_decoder_layers=1
        ),
        packing=PackingSettings(tokens=1024, crop=128),
        optimiser=OptimiserSettings("muon", learning_rate=5e-3),
        schedule=Schedule("wsd"),
        total_steps=200,
        warmup_steps=10,
        initialisation="eager",
        valid_every=100,
        valid_tokens=20_000,
        checkpoint_every=100,
    )


def small() -> Recipe:
    """One GPU, an afternoon: 55,857,152 parameters, denoising and completion together, one epoch of UniRef50.

    Command: openankh pretrain small --corpus CORPUS --out RUN. Hardware: one GPU of 24 GB with bf16. Tokens: 15.4 B.
    Cost: 3.4 GPU hours of an H100 at 40 % utilisation (arithmetic, not measured). Rates, schedule and stabilisers are
    those of `nano`, the rates halved for a width 2.7 times as large.
    """
    rates = replace(nano().optimiser, learning_rate=1.5e-3, matrix_learning_rate=0.005)
    return replace(
        nano_gpu(),
        name="small",
        model=ModelConfig(
            vocab_size=256, d_model=512, d_ff=1408, d_kv=64, num_heads=8, num_encoder_layers=12, num_decoder_layers=4
        ),
        objective=denoising_and_completion(completion=0.25, cut=(0.25, 0.75)),
        packing=PackingSettings(tokens=32_768, crop=512),
        optimiser=rates,
        accumulation=8,
        total_steps=66_000,
        warmup_steps=1000,
        keep_checkpoints=3,
    )


def ankh_base() -> Recipe:
    """The published Ankh base: 736,453,632 parameters, 1-gram span partial demasking at 20 %, Adafactor (Ankh paper).

    Command: openankh pretrain ankh_base --corpus UNIREF50 --out RUN. Hardware: GPUs of 80 GB, 1 to 32 of
    them. Tokens: 942 B, 68 epochs of whole proteins. Cost: 2,446 GPU hours of an H100 at 40 % utilisation (arithmetic,
    not measured).
    """
    shape = ModelConfig(
        vocab_size=144, d_model=768, d_ff=3072, d_kv=64, num_heads=12, num_encoder_layers=48, num_decoder_layers=24
    )
    return _published("ankh_base", shape, learning_rate=4e-3, proteins_a_step=1536)


def ankh_large() -> Recipe:
    """The published Ankh large: 1,878,705,152 parameters, otherwise as the base with a lower rate (Ankh paper).

    Command: openankh pretrain ankh_large --corpus UNIREF50 --out RUN. Hardware: GPUs of 80 GB, 1 to 32 of
    them. Tokens: 944 B, 68 epochs of whole proteins. Cost: 6,094 GPU hours of an H100 at 40 % utilisation (arithmetic,
    not measured).
    """
    return _published("ankh_large", _LARGE, learning_rate=2e-3, proteins_a_step=1024)


def ankh2_large() -> Recipe:
    """The published Ankh2: Ankh large with gated silu, trained on from its weights for 45 epochs (1,878,705,152).

    Command: openankh pretrain ankh2_large --corpus UNIREF50 --out RUN --init ankh-large. Hardware: as
    ankh_large. Tokens: 625 B. Cost: 4,033 GPU hours of an H100 at 40 % utilisation (arithmetic, not measured). Its rate
    and batch are not told: they are ankh_large's, whose warm-up serves the fresh optimiser.
    """
    shape = replace(_LARGE, activation="silu")
    return _published("ankh2_large", shape, learning_rate=2e-3, proteins_a_step=1024, epochs=45)


def ankh3_large() -> Recipe:
    """The published Ankh3 large: 1,879,049,216 parameters, denoising and completion together (Ankh3 paper).

    Command: openankh pretrain ankh3_large --corpus UNIREF50 --out RUN. Hardware: GPUs of 80 GB, 1 to 32 of
    them. Tokens: 685 B of the encoder, 68 epochs of whole proteins. Cost: 4,828 GPU hours of an H100 at 40 %
    utilisation (arithmetic, not measured). The paper does not tell rate, batch, steps, mixing ratio or cut: the first
    three are ankh_large's, the tasks equally frequent, the cut in the middle as in the examples; all are settings.
    """
    shape = replace(_LARGE, vocab_size=256, activation="silu")
    return _ankh3("ankh3_large", shape, learning_rate=2e-3)


def ankh3_xl() -> Recipe:
    """The published Ankh3 XL: 5,730,907,136 parameters, otherwise as ankh3_large with a lower rate (Ankh3 paper).

    Command: openankh pretrain ankh3_xl --corpus UNIREF50 --out RUN. Hardware: up to 32 GPUs of 80 GB, with
    --recompute, or more memory. Tokens: 685 B of the encoder, 68 epochs of whole proteins. Cost: 14,600 GPU hours of an
    H100 at 40 % utilisation (arithmetic, not measured). Its feed-forward and head widths are inferred from its size;
    its rate halves that of the large model, as that halves the base's.
    """
    shape = ModelConfig(
        vocab_size=256, d_model=2560, d_ff=6720, d_kv=64, num_heads=32, num_encoder_layers=48, num_decoder_layers=24,
        activation="silu",
    )  # fmt: skip
    return _ankh3("ankh3_xl", shape, learning_rate=1e-3)


_LARGE = ModelConfig(
    vocab_size=144, d_model=1536, d_ff=3840, d_kv=64, num_heads=16, num_encoder_layers=48, num_decoder_layers=24
)
_TOKENS_A_PROTEIN = 312
"""Of UniRef50: 14 B residues of 45 M proteins (Ankh paper), and `</s>`. Batches are counted in proteins there."""


def _ankh3(name: str, model: ModelConfig, learning_rate: float) -> Recipe:
    published = _published(name, model, learning_rate, proteins_a_step=1024)
    return replace(published, objective=denoising_and_completion())


def _published(name: str, model: ModelConfig, learning_rate: float, proteins_a_step: int, epochs: int = 68) -> Recipe:
    """As in the Ankh paper; a step's tokens are those of its batch of proteins, in 32 parts."""
    accumulation = 32
    return Recipe(
        name=name,
        model=model,
        vocabulary="ankh" if model.vocab_size == 144 else "openankh",
        objective=Objective(mask=RandomResidues(0.20), prefix=None),
        packing=PackingSettings(tokens=proteins_a_step * _TOKENS_A_PROTEIN // accumulation, crop=512),
        optimiser=OptimiserSettings("adafactor", learning_rate=learning_rate),
        schedule=Schedule("linear"),
        total_steps=epochs * 45_000_000 // proteins_a_step,
        warmup_steps=10_000,
        accumulation=accumulation,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "micro": micro,
    "nano": nano,
    "nano_mixture": nano_mixture,
    "nano_gpu": nano_gpu,
    "small": small,
    "ankh_base": ankh_base,
    "ankh_large": ankh_large,
    "ankh2_large": ankh2_large,
    "ankh3_large": ankh3_large,
    "ankh3_xl": ankh3_xl,
}


def recipe_named(name: str, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of that name with `key=value` changes; UserError names the nearest legal name or key."""
    if name not in RECIPES:
        raise UserError(f"no recipe {name!r}{nearest(name, list(RECIPES))}; recipes: {', '.join(RECIPES)}")
    return changed(RECIPES[name](), changes)


def to_json(value: Any) -> Any:
    """A recipe, or any of its parts, as JSON values; a part that could be of several kinds tells its own."""
    if is_dataclass(value):
        return {"kind": type(value).__name__} | {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return [to_json(part) for part in value] if isinstance(value, tuple) else value


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """The dotted keys in which two `to_json` values differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted(ours.keys() | theirs.keys())
        return [d for key in keys for d in differences(ours.get(key), theirs.get(key), f"{path}.{key}".lstrip("."))]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [d for n, pair in enumerate(zip(ours, theirs, strict=True)) for d in differences(*pair, f"{path}.{n}")]
    return [] if ours == theirs else [path]
