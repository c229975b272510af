"""Completions of the same prompts by OpenAnkh and by transformers' `generate`, with the same weights."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from measuring import draw_proteins

import openankh
from openankh.checkpoint import save_model
from openankh.config import ModelConfig
from openankh.decoding import for_decoding
from openankh.fasta import Record
from openankh.generation.completion import Completer, Completion
from openankh.generation.likelihood import Question, target_log_probs
from openankh.generation.method import Method
from openankh.generation.options import CompletionOptions
from openankh.generation.reader import Reader
from openankh.generation.stretch import Stretch
from openankh.inference import for_inference
from openankh.model import Ankh
from openankh.pretraining.initialisation import initialise
from openankh.provenance import Provenance
from openankh.vocab import AMINO_ACIDS, EOS, PAD, Vocab, openankh_vocab

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class Pair:
    """One network twice: ours as inference runs it, and transformers'."""

    name: str
    model: Ankh
    reader: Reader
    vocab: Vocab
    peer: Any

    def completer(self, method: Method, max_rows: int | None = None) -> Completer:
        """Keeps the first half of each protein, writes the second."""
        options = CompletionOptions(Stretch(keep=0.5), method, max_rows=max_rows)
        return Completer(self.reader, self.vocab, self.model.config.vocab_size, options)

    def sum_log_prob(self, completion: Completion, text: str) -> float:
        """The log-probability of a text after a completion's prompt."""
        question = Question(self.prompt(completion), self.vocab.encode(text).astype(np.int64))
        return float(next(target_log_probs(self.reader, [question])).sum())

    def prompt(self, completion: Completion) -> np.ndarray:
        """What the encoder reads."""
        shown = self.vocab.encode(completion.sequence[: completion.kept]).astype(np.int64)
        return np.concatenate([[self.vocab.prefix_id("[S2S]")], shown, [EOS]])

    def not_residues(self) -> list[int]:
        """Tokens that are not written."""
        return sorted(set(range(self.model.config.vocab_size)) - set(self.vocab.encode(AMINO_ACIDS).tolist()) - {EOS})


def bundled_pair(dtype: str) -> Pair:
    """The bundled, trained model."""
    loaded = openankh.load("openankh-nano", dtype=dtype)  # type: ignore[arg-type]  # pyright: ignore
    return _pair("openankh-nano", loaded.model, loaded.vocab, loaded.folder, dtype)


def random_pair(name: str, config: ModelConfig, dtype: str, scale: float = 1.0) -> Pair:
    """Random weights, T5's own, all of them `scale` times as large but for the norms."""
    vocab, model = openankh_vocab(), Ankh(config).eval()
    initialise(model, vocab, "published", seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(scale)
    with TemporaryDirectory() as folder:
        save_model(model, vocab, Path(folder) / "model", Provenance(name, "CC0-1.0"))
        return _pair(name, model.to(DTYPES[dtype]), vocab, Path(folder) / "model", dtype)


def base_wide(num_layers: int) -> ModelConfig:
    """The widths of ankh-base, fewer layers."""
    return ModelConfig(256, 768, 3072, 64, 12, num_layers, num_layers)


def _pair(name: str, model: Ankh, vocab: Vocab, folder: Path, dtype: str) -> Pair:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = transformers.T5ForConditionalGeneration.from_pretrained(
            folder, dtype=DTYPES[dtype], attn_implementation="sdpa"
        )
    reader = Reader(for_inference(model), for_decoding(model), model.shared.weight.device)
    return Pair(name, model, reader, vocab, peer.eval())


def draw_prompts(count: int, longest: int, shortest: int = 20, seed: int = 0) -> list[Record]:
    """Real proteins of the 20 standard residues, those longer than `longest` cut there."""
    found: list[Record] = []
    for record in draw_proteins(20 * count, seed).records:
        sequence = record.sequence[:longest]
        if len(sequence) >= shortest and not set(sequence) - set(AMINO_ACIDS):
            found.append(Record(record.id, "", sequence, record.line))
    return found[:count]


def ours(completer: Completer, records: Sequence[Record]) -> list[str]:
    """What we write."""
    return [completion.written for completion in completer.complete(records)]


@torch.inference_mode()
def theirs(pair: Pair, completions: Sequence[Completion], batch: int, num_beams: int = 1) -> list[str]:
    """What transformers writes, in batches of neighbours in length, each until its longest is written."""
    order = sorted(range(len(completions)), key=lambda number: len(completions[number].written))
    texts: dict[int, str] = {}
    for at in range(0, len(order), batch):
        numbers = order[at : at + batch]
        texts |= dict(zip(numbers, _written(pair, [completions[n] for n in numbers], num_beams), strict=True))
    return [texts[number] for number in range(len(completions))]


def _written(pair: Pair, completions: Sequence[Completion], num_beams: int) -> Iterator[str]:
    prompts = [torch.tensor(pair.prompt(completion)) for completion in completions]
    inputs = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True, padding_value=PAD)
    longest = max(len(completion.written) for completion in completions)
    rows = pair.peer.generate(
        inputs,
        attention_mask=(inputs != PAD).long(),
        do_sample=False,
        num_beams=num_beams,
        max_new_tokens=longest,
        min_new_tokens=longest,
        suppress_tokens=pair.not_residues(),
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
    )
    for completion, row in zip(completions, rows, strict=True):
        yield pair.vocab.decode(row[1 : 1 + len(completion.written)].tolist())
