"""Every attention kernel gives what the definition gives, values and gradients, whatever the company."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attention_reference import reference_attention, reference_bucket
from openankh.attention import Documents, attend
from openankh.attention.dense import dense_attention
from openankh.attention.hankel import hankel_attention
from openankh.attention.relative_bias import bias_by_distance, hankel_view, relative_buckets, sum_diagonals

Kernel = Callable[..., Tensor]
KERNELS: dict[str, Kernel] = {
    "hankel": hankel_attention,
    "dense": dense_attention,
    "chosen": attend,
}
LENGTHS = [5, 1, 33, 33, 150]
HEADS, WIDTH, BUCKETS, DISTANCE = 3, 8, 64, 128


def relative_error(ours: Tensor, truth: Tensor) -> float:
    ours, truth = ours.detach().double(), truth.detach().double()
    return float((ours - truth).norm() / truth.norm())


def draw(num: int, seed: int) -> Tensor:
    return torch.randn(num, HEADS, WIDTH, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def draw_table() -> Tensor:
    return torch.randn(BUCKETS, HEADS, generator=torch.Generator().manual_seed(9)).requires_grad_()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("causal", [False, True])
def test_a_kernel_with_bias_equals_the_definition_in_values_and_gradients(name: str, causal: bool) -> None:
    documents = Documents.of_lengths(LENGTHS)
    inputs = [draw(documents.num_tokens, seed) for seed in range(3)]
    table = draw_table()
    bias = bias_by_distance(table, max(*LENGTHS, DISTANCE + 1), DISTANCE, bidirectional=not causal)
    ours = KERNELS[name](*inputs, documents, documents, bias)
    truth = reference_attention(inputs[0], inputs[1], inputs[2], LENGTHS, LENGTHS, table, DISTANCE, causal)
    assert relative_error(ours, truth) < 1e-6
    weights = torch.randn_like(ours)
    our_gradients = torch.autograd.grad((ours * weights).sum(), [*inputs, table])
    true_gradients = torch.autograd.grad((truth * weights).sum(), [*inputs, table])
    for ours_one, true_one in zip(our_gradients, true_gradients, strict=True):
        assert relative_error(ours_one, true_one) < 3e-6


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_across_documents_of_two_lengths_equals_the_definition(name: str) -> None:
    query_lengths = [2, 7, 7, 1, 60]
    queries, keys = Documents.of_lengths(query_lengths), Documents.of_lengths(LENGTHS)
    sizes = [queries.num_tokens, keys.num_tokens, keys.num_tokens]
    inputs = [draw(size, seed) for seed, size in enumerate(sizes)]
    ours = KERNELS[name](*inputs, queries, keys, None)
    truth = reference_attention(inputs[0], inputs[1], inputs[2], query_lengths, LENGTHS)
    assert relative_error(ours, truth) < 1e-6
    weights = torch.randn_like(ours)
    our_gradients = torch.autograd.grad((ours * weights).sum(), inputs)
    true_gradients = torch.autograd.grad((truth * weights).sum(), inputs)
    for ours_one, true_one in zip(our_gradients, true_gradients, strict=True):
        assert relative_error(ours_one, true_one) < 3e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inference_on_cpu_equals_training_on_cpu(dtype: torch.dtype) -> None:
    documents = Documents.of_lengths(LENGTHS)
    q, k, v = (draw(documents.num_tokens, seed).to(dtype) for seed in range(3))
    bias = bias_by_distance(draw_table(), max(LENGTHS), DISTANCE, bidirectional=True)
    with torch.inference_mode():
        plain = attend(q.detach(), k.detach(), v.detach(), documents, documents, bias)
    trained = attend(q, k, v, documents, documents, bias)
    assert relative_error(plain, trained) < (1e-6 if dtype == torch.float32 else 1e-2)


def test_a_document_longer_than_the_dense_limit_trains_with_the_same_gradients() -> None:
    documents = Documents.of_lengths([1100])
    table = draw_table()
    inputs = [draw(1100, seed) for seed in range(3)]
    results = []
    for kernel in (KERNELS["chosen"], KERNELS["dense"]):
        bias = bias_by_distance(table, 1100, DISTANCE, bidirectional=True)
        out = kernel(*inputs, documents, documents, bias)
        results.append((out, torch.autograd.grad(out.square().sum(), [*inputs, table])))
    (ours, our_gradients), (truth, true_gradients) = results
    assert relative_error(ours, truth) < 1e-6
    for ours_one, true_one in zip(our_gradients, true_gradients, strict=True):
        assert relative_error(ours_one, true_one) < 1e-5


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(64, 128), (32, 128), (16, 64), (128, 256), (32, 256)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_buckets_are_those_of_the_scalar_rule(num_buckets: int, max_distance: int, bidirectional: bool) -> None:
    span = max_distance + 40
    ours = relative_buckets(span, num_buckets, max_distance, bidirectional).tolist()
    rule = [
        reference_bucket(distance, num_buckets, max_distance, bidirectional) for distance in range(span - 1, -span, -1)
    ]
    # The tensor rule takes logarithms in fp32, as every published T5 does: at a bucket's edge it may round apart.
    differing = [index for index in range(len(rule)) if ours[index] != rule[index]]
    assert len(differing) <= 4
    assert all(abs(ours[index] - rule[index]) == 1 for index in differing)


def test_training_is_possible_after_inference_has_seen_the_same_lengths() -> None:
    documents, table = Documents.of_lengths([77]), draw_table()
    inputs = [draw(77, seed) for seed in range(3)]
    with torch.inference_mode():
        KERNELS["chosen"](*inputs, documents, documents, bias_by_distance(table, 77, DISTANCE, bidirectional=True))
    bias = bias_by_distance(table, 77, DISTANCE, bidirectional=True)
    KERNELS["chosen"](*inputs, documents, documents, bias).sum().backward()
    assert table.grad is not None


def test_summing_diagonals_is_the_transpose_of_the_hankel_view() -> None:
    bias = torch.randn(2, 2 * 7 - 1, dtype=torch.float64)
    matrix = torch.randn(2, 7, 7, dtype=torch.float64)
    assert torch.allclose((hankel_view(bias) * matrix).sum(), (bias * sum_diagonals(matrix)).sum())


def test_the_hankel_view_takes_no_memory_of_its_own() -> None:
    bias = torch.randn(2, 2 * 500 - 1)
    assert hankel_view(bias).untyped_storage().data_ptr() == bias.untyped_storage().data_ptr()


def test_no_document_at_all_gives_no_rows() -> None:
    empty = torch.empty(0, HEADS, WIDTH)
    assert attend(empty, empty, empty, Documents((0,)), Documents((0,))).shape == (0, HEADS, WIDTH)
