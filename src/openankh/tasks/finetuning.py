"""From labelled proteins to an artifact: rows computed once, a head trained for each seed, the best one kept."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.lookup.protein_embedder import ProteinEmbedder, load_protein_embedder
from openankh.lookup.vector_kind import ModelAccess, VectorKind
from openankh.lookup.watching import SILENT, Watcher
from openankh.precision import Precision
from openankh.store import Pool
from openankh.tasks.artifact import Adapter, Artifact, Origin, require_same_rows, save_artifact
from openankh.tasks.cached_states import STORED, CachedStates, RowSource, cached_states
from openankh.tasks.evaluation import Measured
from openankh.tasks.examples import TaskData
from openankh.tasks.fitting import Epoch, FitOptions, Fitted, encoder_rate, fit_head, measure, peak_rate
from openankh.tasks.heads.head import HeadConfig, HeadName, HeadPool
from openankh.tasks.lora import LoraConfig
from openankh.tasks.predicting import Predictions
from openankh.tasks.predictor import Predictor, row_pool
from openankh.tasks.tuned_encoder import MergedEncoder, TunedEncoder

_PROBES = 16
"""Proteins whose logits are compared after an artifact was read back."""


@dataclass(frozen=True)
class HeadChoice:
    """Which head; what it leaves open the task and the model decide."""

    name: HeadName = "convbert"
    pool: HeadPool | None = None
    hidden: int = 256
    dropout: float = 0.2

    def config(self, data: TaskData, width: int) -> HeadConfig:
        """The head's shape for this task on rows of this width."""
        if not data.task.is_trained:
            raise UserError(f"{data.task.name}: is answered by nearest neighbours, nothing is trained; use search cath")
        outputs = data.space.num_outputs
        return HeadConfig(self.name, data.task.unit, width, outputs, self.pool, self.hidden, self.dropout)


@dataclass(frozen=True)
class BaseModel:
    """Whose rows are read: the model, its layer, how it is loaded, and where rows are kept."""

    name: str
    layer: int = -1
    options: EmbedOptions = field(default_factory=EmbedOptions)
    access: ModelAccess = field(default_factory=ModelAccess)
    cache: Path | None = None

    def load(self, pool: Pool) -> ProteinEmbedder:
        """The model, ready to make these rows."""
        options = replace(self.options, pool=pool, layer=self.layer, dtype=self.options.dtype or STORED)
        return load_protein_embedder(VectorKind(self.name, options), self.access)


@dataclass(frozen=True, eq=False)
class Finetuned:
    """An artifact, and what each seed came to: the validation metric of its best epoch."""

    artifact: Artifact
    fitted: Fitted
    valid_scores: Mapping[int, float]


OnEpoch = Callable[[int, Epoch, int], None]
"""Called after each epoch with the seed, the epoch, and how many epochs there may be."""


def states_of(data: TaskData, choice: HeadChoice, base: BaseModel, watcher: Watcher = SILENT) -> CachedStates:
    """The rows of all proteins of a task that a head needs, from the cache or computed into it."""
    model = base.load(row_pool(choice.config(data, width=1)))
    sequences = (sequence for examples in data.splits.values() for sequence in examples.sequences)
    return cached_states(sequences, data.task.name, model, base.cache, watcher)


def finetune(
    data: TaskData,
    choice: HeadChoice,
    states: RowSource,
    options: FitOptions | None = None,
    seeds: tuple[int, ...] = (0,),
    on_epoch: OnEpoch = lambda seed, epoch, num_epochs: None,
) -> Finetuned:
    """Train a head for each seed and keep the one that validation finds best; all its metrics are measured then."""
    options = options or FitOptions()
    config = choice.config(data, states.preprocessing.width)
    best = _best(config, data, lambda seed: states, options, seeds, on_epoch)
    return _finetuned(data, options, best, states)


def finetune_lora(
    data: TaskData,
    choice: HeadChoice,
    base: BaseModel,
    lora: LoraConfig,
    options: FitOptions | None = None,
    seeds: tuple[int, ...] = (0,),
    on_epoch: OnEpoch = lambda seed, epoch, num_epochs: None,
) -> tuple[Finetuned, MergedEncoder]:
    """Train a head together with LoRA in the encoder; beside it the encoder with that merged in.

    All is measured as it will be used, with the merged encoder. Weights are in fp32, products in fp32 or, where the
    base's precision is bf16, in that.
    """
    return _finetune_encoder(data, choice, base, lora, options or FitOptions(), seeds, on_epoch)


def finetune_full(
    data: TaskData,
    choice: HeadChoice,
    base: BaseModel,
    options: FitOptions | None = None,
    seeds: tuple[int, ...] = (0,),
    on_epoch: OnEpoch = lambda seed, epoch, num_epochs: None,
) -> tuple[Finetuned, MergedEncoder]:
    """Train a head together with the whole encoder, which learns at a rate of its own; numbers as for LoRA."""
    return _finetune_encoder(data, choice, base, None, options or FitOptions(), seeds, on_epoch)


def _finetune_encoder(
    data: TaskData,
    choice: HeadChoice,
    base: BaseModel,
    lora: LoraConfig | None,
    options: FitOptions,
    seeds: tuple[int, ...],
    on_epoch: OnEpoch,
) -> tuple[Finetuned, MergedEncoder]:
    assert seeds, "at least one seed"
    precision = _training_precision(base)

    def tuned(seed: int) -> TunedEncoder:
        return TunedEncoder(base.name, lora, base.access, seed, precision)

    first = tuned(seeds[0])
    options = replace(options, device=str(first.loaded.device))
    config = choice.config(data, first.preprocessing.width)
    best = _best(config, data, lambda seed: first if seed == seeds[0] else tuned(seed), options, seeds, on_epoch)
    assert isinstance(best.states, TunedEncoder)
    merged = best.states.merged()
    adapter = Adapter(lora, merged.weights) if lora else None
    made = _finetuned(data, options, best, merged, adapter)
    if lora is None:
        made = replace(made, artifact=replace(made.artifact, encoder=merged.embedder))
    return made, merged


def _training_precision(base: BaseModel) -> Precision:
    """In what products are formed; UserError for what an encoder cannot be trained in."""
    if base.layer != -1:
        raise UserError(f"layer {base.layer}: where the encoder learns the head reads the last layer; omit --layer")
    if base.options.precision not in ("auto", "fp32", "bf16"):
        raise UserError(f"precision {base.options.precision}: encoders are trained in fp32 or bf16; name one of them")
    return "bf16" if base.options.precision == "bf16" else "fp32"


def save_finetuned(finetuned: Finetuned, folder: Path, data: TaskData, states: RowSource) -> None:
    """Write the artifact, checked on some validation proteins to say the same, bit for bit, when it is read back.

    Where the encoder learned too, that is checked from the sequence on, with the model loaded anew.
    """
    sequences = data.valid.sequences[:_PROBES]

    def check(reloaded: Artifact) -> None:
        if isinstance(states, MergedEncoder):
            embedder = Predictions.load(reloaded, ModelAccess(str(states.embedder.device), offline=True)).embedder
            again = MergedEncoder(embedder, states.weights, states.preprocessing)
            for sequence in sequences:
                require_same_rows(states.rows(sequence), again.rows(sequence))

    save_artifact(finetuned.artifact, folder, tuple(map(states.rows, sequences)), check)


@dataclass(frozen=True, eq=False)
class _Best:
    """The seed that validation finds best, and the score of each."""

    seed: int
    fitted: Fitted
    states: RowSource
    scores: Mapping[int, float]


def _best(
    config: HeadConfig,
    data: TaskData,
    states_of_seed: Callable[[int], RowSource],
    options: FitOptions,
    seeds: tuple[int, ...],
    on_epoch: OnEpoch,
) -> _Best:
    assert seeds, "at least one seed"
    scores: dict[int, float] = {}
    best: _Best | None = None
    for seed in seeds:

        def told(epoch: Epoch, num_epochs: int, seed: int = seed) -> None:
            on_epoch(seed, epoch, num_epochs)

        states = states_of_seed(seed)
        fitted = fit_head(config, data, states, replace(options, seed=seed), told)
        scores[seed] = fitted.valid_score
        if best is None or fitted.valid_score > scores[best.seed] or math.isnan(scores[best.seed]):
            best = _Best(seed, fitted, states, scores)
    assert best is not None
    return best


def _finetuned(
    data: TaskData, options: FitOptions, best: _Best, states: RowSource, adapter: Adapter | None = None
) -> Finetuned:
    """The best head, measured on the rows it will be used on."""
    predictor = best.fitted.predictor
    metrics = metrics_of(predictor, data, states)
    origin = origin_of(data, _training(options, best, adapter.config if adapter else None))
    artifact = Artifact(predictor, states.preprocessing, origin, metrics, adapter=adapter)
    return Finetuned(artifact, best.fitted, best.scores)


def metrics_of(predictor: Predictor, data: TaskData, states: RowSource) -> dict[str, Any]:
    """All metrics of the validation split and the tests, {split: {metric: interval}} as JSON keeps them."""
    return {split: intervals_by_name(measured) for split, measured in measure(predictor, data, states).items()}


def intervals_by_name(measured: tuple[Measured, ...]) -> dict[str, dict[str, float | int | None]]:
    """Intervals by metric, as JSON keeps them; null where a value is not a number."""
    return {
        each.name: {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(each.interval).items()
        }
        for each in measured
    }


def _training(options: FitOptions, best: _Best, lora: LoraConfig | None) -> dict[str, Any]:
    """How a head was trained, and what each seed came to."""
    is_tuned = isinstance(best.states, TunedEncoder)
    training: dict[str, Any] = {
        **(
            {} if lora is None else {"lora_r": lora.r, "lora_alpha": lora.alpha, "lora_targets": ",".join(lora.targets)}
        ),
        "seed": best.seed,
        "best_epoch": best.fitted.best_epoch,
        "epochs": len(best.fitted.history),
        "batch_size": options.batch_size,
        "learning_rate": peak_rate(options, best.fitted.predictor.config, is_tuned),
        **({"encoder_rate": encoder_rate(options, best.fitted.predictor.config, lora is None)} if is_tuned else {}),
        "weight_decay": options.weight_decay,
        "class_weights": options.class_weights,
        "longest": options.longest,
        "standardise": options.standardise,
    }
    if len(best.scores) > 1:
        training["valid_by_seed"] = {
            str(each): None if math.isnan(score) else round(score, 4) for each, score in best.scores.items()
        }
    return training


def origin_of(data: TaskData, training: Mapping[str, Any]) -> Origin:
    """What was learned, and how."""
    splits = {name: len(examples) for name, examples in data.splits.items()}
    task = data.task
    return Origin(task.name, task.title, task.citation, data.fingerprint, splits, training, data.notes)
