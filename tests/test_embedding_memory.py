"""Embedding with too little memory: the budget is learned, nothing is lost or reordered, a huge protein is finished."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedding_models import MIXED, MODELS, VOCABS, proteins, relative_error, tiny_model
from openankh.attention import Documents, RelativeBias
from openankh.attention.dense import dense_attention
from openankh.attention.hankel import hankel_attention
from openankh.embedding import budget as budget_module
from openankh.embedding import memory as memory_module
from openankh.embedding.budget import Budget, Workload, first_budget, remember
from openankh.embedding.embedder import Embedder
from openankh.embedding.memory import free_memory, is_out_of_memory
from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.store import STATES, States

CPU = torch.device("cpu")
GIB = 1 << 30
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    RuntimeError("could not create a memory object"),
    RuntimeError("could not create a primitive"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where budgets are remembered: a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openankh" / "token_budgets.json"


def fail(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch, when: Callable[[int], bool], error: Exception
) -> list[int]:
    """Let memory run out whenever a batch has such a number of tokens; returns those of the failed ones."""
    encode, failures = embedder.encoder.encode, []

    def encode_with_little_memory(tokens: torch.Tensor, *rest: Any) -> object:
        if when(len(tokens)):
            failures.append(len(tokens))
            raise error
        return encode(tokens, *rest)

    monkeypatch.setattr(embedder.encoder, "encode", encode_with_little_memory)
    return failures


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("limit", [30, 130, 210])
def test_when_memory_runs_out_the_budget_is_halved_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, error: Exception, limit: int
) -> None:
    embedder = Embedder(MODELS["ankh"], VOCABS["ankh"], EmbedOptions(pool="residues"))
    records = [record for record in proteins([40, 7, 120, 3, 25] * 6, seed=1) if len(record.sequence) + 1 <= limit]
    expected = list(embedder.embed(records))
    failures = fail(embedder, monkeypatch, lambda num_tokens: num_tokens > limit, error)
    embedder.expect(None)
    found = list(embedder.embed(records))
    assert [record for record, _ in found] == records
    for (_, array), (_, whole) in zip(found, expected, strict=True):
        assert relative_error(array, whole) <= 1e-6
    assert 0 < len(failures) <= 12 and embedder.num_halvings == len(failures)
    assert embedder.max_tokens < 4096
    num_failures = len(failures)
    embedder.expect(None)
    list(embedder.embed(records))
    assert len(failures) == num_failures, "the smaller budget is kept"


@pytest.mark.parametrize("seed", range(20))
def test_memory_that_runs_out_at_random_batches_loses_and_reorders_nothing(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    records = proteins([int(length) for length in generator.integers(1, 60, 80)], seed)
    records += [Record(f"again{n}", "", records[n].sequence, n) for n in generator.integers(0, 80, 20)]
    embedder = Embedder(MODELS["openankh"], VOCABS["openankh"], EmbedOptions(pool="mean"))
    expected = [array for _, array in embedder.embed(records)]
    failures = fail(
        embedder, monkeypatch, lambda num_tokens: num_tokens > 70 and generator.random() < 0.4, MemoryError()
    )
    embedder.expect(None)
    found = list(embedder.embed(records))
    assert [record for record, _ in found] == records
    for (_, array), whole in zip(found, expected, strict=True):
        assert relative_error(array, whole) <= 1e-6
    assert len(failures) <= 10


@pytest.mark.parametrize("states", STATES)
def test_a_protein_that_does_not_fit_alone_is_finished_in_pieces(
    monkeypatch: pytest.MonkeyPatch, states: States
) -> None:
    """As on a GPU, where the plain network runs: the first try of the long one fails, the frugal one does not."""
    model, vocab = tiny_model(VOCABS["ankh"]), VOCABS["ankh"]
    options = EmbedOptions(pool="residues", states=states)
    records = [*MIXED[:3], *proteins([1500], seed=3), *MIXED[3:]]
    expected = [array for _, array in Embedder(model, vocab, options).embed(records)]
    embedder = Embedder(model, vocab, options, encoder=model)
    encode, pieces = model.encode, []

    def encode_with_little_memory(
        tokens: torch.Tensor, documents: Documents, layers: Any = (), dtype: Any = None, piece: int | None = None
    ) -> object:
        if len(tokens) > 1000 and piece is None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if piece is not None:
            pieces.append((len(tokens), piece))
        return encode(tokens, documents, layers, dtype, piece)

    monkeypatch.setattr(model, "encode", encode_with_little_memory)
    found = list(embedder.embed(records))
    assert [record for record, _ in found] == records
    for (_, array), whole in zip(found, expected, strict=True):
        assert relative_error(array, whole) <= 2e-6
    assert pieces == [(1501, 1024)]


def test_a_protein_that_does_not_fit_in_pieces_either_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(MODELS["ankh"], VOCABS["ankh"])
    failures = fail(embedder, monkeypatch, lambda num_tokens: True, MemoryError())
    with pytest.raises(UserError, match=r"record 'P5' \(200 residues\) does not fit in the memory of cpu"):
        list(embedder.embed(MIXED[5:6]))
    assert len(failures) == 2


@pytest.mark.parametrize("length", [37, 100, 333])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_by_matrices_in_pieces_is_the_same(
    monkeypatch: pytest.MonkeyPatch, length: int, causal: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = [length, 5, 5, length]
    documents = Documents.of_lengths(lengths)
    q, k, v = (torch.randn(documents.num_tokens, 3, 8, generator=generator) for _ in range(3))
    by_distance = torch.randn(3, 2 * length - 1, generator=generator)
    if causal:
        by_distance[:, : length - 1] = -torch.inf
    bias = RelativeBias(by_distance, causal)
    whole = dense_attention(q, k, v, documents, documents, bias)
    monkeypatch.setattr("openankh.attention.dense.MOST_SCORES", 2000)
    torch.testing.assert_close(dense_attention(q, k, v, documents, documents, bias), whole, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(
        dense_attention(q, k, v, documents, documents, None),
        hankel_attention(q, k, v, documents, documents, None),
        atol=2e-6,
        rtol=1e-5,
    )


# --- the first budget -------------------------------------------------------------------------------------------------


def workload(**changes: Any) -> Workload:
    facts = {"config": MODELS["ankh"].config, "device": CPU, "dtype": torch.float32, "num_layers_kept": 1}
    return Workload(**{**facts, **changes})


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The memory that is free, to be set."""
    amount: list[int | None] = [GIB]
    monkeypatch.setattr(budget_module, "free_memory", lambda device: amount[0])
    return amount


def test_plenty_of_memory_gives_the_budget_beyond_which_nothing_gets_faster(
    free: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    assert first_budget(workload()).tokens == budget_module.CPU_TOKENS
    assert first_budget(workload(device=torch.device("cuda"))).tokens == budget_module.GPU_TOKENS
    free[0] = None
    assert first_budget(workload()).tokens == budget_module.CPU_TOKENS


def test_little_memory_gives_a_power_of_two_that_fits(free: list[int | None]) -> None:
    of = workload()
    for amount in (0, 10_000, 1_000_000, 3_000_000):
        free[0] = amount
        tokens = first_budget(of).tokens
        assert tokens & (tokens - 1) == 0
        assert tokens == 1 or tokens * of.token_bytes <= amount / 2 < 2 * tokens * of.token_bytes


def test_many_layers_of_results_and_a_decoder_count() -> None:
    assert workload(num_layers_kept=49).most_tokens <= workload().most_tokens
    wide = MODELS["ankh"].config
    assert workload(num_layers_kept=10_000).most_tokens * 10_000 * wide.d_model * 4 <= 1 << 29
    assert workload(has_decoder=True).token_bytes > workload().token_bytes


def test_a_learned_budget_is_where_the_next_run_begins(free: list[int | None], cache: Path) -> None:
    of, learned = workload(), Budget(1024)
    remember(of, learned)
    assert not cache.exists(), "nothing was learned yet"
    learned.halve(900)
    assert learned.tokens == 450
    remember(of, learned)
    assert first_budget(of).tokens == 450
    assert first_budget(workload(dtype=torch.bfloat16)).tokens == budget_module.CPU_TOKENS
    free[0] = 10 * GIB
    assert first_budget(of).tokens == budget_module.CPU_TOKENS, "with far more memory it is learned anew"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', '{"x": {"tokens": "many"}}', "[" * 10_000])
def test_a_file_of_budgets_that_is_none_is_as_if_there_were_no_file(
    free: list[int | None], cache: Path, content: str
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    assert first_budget(workload()).tokens == budget_module.CPU_TOKENS
    learned = Budget(64, num_halvings=3)
    remember(workload(), learned)
    assert first_budget(workload()).tokens == 64


def test_the_file_of_budgets_stays_small_and_one_that_cannot_be_written_is_no_hindrance(
    free: list[int | None], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        remember(workload(num_layers_kept=number + 1), Budget(64, num_halvings=1))
    assert len(json.loads(cache.read_text())) == 64
    assert first_budget(workload(num_layers_kept=100)).tokens == 64
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    remember(workload(), Budget(64, num_halvings=1))


def test_a_budget_that_was_given_is_taken_and_not_remembered(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(MODELS["ankh"], VOCABS["ankh"], EmbedOptions(max_tokens=300))
    fail(embedder, monkeypatch, lambda num_tokens: num_tokens > 210, MemoryError())
    list(embedder.embed(MIXED))
    embedder.remember_budget()
    assert embedder.num_halvings == 1 and not cache.exists()


def test_free_memory_is_what_the_system_the_group_and_the_limits_leave(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = free_memory(CPU)
    assert found is not None and found > 0
    monkeypatch.setattr(memory_module, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("10\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 7\n")
    assert (free_memory(CPU) or 0) > 1000
    (tmp_path / "memory.max").write_text("1000\n")
    assert free_memory(CPU) == 1000 - 10 + 7
    (tmp_path / "memory.current").write_text("5000\n")
    assert free_memory(CPU) == 0


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes"), ValueError("out of memory"), KeyError("x"), OSError(12, "x")]
)
def test_other_errors_are_not_about_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert all(is_out_of_memory(each) for each in ERRORS)


# --- a real limit -----------------------------------------------------------------------------------------------------

CAPPED = """
import json, resource, sys
import numpy as np, torch
torch.set_num_threads(1)
from openankh.config import ModelConfig
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.fasta import Record
from openankh.model import Ankh
from openankh.vocab import ankh_vocab

limit, field, headroom, max_tokens, lengths = sys.argv[1:]
torch.manual_seed(0)
shape = dict(d_model=256, d_ff=64, d_kv=8, num_heads=1, num_encoder_layers=1, num_decoder_layers=0)
model = Ankh(ModelConfig(vocab_size=144, **shape)).eval()
generator = np.random.default_rng(0)
letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
records = [
    Record(str(number), "", "".join(letters[generator.integers(0, 20, length)]), number)
    for number, length in enumerate(json.loads(lengths))
]
options = EmbedOptions(max_tokens=int(max_tokens) or None)
expected = [array for _, array in Embedder(model, ankh_vocab(), options).embed(records[:40])]
used = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(field))
most = used + (int(headroom) << 20)
resource.setrlimit(getattr(resource, limit), (most, most))
embedder = Embedder(model, ankh_vocab(), options)
first = embedder.max_tokens
found = list(embedder.embed(records))
assert [record for record, _ in found] == records
for (_, array), whole in zip(found, expected):
    np.testing.assert_allclose(array, whole, rtol=2e-5, atol=2e-6)
print(json.dumps([first, embedder.max_tokens, embedder.num_halvings]))
"""


def capped(limit: str, field: str, headroom: int, max_tokens: int, lengths: list[int]) -> tuple[int, int, int]:
    """Embed under a limit of so many MiB more than the process has; (first budget, last budget, halvings)."""
    arguments = [limit, field, str(headroom), str(max_tokens), json.dumps(lengths)]
    done = subprocess.run(
        [sys.executable, "-c", CAPPED, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, last, num_halvings = json.loads(done.stdout)
    return first, last, num_halvings


LIMITS = [("RLIMIT_AS", "VmSize:"), ("RLIMIT_DATA", "VmData:")]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="limits of memory are Linux's")
@pytest.mark.parametrize(("limit", "field"), LIMITS)
def test_under_a_real_limit_of_memory_the_budget_is_learned_and_nothing_is_lost(limit: str, field: str) -> None:
    assert hasattr(resource, limit)
    first, last, num_halvings = capped(limit, field, 120, 100_000, [50] * 1500)
    assert first == 100_000 and num_halvings >= 1 and last < 60_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="limits of memory are Linux's")
@pytest.mark.parametrize(("limit", "field"), LIMITS)
def test_a_budget_that_nobody_gave_begins_below_the_limit(limit: str, field: str) -> None:
    first, last, num_halvings = capped(limit, field, 12, 0, [50] * 200)
    assert first == last < 4096 and num_halvings == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="limits of memory are Linux's")
def test_the_longest_protein_known_is_finished_in_memory_that_grows_with_its_length_alone() -> None:
    """All pairs of 35,213 residues would take 5 GB a head."""
    capped("RLIMIT_DATA", "VmData:", 400, 0, [30, 35_213, 40])
