"""Which files of a model folder hold its weights: one file, or shards with an index of the tensors in each."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from openankh.errors import UserError
from openankh.json_file import read_json_object

Part = Literal["all", "encoder"]
"""What is read of a model: everything, or the encoder, which is enough for embeddings."""

WHOLE, PICKLE = "model.safetensors", "pytorch_model.bin"
SHARDS = {WHOLE: "model-*.safetensors", PICKLE: "pytorch_model-*.bin"}
EMBEDDING_NAMES = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
"""The names under which the one input embedding is stored: today's, then two old ones."""

_FOREIGN = ("tf_model.h5", "flax_model.msgpack", "rust_model.ot", "model.onnx", "consolidated.safetensors")


@dataclass(frozen=True)
class ShardIndex:
    """The tensors that each shard holds, by the shard's file name."""

    tensors: Mapping[str, frozenset[str]]

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all tensors."""
        return frozenset().union(*self.tensors.values())

    def files(self, part: Part) -> tuple[str, ...]:
        """The shards that hold a tensor of the part, sorted."""
        needed = tensors_of(self.names, part)
        return tuple(sorted(file for file, names in self.tensors.items() if names & needed))


def tensors_of(names: Set[str], part: Part) -> frozenset[str]:
    """Those of the tensors that a part of the model is read from."""
    if part == "all":
        return frozenset(names)
    embeddings = [name for name in EMBEDDING_NAMES if name in names]
    own = [name for name in embeddings if not name.startswith("decoder.")] or embeddings
    return frozenset(name for name in names if name.startswith("encoder.")) | frozenset(own)


def index_name(whole: str) -> str:
    """The name of the index of what would be the file `whole` if it were not in shards."""
    return f"{whole}.index.json"


def weight_files(folder: Path, part: Part = "all") -> tuple[str, ...]:
    """The names of the files that a part of a folder's model is read from, an index among them.

    They need not be there. Raises UserError for a folder without weights.
    """
    whole = chosen_weights(folder)
    index = shard_index(folder, whole)
    return (*index.files(part), index_name(whole)) if index else (whole,)


def chosen_weights(folder: Path) -> str:
    """`model.safetensors` or, where there is none, `pytorch_model.bin`, either in one file or in shards."""
    for whole in (WHOLE, PICKLE):
        if (folder / whole).exists() or (folder / index_name(whole)).exists():
            return whole
    if shards := sorted(path.name for path in folder.glob(SHARDS[WHOLE])):
        index = folder / index_name(WHOLE)
        raise UserError(f"{index}: missing, though {shards[0]} is there; fetch the folder again")
    if foreign := [name for name in _FOREIGN if (folder / name).exists()]:
        raise UserError(f"{folder}: has weights as {foreign[0]} only; save the model as safetensors with transformers")
    raise UserError(f"{folder}: no weights ({WHOLE} or {index_name(WHOLE)}) in it; fetch or save the model again")


def shard_index(folder: Path, whole: str) -> ShardIndex | None:
    """The index of weights in shards, None for a single file; UserError for files of two models in one folder."""
    shards, index = {path.name for path in folder.glob(SHARDS[whole])}, index_name(whole)
    if not (folder / index).exists():
        if shards:
            raise UserError(f"{folder / min(shards)}: a shard beside {whole}, of another model; remove one of them")
        return None
    if (folder / whole).exists():
        raise UserError(f"{folder / whole}: both it and {index} are there, of two models; remove one of them")
    listed = read_shard_index(folder / index)
    if extra := sorted(shards - set(listed.tensors)):
        raise UserError(f"{folder / extra[0]}: not listed in {index}; it belongs to another model, remove it")
    return listed


def read_shard_index(path: Path) -> ShardIndex:
    """Read a `*.index.json`; UserError for what maps no tensors, or one to anything but a weight file beside it."""
    weight_map = read_json_object(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{path}: has no weight_map of tensors to files; fetch it again")
    ending = ".bin" if path.name.endswith(".bin.index.json") else ".safetensors"
    tensors: dict[str, set[str]] = {}
    for tensor, file in weight_map.items():
        # A plain name only: an index must not lead out of its folder.
        if not isinstance(file, str) or not file.endswith(ending) or Path(file).name != file:
            raise UserError(f"{path}: tensor {tensor[:200]!r} is said to be in {str(file)[:60]!r}, no weight file")
        tensors.setdefault(file, set()).add(tensor)
    return ShardIndex({file: frozenset(names) for file, names in sorted(tensors.items())})
