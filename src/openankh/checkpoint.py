"""Model folders: a Hugging Face T5 folder, read tensor by tensor into our network and written whole or not at all.

The traps of that layout are settled here. Whether the output head is separate is decided by the tensors present, for
transformers 5 writes `tie_word_embeddings: true` whatever is true. `encoder.embed_tokens.weight` and
`decoder.embed_tokens.weight` are old names of `shared.weight`.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from openankh.config import ModelConfig
from openankh.errors import UserError
from openankh.files import atomic_folder, require_free_space
from openankh.json_file import read_json_object
from openankh.model import Ankh
from openankh.model_names import ModelPlace, locate, resolve
from openankh.provenance import (
    MANIFEST_NAME,
    Manifest,
    Provenance,
    check_files,
    read_manifest,
    sha256_of_model,
    write_manifest,
)
from openankh.published import Alphabet
from openankh.safetensors_file import TensorEntry
from openankh.tokenizer_files import read_vocab, vocab_files, write_tokenizer
from openankh.vocab import EOS, PAD, Vocab
from openankh.vocabulary_check import RESIDUE_IDS, check_vocabulary, residue_ids
from openankh.weight_files import EMBEDDING_NAMES, WHOLE, Part, index_name, weight_files
from openankh.weights import Weights, open_weights, stored_tensor_names

__all__ = ["Checkpoint", "Part", "Provenance", "load_model", "load_named_model", "read_config", "resolve", "save_model"]

CONFIG_NAME, GENERATION_CONFIG_NAME = "config.json", "generation_config.json"
DEFAULT_SHARD_BYTES = 4 << 30
_MAX_CONFIG_BYTES = 1 << 20
_SHARED, _HEAD = EMBEDDING_NAMES[0], "lm_head.weight"
_UNUSED = frozenset({"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"})
"""Stored by the first T5 checkpoints, never read by any T5."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model read from the `files` of a folder; `manifest` is None where other software wrote them.

    `place` tells the repository and the commit of a model of the hub, where it was loaded by its name.
    """

    model: Ankh
    vocab: Vocab
    folder: Path
    manifest: Manifest | None
    files: tuple[str, ...] = ()
    place: ModelPlace | None = None

    @property
    def provenance(self) -> Provenance | None:
        """Where the model comes from, if its folder says so."""
        return self.manifest.provenance if self.manifest else None

    @property
    def sha256(self) -> str:
        """The hash over the files that were read, which tells the model apart from every other."""
        return sha256_of_model(self.folder, self.manifest, self.files)


def read_config(folder: Path | str) -> ModelConfig:
    """The shape of the model in a folder, by its `config.json` and the headers of its safetensors files.

    A folder that holds the encoder alone has no decoder layers. Raises UserError naming the file.
    """
    folder = _model_folder(folder)
    config = _read_config_file(folder)
    names = stored_tensor_names(folder)
    if names is None:
        return config
    if not _has_decoder(names):
        return replace(config, num_decoder_layers=0)
    return replace(config, tied_head=_HEAD not in names)


def load_model(
    folder: Path | str,
    *,
    part: Part = "all",
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    trust_pickle: bool = False,
    verify: bool = True,
    alphabet: Alphabet | None = None,
) -> Checkpoint:
    """Read a model, or its encoder alone, from a Hugging Face T5 folder; ours or one that transformers saved.

    Weights are turned to `dtype` as they are read (None: kept as stored), norms to nothing narrower than they are
    stored in; the decoder's are not read where the part is the encoder. Where the folder has an `openankh.json` the
    sizes of the files are checked and, with `verify`, their SHA-256. `trust_pickle` allows `pytorch_model.bin` where
    there is nothing else. `alphabet` is what is known of a published model's vocabulary. Raises UserError naming the
    file, and the tensor where there is one, for whatever is missing, damaged, of a wrong shape or of another
    architecture, and for a tokenizer of another model.
    """
    folder = _model_folder(folder)
    if manifest := read_manifest(folder):
        check_files(folder, manifest, hashes=verify, unread=_unread(folder, part, manifest))
    config, vocab = _read_config_file(folder), read_vocab(folder)
    check_vocabulary(vocab, read_json_object(folder / CONFIG_NAME), folder, alphabet, sealed=manifest is not None)
    with open_weights(folder, trust_pickle, part) as weights:
        _check_num_layers(config, weights, folder)
        config = _config_of_part(config, weights, part, folder)
        with torch.device("meta"), _Undrawn():  # the network without memory for its weights
            model = Ankh(config)
        sources = _sources(model, weights, part, folder)
        _check_memory(weights, sources, dtype, torch.device(device), folder)
        model.load_state_dict(dict(_read_tensors(weights, sources, dtype, device, folder)), assign=True)
    files = (CONFIG_NAME, *vocab_files(folder), *weight_files(folder, part))
    return Checkpoint(model.eval(), vocab, folder, manifest, files)


def _unread(folder: Path, part: Part, manifest: Manifest) -> Collection[str]:
    """The weight files of a folder that a part is not read from."""
    if part == "all":
        return ()
    weights = {name for name in manifest.files if name.endswith((".safetensors", ".bin"))}
    return weights - set(weight_files(folder, part))


def load_named_model(
    name_or_folder: Path | str,
    *,
    revision: str | None = None,
    part: Part = "all",
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    trust_pickle: bool = False,
    verify: bool = True,
    offline: bool = False,
) -> Checkpoint:
    """Find a model by whatever a user calls it (see `locate`) and read it; raises what finding and reading raise."""
    place = locate(name_or_folder, revision=revision, part=part, trust_pickle=trust_pickle, offline=offline)
    checkpoint = load_model(
        place.folder,
        part=part,
        dtype=dtype,
        device=device,
        trust_pickle=trust_pickle or place.is_published,
        verify=verify,
        alphabet=place.published.alphabet if place.published else None,
    )
    return replace(checkpoint, place=place)


class _Undrawn(TorchFunctionMode):
    """Leaves weights as they are allocated: drawing them on the meta device would import torch's compiler, a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))


def _model_folder(folder: Path | str) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name a model's folder")
    if not (folder / CONFIG_NAME).exists():
        raise UserError(f"{folder}: no {CONFIG_NAME} in it, so no model's folder")
    return folder


def _read_config_file(folder: Path) -> ModelConfig:
    path = folder / CONFIG_NAME
    value = read_json_object(path, _MAX_CONFIG_BYTES)
    try:
        return ModelConfig.from_hf(value)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _has_decoder(names: frozenset[str]) -> bool:
    return any(name.startswith("decoder.block.") for name in names)


def _config_of_part(config: ModelConfig, weights: Weights, part: Part, folder: Path) -> ModelConfig:
    if part == "encoder" or config.num_decoder_layers == 0:
        return replace(config, num_decoder_layers=0)
    if not _has_decoder(weights.names):
        raise UserError(f"{folder}: its weights have no decoder; load the encoder alone (part='encoder')")
    if _HEAD not in weights.names and not config.tied_head:
        raise UserError(f"{folder}: tensor {_HEAD!r} is missing, and {CONFIG_NAME} says that the head is separate")
    return replace(config, tied_head=_HEAD not in weights.names or (config.tied_head and _is_head_tied(weights)))


def _is_head_tied(weights: Weights) -> bool:
    """Whether a stored head is a mere copy of the embedding, as `pytorch_model.bin` stores tied weights."""
    return _SHARED in weights.names and _is_same(weights, _HEAD, _SHARED)


def _is_same(weights: Weights, one: str, other: str) -> bool:
    return weights.entry(one) == weights.entry(other) and torch.equal(weights.read(one), weights.read(other))


def _check_num_layers(config: ModelConfig, weights: Weights, folder: Path) -> None:
    """A layer has several tensors: refuse a config that would have us build layers for ever."""
    num_layers = config.num_encoder_layers + config.num_decoder_layers
    if num_layers > len(weights.names):
        raise UserError(
            f"{folder / CONFIG_NAME}: speaks of {num_layers:,} layers, "
            f"but its weights hold {len(weights.names):,} tensors"
        )


def _sources(model: Ankh, weights: Weights, part: Part, folder: Path) -> dict[str, str]:
    """For each tensor of the model the name under which it is stored; UserError unless they match one to one."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    sources = {name: name for name in expected}
    shared = [name for name in EMBEDDING_NAMES if name in weights.names]
    sources[_SHARED] = shared[0] if shared else _SHARED
    if missing := [name for name in expected if sources[name] not in weights.names]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"{folder}: tensor {missing[0]!r}{more} missing in its weights, though {CONFIG_NAME} asks for it"
        )
    known = {*sources.values(), *shared, *_UNUSED, *([_HEAD] if model.config.tied_head else [])}
    for name in sorted(weights.names - known):
        if part == "all" or name.startswith("encoder."):
            raise UserError(f"{weights.path(name)}: tensor {name[:200]!r} has no place in the model of {CONFIG_NAME}")
    for name, source in sources.items():
        if (shape := weights.entry(source).shape) != expected[name]:
            raise UserError(
                f"{weights.path(source)}: tensor {source!r} has the shape {list(shape)}, "
                f"{CONFIG_NAME} asks for {list(expected[name])}"
            )
    _check_copies(weights, [name for name in shared if part == "all" or not name.startswith("decoder.")])
    return sources


def _check_copies(weights: Weights, names: list[str]) -> None:
    for name in names[1:]:
        if not _is_same(weights, name, names[0]):
            raise UserError(f"{weights.path(name)}: tensor {name!r} differs from {names[0]!r}; Ankh has one embedding")


def _check_memory(
    weights: Weights, sources: Mapping[str, str], dtype: torch.dtype | None, device: torch.device, folder: Path
) -> None:
    entries = [weights.entry(source) for source in sources.values()]
    needed = sum(entry.num_elements * (dtype or entry.dtype).itemsize for entry in entries)
    present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if device.type == "cpu" and needed > present:
        raise UserError(
            f"{folder}: its weights need {needed / 2**30:.1f} GiB, "
            f"this machine has {present / 2**30:.1f} GiB of memory; "
            "take a smaller model or bf16"
        )


def _read_tensors(
    weights: Weights,
    sources: Mapping[str, str],
    dtype: torch.dtype | None,
    device: torch.device | str,
    folder: Path,
) -> Iterator[tuple[str, Tensor]]:
    for name, source in sources.items():
        try:
            yield name, weights.read(source, _type_in_memory(weights.entry(source), dtype), device)
        except torch.OutOfMemoryError as error:
            raise UserError(f"{folder}: its weights do not fit on {device}; take bf16 or another device") from error


def _type_in_memory(entry: TensorEntry, dtype: torch.dtype | None) -> torch.dtype | None:
    """`dtype`, but for a norm nothing narrower than it is stored in: its few numbers scale whole states."""
    return torch.promote_types(entry.dtype, dtype) if dtype and len(entry.shape) == 1 else dtype


def save_model(
    model: Ankh,
    vocab: Vocab,
    folder: Path | str,
    provenance: Provenance,
    *,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    texts: Mapping[str, str] | None = None,
) -> Manifest:
    """Write a model folder that `load_model` and transformers open; it appears whole or not at all.

    Weights are written as `dtype` (None: as they are), in several files where one would exceed `max_shard_bytes`. An
    earlier model in the folder is replaced. `texts` are further files, such as a card. Raises UserError when the folder
    holds anything else, cannot be written or the disk is full, and leaves what was there.
    """
    folder = Path(folder)
    assert vocab.size <= model.config.vocab_size, "the vocabulary has more pieces than the model has rows"
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    num_parameters = sum(tensor.numel() for tensor in tensors.values())
    assert num_parameters == model.config.num_parameters, f"{num_parameters} parameters: not the model of its config"
    _check_replaceable(folder)
    shards = _shards(tensors, dtype, max_shard_bytes)
    needed_bytes = sum(_num_bytes(tensor, dtype) for tensor in tensors.values()) + _MAX_CONFIG_BYTES
    require_free_space(folder, needed_bytes)
    with atomic_folder(folder, needed_bytes=needed_bytes) as new:
        stored = _write_weights(shards, dtype, new)
        _write_configs(model.config, vocab, stored, new)
        write_tokenizer(vocab, new)
        for name, text in (texts or {}).items():
            (new / name).write_text(text, encoding="utf-8")
        return write_manifest(new, provenance, num_parameters, "+".join(stored))


def _check_replaceable(folder: Path) -> None:
    """Only an empty folder or an earlier model is ever replaced."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    manifest = read_manifest(folder)
    ours = {MANIFEST_NAME, *(manifest.files if manifest else ())}
    if other := sorted(path.name for path in folder.iterdir() if manifest is None or path.name not in ours):
        raise UserError(f"cannot write a model to {folder}: it holds other things ({other[0]}); choose a new folder")


def _num_bytes(tensor: Tensor, dtype: torch.dtype | None) -> int:
    return tensor.numel() * (dtype or tensor.dtype).itemsize


def _shards(tensors: Mapping[str, Tensor], dtype: torch.dtype | None, max_bytes: int) -> list[dict[str, Tensor]]:
    """The tensors in order, cut where the next one would exceed the limit; one alone may."""
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        size = _num_bytes(tensor, dtype)
        if shards[-1] and filled + size > max_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += size
    return shards


def _write_weights(shards: list[dict[str, Tensor]], dtype: torch.dtype | None, folder: Path) -> list[str]:
    """Write the weight files, with an index where there are several; the names of the types written."""
    types: set[str] = set()
    weight_map: dict[str, str] = {}
    num_bytes = 0
    for number, shard in enumerate(shards, start=1):
        file = WHOLE if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {name: tensor.to("cpu", dtype or tensor.dtype).contiguous() for name, tensor in shard.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        types |= {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}
        weight_map |= dict.fromkeys(tensors, file)
        num_bytes += sum(tensor.nbytes for tensor in tensors.values())
    if len(shards) > 1:
        _write_json(folder / index_name(WHOLE), {"metadata": {"total_size": num_bytes}, "weight_map": weight_map})
    return sorted(types)


def _write_configs(config: ModelConfig, vocab: Vocab, types: list[str], folder: Path) -> None:
    value = {**config.to_hf(), RESIDUE_IDS: residue_ids(vocab)}
    if len(types) == 1:
        value["torch_dtype"] = types[0]
    if config.num_decoder_layers:
        tokens = {"decoder_start_token_id": PAD, "eos_token_id": EOS, "pad_token_id": PAD}
        _write_json(folder / GENERATION_CONFIG_NAME, tokens)
    else:
        value |= {"architectures": ["T5EncoderModel"], "is_encoder_decoder": False}
    _write_json(folder / CONFIG_NAME, value)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
