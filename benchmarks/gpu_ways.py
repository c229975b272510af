"""Ways to encode proteins on a GPU: ours, and transformers' with the kernels and the batches that suit it best."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from openankh.attention import Documents
from openankh.config import ModelConfig
from openankh.embedding.embedder import Embedder
from openankh.embedding.options import EmbedOptions
from openankh.fasta import Record
from openankh.inference import Encoder, for_inference
from openankh.model import Ankh
from openankh.vocab import ankh_vocab

MULTIPLE = 8
"""Padded lengths are multiples of this: kernels want it."""

OURS, RIVAL = "OpenAnkh, packed", "transformers, sdpa by cuDNN, layers compiled"


@dataclass(frozen=True)
class Plan:
    """How much is measured: operations of a round, rounds, proteins for the comparison of states, and the deadline."""

    device: torch.device
    round_flops: float
    num_rounds: int
    num_compared: int
    deadline: float
    lengths: tuple[int, ...]
    padded_tokens: tuple[int, ...]

    @property
    def is_gpu(self) -> bool:
        """Whether this is the real thing."""
        return self.device.type == "cuda"

    def seconds_left(self) -> float:
        """Until the deadline."""
        return self.deadline - time.perf_counter()

    def wait(self) -> None:
        """Until the device has done all it was given."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Case:
    """Proteins of one kind: as text, and as ids with `</s>`."""

    name: str
    records: tuple[Record, ...]
    tokens: tuple[Tensor, ...]

    @property
    def num_residues(self) -> int:
        """Residues of all proteins, without `</s>`."""
        return sum(len(record.sequence) for record in self.records)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each protein."""
        return [len(tokens) for tokens in self.tokens]

    def first(self, number: int) -> "Case":
        """The first proteins alone."""
        return replace(self, records=self.records[:number], tokens=self.tokens[:number])


@dataclass
class Way:
    """One way to do the work, as a function of the tokens of a batch, and the seconds of its rounds."""

    name: str
    work: Callable[[Case, int], Callable[[], object]]
    num_tokens: int
    rounds: list[float] = field(default_factory=list)
    failure: str = ""
    peak_bytes: int = 0

    def time(self, run: Callable[[], object], plan: Plan) -> float:
        """Seconds that a round takes; a failure is noted, and ends this way."""
        plan.wait()
        start = time.perf_counter()
        try:
            run()
            plan.wait()
        except Exception as error:
            self.failure = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
            if plan.is_gpu:
                torch.cuda.empty_cache()
        return time.perf_counter() - start


class Networks:
    """The same random weights as ours and as transformers', in bf16 on the device."""

    def __init__(self, config: ModelConfig, plan: Plan) -> None:
        self.plan, self.vocab = plan, ankh_vocab()
        torch.manual_seed(0)
        self.exact = _peer(config, plan.device, torch.float32)
        weights = self.exact.state_dict()
        self.peer = _peer(config, plan.device, torch.bfloat16, weights)
        self.compiled = _peer(config, plan.device, torch.bfloat16, weights)
        with plan.device:
            self.model = Ankh(config)
        self.model.load_state_dict({name: value for name, value in weights.items() if "embed_tokens" not in name})
        for block in self.compiled.encoder.block:
            # On a GPU the kernels that inductor writes; elsewhere that the layers can be traced at all.
            block.compile(dynamic=True, backend="inductor" if plan.is_gpu else "eager")
        self.model.eval().to(torch.bfloat16)
        self.encoder: Encoder = for_inference(self.model)

    def ways(self) -> list[Way]:
        """All ways, ours first; what they run on is made ready before it is timed."""
        first = self.plan.padded_tokens[0]
        chosen = (SDPBackend.CUDNN_ATTENTION,) if self.plan.is_gpu else (SDPBackend.MATH,)
        return [
            Way(OURS, self._packed, first),
            Way(
                "transformers, sdpa by torch's choice",
                lambda case, tokens: self._padded(case, tokens, self.peer, ()),
                first,
            ),
            Way(
                "transformers, sdpa by cuDNN", lambda case, tokens: self._padded(case, tokens, self.peer, chosen), first
            ),
            Way(RIVAL, lambda case, tokens: self._padded(case, tokens, self.compiled, chosen), first),
            Way("OpenAnkh, text to vectors", self._text_to_vectors, first),
        ]

    def _packed(self, case: Case, num_tokens: int) -> Callable[[], object]:
        batches = [
            (torch.cat(batch).to(self.plan.device), Documents.of_lengths([len(tokens) for tokens in batch]))
            for batch in packed_batches(case.tokens, num_tokens)
        ]
        return lambda: [self.encoder.encode(tokens, documents).last_TD for tokens, documents in batches]

    def _padded(self, case: Case, num_tokens: int, model: Any, kernels: Sequence[SDPBackend]) -> Callable[[], object]:
        batches = [
            padded(case.tokens, numbers, self.plan.device) for numbers in sorted_batches(case.lengths, num_tokens)
        ]

        def run() -> object:
            with sdpa_kernel(list(kernels)) if kernels else contextlib.nullcontext():
                return [model(input_ids=ids, attention_mask=mask).last_hidden_state for ids, mask in batches]

        return run

    def _text_to_vectors(self, case: Case, num_tokens: int) -> Callable[[], object]:
        options = EmbedOptions(pool="mean", max_tokens=num_tokens)
        # A new one each time, for it remembers sequences.
        return lambda: list(Embedder(self.model, self.vocab, options, self.encoder).embed(case.records))

    def errors(self, case: Case) -> dict[str, float]:
        """The relative L2 distance of ours and of transformers' bf16 states to fp32, on a few proteins."""
        tokens = [each.to(self.plan.device) for each in case.first(self.plan.num_compared).tokens]
        exact = [self.exact(input_ids=each[None]).last_hidden_state[0] for each in tokens]
        peer = [self.peer(input_ids=each[None]).last_hidden_state[0] for each in tokens]
        documents = Documents.of_lengths([len(each) for each in tokens])
        ours = self.encoder.encode(torch.cat(tokens), documents).last_TD.split([len(each) for each in tokens])
        return {"OpenAnkh": distance(ours, exact), "transformers": distance(peer, exact)}


def _peer(config: ModelConfig, device: torch.device, dtype: torch.dtype, weights: Any = None) -> Any:
    """The encoder in transformers, with its own random weights or these."""
    import transformers

    settings = {name: value for name, value in config.to_hf().items() if name != "architectures"}
    kind = "eager" if dtype == torch.float32 else "sdpa"
    with device:
        model: Any = transformers.T5EncoderModel._from_config(
            transformers.T5Config(**settings), attn_implementation=kind
        )
    if weights is not None:
        model.load_state_dict(weights)
    return model.eval().to(dtype)


def distance(found: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """The relative L2 distance over all proteins together."""
    difference = sum(float((a.double() - b.double()).square().sum()) for a, b in zip(found, exact, strict=True))
    return (difference / sum(float(b.double().square().sum()) for b in exact)) ** 0.5


def packed_batches(tokens: Sequence[Tensor], num_tokens: int) -> Iterator[list[Tensor]]:
    """Consecutive proteins of at most so many tokens together."""
    batch: list[Tensor] = []
    for each in tokens:
        if batch and sum(map(len, batch)) + len(each) > num_tokens:
            yield batch
            batch = []
        batch.append(each)
    yield batch


def sorted_batches(lengths: Sequence[int], num_tokens: int) -> Iterator[list[int]]:
    """Numbers of proteins, longest first, in batches of at most so many tokens with the padding."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        if batch and (len(batch) + 1) * rounded(lengths[batch[0]]) > num_tokens:
            yield batch
            batch = []
        batch.append(number)
    yield batch


def rounded(length: int) -> int:
    """A length that kernels like."""
    return -(-length // MULTIPLE) * MULTIPLE


def padded(tokens: Sequence[Tensor], numbers: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """(ids, mask) of some proteins, on the device."""
    width = rounded(max(len(tokens[number]) for number in numbers))
    ids, mask = torch.zeros(2, len(numbers), width, dtype=torch.int64)
    for row, number in enumerate(numbers):
        ids[row, : len(tokens[number])] = tokens[number]
        mask[row, : len(tokens[number])] = 1
    return ids.to(device), mask.to(device)
