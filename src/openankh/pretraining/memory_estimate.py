"""What a training step takes of a device's memory, by running the network on tensors without numbers.

Activations are what the network itself keeps, so that no formula has to follow its changes. A network of one encoder
and one decoder layer is run, then one with one layer more of each kind: the rest is their difference, times the layers.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from openankh.config import ModelConfig
from openankh.model import Ankh
from openankh.pretraining.engine import Engine
from openankh.pretraining.filling import filled
from openankh.pretraining.memory_trace import MemoryTrace, without_numbers
from openankh.pretraining.muon import NUMBERS_A_BATCH
from openankh.pretraining.objective_loss import TargetWeights, batch_loss
from openankh.pretraining.optimisers import build_optimiser, is_block_matrix
from openankh.pretraining.pairs import PackedPairs, Pairs
from openankh.pretraining.recipes import Recipe
from openankh.pretraining.recomputation import recompute_layers
from openankh.pretraining.sharding import is_small

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_LAYERS_GATHERED = 2
"""Of weights that are shared out: the layer at work and the one fetched meanwhile."""
_HEAP = 0.35
"""What a CPU's heap holds of freed pieces between those in use, as a share of activations: measured, about."""
_BYTES_A_KERNEL, _MOST_KERNELS = 360_000, 1024
"""Of bf16 products on CPUs: oneDNN keeps a kernel a shape, 1,024 at most; their size is measured, about."""
_BYTES_A_NUMBER_OF_MUON = 14
"""Its step's own: fp32 gradients and updates, and three bf16 matrices between them."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one rank, on its device.

    `activations`: all that a batch needs between its way there and back, copies of weights in the products' type
    included. `exchange`: gradients on their way between ranks, layers gathered from them. `checkpoint`: the copy that a
    checkpoint is written from, which on a GPU lies in the host's memory. `library`, on a CPU: freed pieces that the C
    library keeps between those in use, and oneDNN's kernels, an experience (benchmarks/PRETRAIN_MEMORY.md). `peak` is
    less than the sum of all where activations are gone before gradients are there.
    """

    weights: int
    gradients: int
    optimiser: int
    activations: int
    exchange: int
    checkpoint: int
    library: int
    peak: int


def estimate_memory(
    recipe: Recipe, batch: Pairs, device: str = "cpu", num_ranks: int = 1, engine: Engine | None = None
) -> MemoryEstimate:
    """The memory of steps over batches such as this one, on `device`, "cpu" or "cuda".

    For a CPU the very kernels are counted that run there; for a GPU fused attention, and everything else as if it were
    not compiled, which compiled kernels stay below. Not counted: Python, PyTorch, and what the device's own libraries
    take.
    """
    engine = engine or Engine()
    sharded = num_ranks > 1 and engine.sharding == "full"
    whole = _persistent(recipe)
    split = num_ranks if sharded else 1
    weights, optimiser = whole.weights // split, whole.optimiser // split
    # Ranks share out gradients after the last of a step's batches, and hold all of them until then.
    gradients = whole.weights // (split if recipe.accumulation <= num_ranks else 1)
    activations, num_products = _activations(recipe, batch, device, engine, sharded)
    exchange = _exchange(recipe, num_ranks, sharded)
    checkpoint = whole.weights + whole.optimiser
    kept = weights + optimiser + exchange
    if recipe.accumulation > num_ranks or num_ranks > 1:
        at_work = gradients + activations
    else:
        at_work = max(gradients, activations)
    at_step = gradients + _of_the_optimisers_step(recipe, device)
    library = 0
    if device == "cpu":
        num_kernels = min(num_products * recipe.accumulation * recipe.total_steps, _MOST_KERNELS)
        library = int(_HEAP * activations) + _BYTES_A_KERNEL * num_kernels
    peak = kept + library + max(at_work, at_step) + (checkpoint if device == "cpu" else 0)
    return MemoryEstimate(weights, gradients, optimiser, activations, exchange, checkpoint, library, peak)


@dataclass(frozen=True)
class _Persistent:
    weights: int
    optimiser: int


def _persistent(recipe: Recipe) -> _Persistent:
    with without_numbers():
        model = Ankh(recipe.model)
        tensors = build_optimiser(model, recipe.optimiser).tensors()
        return _Persistent(_num_bytes(model), sum(tensor.nbytes for tensor in tensors.values()))


def _num_bytes(module: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


def _activations(recipe: Recipe, batch: Pairs, device: str, engine: Engine, sharded: bool) -> tuple[int, int]:
    """The most that is alive in one pass beside weights and gradients, and the different shapes of bf16 products."""
    numbers = PackedPairs(batch.inputs, batch.decoder_inputs, batch.targets)
    batch = filled(numbers) if device == "cuda" and engine.compile != "off" else numbers
    shape = recipe.model

    def traced(num_encoder_layers: int, num_decoder_layers: int) -> tuple[int, int]:
        layers = {"num_encoder_layers": num_encoder_layers, "num_decoder_layers": num_decoder_layers}
        return _traced(recipe, replace(shape, **layers), batch, device, engine.recompute, sharded)

    one, num_products = traced(1, 1)
    of_encoder = traced(2, 1)[0] - one if shape.num_encoder_layers > 1 else 0
    of_decoder = traced(1, 2)[0] - one if shape.num_decoder_layers > 1 else 0
    more = (shape.num_encoder_layers - 1) * of_encoder + (shape.num_decoder_layers - 1) * of_decoder
    return one + more, num_products


def _traced(
    recipe: Recipe, shape: ModelConfig, batch: Pairs, device: str, recompute: bool, sharded: bool
) -> tuple[int, int]:
    place = torch.device("cpu" if device == "cpu" else "meta")
    dtype = _DTYPES[recipe.dtype]
    with without_numbers() if device == "cpu" else MemoryTrace() as trace:
        with place:
            model = Ankh(shape)
        if sharded:  # layers are gathered in the type of their products
            for name, parameter in model.named_parameters():
                if ".block." in name and not is_small(name, parameter):
                    parameter.data = parameter.data.to(dtype)
        if recompute:
            recompute_layers(model)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        before = trace.restart()
        weights = TargetWeights(recipe.other_targets, recipe.encoder_loss)
        batch_loss(model, batch, recipe.vocab, weights, dtype, place).weighted.backward()
        return trace.peak - before, len(trace.products)


def _exchange(recipe: Recipe, num_ranks: int, sharded: bool) -> int:
    """What ranks hold of each other's: all gradients once more, or the layers that are gathered just now."""
    if num_ranks == 1:
        return 0
    with torch.device("meta"):
        model = Ankh(recipe.model)
    if not sharded:
        return _num_bytes(model)
    blocks = (*model.encoder.blocks, *model.decoder.blocks)
    largest = max(sum(parameter.numel() for parameter in block.parameters()) for block in blocks)
    outside = sum(p.nbytes for name, p in model.named_parameters() if ".block." not in name)
    width = _DTYPES[recipe.dtype].itemsize
    # Weights and gradients in the products' type, and gradients in fp32 on their way.
    return _LAYERS_GATHERED * largest * (2 * width + 4) + 2 * outside


def _of_the_optimisers_step(recipe: Recipe, device: str) -> int:
    with torch.device("meta"):
        model = Ankh(recipe.model)
    matrices = {name: p.numel() for name, p in model.named_parameters()}
    largest = max(matrices.values())
    if recipe.optimiser.name == "muon":
        of_blocks = sum(p.numel() for name, p in model.named_parameters() if is_block_matrix(name, p))
        return _BYTES_A_NUMBER_OF_MUON * min(max(NUMBERS_A_BATCH[device], largest), of_blocks)
    return 3 * 4 * largest if recipe.optimiser.name == "adafactor" else 0
