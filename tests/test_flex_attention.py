"""FlexAttention, run eagerly on the CPU, gives what the other kernels give: values, gradients, whole training steps."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import flex_attention as flex_module

from attention_reference import reference_attention
from openankh import attention
from openankh.attention import Documents, flex
from openankh.attention.dense import dense_attention
from openankh.attention.flex import flex_packed_attention
from openankh.attention.hankel import hankel_attention
from openankh.attention.relative_bias import bias_by_distance
from openankh.pretraining import objective_loss
from openankh.pretraining.objective_loss import TargetWeights, batch_loss
from openankh.pretraining.trainer import Trainer
from test_attention import DISTANCE, draw, draw_table, relative_error
from training_samples import sample_corpus, tiny_recipe

LENGTHS = [5, 1, 33, 33, 150, 300]
QUERY_LENGTHS = [2, 7, 7, 1, 60, 129]


pytestmark = [
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning"),
    # Raised and dropped inside torch.compile.
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # PyTorch refuses gradients on CPUs for want of a fast kernel; the slow one it has, which is the definition.
    monkeypatch.setattr(flex_module, "_validate_device", lambda *tensors: None)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def gradients(values: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(4))
    return list(torch.autograd.grad((values * weights).sum(), inputs, retain_graph=True))


def assert_alike(ours: Tensor, truth: Tensor, inputs: list[Tensor]) -> None:
    assert relative_error(ours, truth) < 1e-6
    for one, other in zip(gradients(ours, inputs), gradients(truth, inputs), strict=True):
        assert relative_error(one, other) < 3e-6


@pytest.mark.parametrize("causal", [False, True])
def test_documents_of_mixed_lengths_with_bias_equal_the_definition_and_the_kernels(causal: bool) -> None:
    documents, table = Documents.of_lengths(LENGTHS), draw_table()
    inputs = q, k, v = [draw(documents.num_tokens, seed) for seed in range(3)]
    short = bias_by_distance(table, DISTANCE + 1, DISTANCE, bidirectional=not causal)
    ours = flex_packed_attention(q, k, v, documents, documents, short)
    truth = reference_attention(q, k, v, LENGTHS, LENGTHS, table, DISTANCE, causal)
    assert_alike(ours, truth, [*inputs, table])
    whole = bias_by_distance(table, max(LENGTHS), DISTANCE, bidirectional=not causal)
    for kernel in (dense_attention, hankel_attention):
        assert_alike(ours, kernel(q, k, v, documents, documents, whole), [*inputs, table])


def test_documents_of_two_lengths_without_bias_equal_the_definition_and_the_kernels() -> None:
    queries, keys = Documents.of_lengths(QUERY_LENGTHS), Documents.of_lengths(LENGTHS)
    inputs = q, k, v = [draw(documents.num_tokens, seed) for seed, documents in enumerate((queries, keys, keys))]
    ours = flex_packed_attention(q, k, v, queries, keys, None)
    truth = reference_attention(q, k, v, QUERY_LENGTHS, LENGTHS)
    assert_alike(ours, truth, inputs)
    for kernel in (dense_attention, hankel_attention):
        assert_alike(ours, kernel(q, k, v, queries, keys, None), inputs)


def test_company_changes_nothing() -> None:
    table = draw_table()
    bias = bias_by_distance(table, DISTANCE + 1, DISTANCE, bidirectional=True)
    q, k, v = (draw(sum(LENGTHS), seed).detach() for seed in range(3))
    documents = Documents.of_lengths(LENGTHS)
    together = flex_packed_attention(q, k, v, documents, documents, bias)
    for start, end in list(documents)[1::2]:
        alone = Documents.of_lengths([end - start])
        own = flex_packed_attention(q[start:end], k[start:end], v[start:end], alone, alone, bias)
        assert relative_error(together[start:end], own) < 1e-6


def test_batches_of_other_lengths_need_no_other_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled as on a GPU, but for the last stage, which makes machine code."""
    graphs: dict[str, int] = {}

    def count(function: Callable[..., Any]) -> Callable[..., Any]:
        def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
            graphs[function.__name__] = graphs.get(function.__name__, 0) + 1
            return graph.forward

        return torch.compile(function, dynamic=True, fullgraph=True, backend=backend)

    for name in ("flex_attention", "create_block_mask"):
        monkeypatch.setattr(flex, name, count(getattr(flex, name)))
    table, numbers = draw_table(), []
    batches = [([200, 70], [300, 40]), ([230, 90, 70], [20, 280, 900]), ([600], [290]), ([9, 900], [400, 1])]
    for query_lengths, key_lengths in batches:
        queries, keys = Documents.of_lengths(query_lengths), Documents.of_lengths(key_lengths)
        for own, other, causal in ((keys, keys, False), (queries, queries, True), (queries, keys, None)):
            q, k = draw(own.num_tokens, 1), draw(other.num_tokens, 2)
            bias = None if causal is None else bias_by_distance(table, DISTANCE + 1, DISTANCE, not causal)
            flex_packed_attention(q, k, k, own, other, bias).sum().backward()
        numbers.append(dict(graphs))
    # One kernel within the encoder, one within the decoder, one across; and one more where two sizes happened to be
    # the same at first.
    assert numbers[0] == {"flex_attention": 3, "create_block_mask": 3}
    assert max(numbers[-1].values()) <= 6
    assert numbers[-1] == numbers[-2] == numbers[-3]


def test_a_gpu_like_training_step_equals_a_cpu_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fillers, FlexAttention and the clamped bias together, as on a GPU."""
    recipe = tiny_recipe("dtype=fp32", "initialisation=published", "packing.tokens=600", "packing.crop=200")
    trainer = Trainer(recipe, sample_corpus(tmp_path / "corpus"), torch.device("cpu"))
    batch, parameters = trainer.batches.at(0), list(trainer.model.parameters())

    def step() -> tuple[Tensor, list[Tensor]]:
        weights = TargetWeights(0.3, 0.5)
        sums = batch_loss(trainer.model, batch, recipe.vocab, weights, torch.float32, torch.device("cpu"))
        return sums.weighted.detach(), list(torch.autograd.grad(sums.weighted, parameters))

    loss, of_cpu = step()
    sizes: list[int] = []

    def watched(q: Tensor, *more) -> Tensor:
        sizes.append(len(q))
        return flex_packed_attention(q, *more)

    for module in (attention, objective_loss):
        monkeypatch.setattr(module, "is_compiled", lambda device: True)
    monkeypatch.setattr(attention, "flex_packed_attention", watched)
    loss_of_gpu, of_gpu = step()
    assert len(sizes) == 2 + 2 * 1 and all(size % 128 == 0 for size in sizes)
    assert float(loss_of_gpu) == pytest.approx(float(loss), rel=1e-6)
    for one, other in zip(of_gpu, of_cpu, strict=True):
        assert relative_error(one, other) < 5e-6
