"""The memory that a dry run tells of beside measured memory, and how it follows ranks, sharding and recomputation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from openankh.attention import Documents, attend, relative_bias
from openankh.attention.relative_bias import bias_by_distance
from openankh.corpus import Corpus
from openankh.packed import Packed
from openankh.preparation import PrepareOptions, prepare
from openankh.pretraining.dry_run import Plan, UniRef50Like, dry_run, first_batches
from openankh.pretraining.engine import Engine
from openankh.pretraining.memory_estimate import MemoryEstimate, estimate_memory
from openankh.pretraining.memory_trace import MemoryTrace, without_numbers
from openankh.pretraining.recipes import recipe_named
from openankh.pretraining.trainer import Trainer
from training_samples import tiny_recipe

TESTS = Path(__file__).parent
STEPS = ("total_steps=3", "checkpoint_every=2", "valid_every=100", "warmup_steps=1")
SHAPES = {
    "narrow": (
        "model.d_model=256", "model.d_ff=512", "model.d_kv=32", "model.num_heads=8", "model.num_encoder_layers=3",
        "model.num_decoder_layers=1", "packing.tokens=6144", "packing.crop=256", "optimiser.name=adamw",
    ),
    "wide": (
        "model.d_model=768", "model.d_ff=2048", "model.d_kv=64", "model.num_heads=12", "packing.tokens=1024",
    ),
    "deep": (
        "model.d_model=128", "model.d_ff=256", "model.num_heads=4", "model.num_encoder_layers=8",
        "model.num_decoder_layers=4", "packing.tokens=2048", "packing.crop=256", "optimiser.name=adafactor",
        "dtype=fp32", "accumulation=2",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(5.5, 0.6, 400), 30, 900).astype(int)
    sequences = ("".join(random.choice(list("ACDEFGHIKLMNPQRSTVWY"), length)) for length in lengths)
    (folder / "a.fasta").write_text("".join(f">p{n}\n{sequence}\n" for n, sequence in enumerate(sequences)))
    prepare([folder / "a.fasta"], folder / "corpus", PrepareOptions())
    return folder / "corpus"


@pytest.mark.parametrize("name", SHAPES)
def test_the_estimate_is_within_15_percent_of_the_peak_measured(corpus: Path, tmp_path: Path, name: str) -> None:
    changes = [*SHAPES[name], *STEPS]
    told = dry_run(recipe_named("micro", changes), Plan("cpu"), Corpus.open(corpus)).memory.peak
    command = [sys.executable, str(TESTS / "memory_runs.py"), str(corpus), str(tmp_path / "run"), *changes]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert told == pytest.approx(json.loads(done.stdout)["peak"], rel=0.15)


def of(changes: list[str], **options) -> MemoryEstimate:
    recipe = tiny_recipe(*changes)
    return estimate_memory(recipe, first_batches(recipe, UniRef50Like(recipe.vocab, 500))[0], **options)


def test_what_lasts_is_counted_exactly() -> None:
    for optimiser in ("adafactor", "adamw", "muon"):
        recipe = tiny_recipe(f"optimiser.name={optimiser}")
        trainer = Trainer(recipe, UniRef50Like(recipe.vocab, 50), torch.device("cpu"))
        told = of([f"optimiser.name={optimiser}"])
        assert told.weights == told.gradients == 4 * recipe.model.num_parameters
        assert told.optimiser == sum(tensor.nbytes for tensor in trainer.optimiser.tensors().values())
        assert told.checkpoint == told.weights + told.optimiser


def test_layers_add_up_whatever_their_number() -> None:
    """A deep network's activations, from three shallow ones, are what a trace of the deep one counts."""
    recipe = tiny_recipe("model.num_encoder_layers=5", "model.num_decoder_layers=4")
    batch = first_batches(recipe, UniRef50Like(recipe.vocab, 500))[0]
    told = estimate_memory(recipe, batch).activations
    from openankh.pretraining import memory_estimate

    whole = memory_estimate._traced(recipe, recipe.model, batch, "cpu", False, False)[0]
    assert told == pytest.approx(whole, rel=0.02)


def test_more_tokens_take_more_and_recomputation_less() -> None:
    layers = ["model.num_encoder_layers=6", "model.num_decoder_layers=4"]
    short, long = of([*layers, "packing.tokens=512"]), of([*layers, "packing.tokens=1024"])
    assert 1.7 < long.activations / short.activations < 2.5
    for device in ("cpu", "cuda"):
        kept = of(layers, device=device)
        again = of(layers, device=device, engine=Engine(recompute=True))
        assert again.activations < 0.5 * kept.activations
        assert again.weights == kept.weights


def test_sharding_divides_what_lasts_and_ranks_without_it_hold_gradients_twice() -> None:
    changes = ["model.d_model=64", "model.d_ff=256", "model.num_encoder_layers=16", "accumulation=8"]
    alone, together = of(changes, device="cuda"), of(changes, device="cuda", num_ranks=8)
    shared = of(changes, device="cuda", num_ranks=8, engine=Engine("full"))
    assert together.exchange == alone.gradients and alone.exchange == 0
    assert together.weights == alone.weights
    assert shared.weights == alone.weights // 8 and shared.optimiser == alone.optimiser // 8
    assert shared.exchange < alone.weights
    assert shared.checkpoint == alone.checkpoint, "the first rank writes it whole"


def test_gradients_and_activations_come_one_after_the_other_in_a_step_of_one_batch() -> None:
    one, two = of(["accumulation=1"]), of(["accumulation=2"])
    assert one.activations == two.activations
    assert two.peak - two.library == one.peak - one.library + one.gradients
    assert of(["accumulation=1"], device="cuda").peak < one.peak, "a checkpoint's copy lies in the host's memory"


def test_a_network_made_after_a_trace_has_numbers() -> None:
    with without_numbers():
        bias_by_distance(torch.zeros(8, 2), span=97, max_distance=64, bidirectional=True)
    after = bias_by_distance(torch.zeros(8, 2), span=97, max_distance=64, bidirectional=True)
    assert not isinstance(after.by_distance, FakeTensor)


def test_a_trace_counts_what_is_alive_and_no_more() -> None:
    with without_numbers() as trace:
        kept = torch.zeros(1000, dtype=torch.float32)
        assert trace.num_bytes == 4000
        view = kept[10:].view(-1, 10)
        assert trace.num_bytes == 4000, "a view is no memory"
        passing = kept + 1
        del passing
        assert (trace.num_bytes, trace.peak) == (4000, 8000)
        del kept
        assert trace.num_bytes == 4000, "its view holds it"
        del view
        assert trace.num_bytes == 0
        assert trace.restart() == trace.peak == 0


def test_attention_of_shapes_has_the_shapes_of_attention() -> None:
    documents = Documents.of_lengths([5, 9, 2])
    table = torch.zeros(8, 3, device="meta", requires_grad=True)
    q, k, v = (torch.zeros(16, 3, 4, device="meta", requires_grad=True) for _ in range(3))
    with MemoryTrace() as trace:
        mixed = attend(q, k, v, documents, documents, relative_bias(table, documents, 8, bidirectional=True))
        mixed.sum().backward()
    assert mixed.shape == (16, 3, 4) and trace.peak > 0
    assert q.grad is not None and q.grad.shape == q.shape
    assert table.grad is not None and table.grad.shape == table.shape


def test_estimates_do_not_care_what_the_residues_are() -> None:
    recipe = tiny_recipe()
    batch = first_batches(recipe, UniRef50Like(recipe.vocab, 500))[0]
    assert isinstance(batch.inputs, Packed)
    assert estimate_memory(recipe, batch) == estimate_memory(recipe, batch)
