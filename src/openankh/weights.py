"""The weights of a model folder, whole or in shards: every tensor found in its file, read one at a time."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from openankh.errors import UserError
from openankh.pickle_file import PickleFile
from openankh.safetensors_file import SafetensorsFile, TensorEntry, read_header
from openankh.weight_files import PICKLE, WHOLE, Part, ShardIndex, chosen_weights, index_name, shard_index

WeightFile = SafetensorsFile | PickleFile

_LOG = logging.getLogger(__name__)


class Weights:
    """The open weights of one model folder, or of a part of the model: then only the files that hold some of it."""

    def __init__(self, files: Mapping[str, WeightFile], index: ShardIndex | None = None) -> None:
        self._file_of = {name: file for file in files.values() for name in file.entries}
        self._names = index.names if index else frozenset(self._file_of)

    @property
    def names(self) -> frozenset[str]:
        """The names of all tensors of the model, also of those in shards that are not open."""
        return self._names

    def entry(self, name: str) -> TensorEntry:
        """Type and shape of a tensor."""
        return self._file_of[name].entries[name]

    def path(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._file_of[name].path

    def read(self, name: str, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> Tensor:
        """A tensor in memory of its own, turned to `dtype` (None: as stored) on the way to `device`."""
        return self._file_of[name].read(name, dtype, device)


@contextmanager
def open_weights(folder: Path, trust_pickle: bool = False, part: Part = "all") -> Iterator[Weights]:
    """Open the weight files of a model folder; of those in shards only the ones that hold tensors of the part.

    Raises UserError naming the file, and the tensor where there is one, for files that are missing, damaged, more than
    the index lists or other than it says, and for a folder that has weights as a pickle only unless that is trusted.
    """
    whole = chosen_weights(folder)
    if whole == PICKLE:
        if not trust_pickle:
            raise _untrusted(folder)
        _LOG.warning("%s: its weights are a pickle; read as tensors alone", folder)
    index = shard_index(folder, whole)
    files: dict[str, WeightFile] = {}
    try:
        for name in index.files(part) if index else (whole,):
            path = folder / name
            files[name] = PickleFile(path) if whole == PICKLE else SafetensorsFile(path)
            if index:
                _check_shard(files[name], index.tensors[name], folder)
        yield Weights(files, index)
    finally:
        for file in files.values():
            file.close()


def stored_tensor_names(folder: Path) -> frozenset[str] | None:
    """The names in the folder's safetensors, by the index or the header; None when it has none."""
    if not (folder / WHOLE).exists() and not (folder / index_name(WHOLE)).exists():
        return None
    index = shard_index(folder, WHOLE)
    return index.names if index else frozenset(read_header(folder / WHOLE))


def _check_shard(file: WeightFile, tensors: frozenset[str], folder: Path) -> None:
    found = frozenset(file.entries)
    if missing := sorted(tensors - found):
        raise UserError(f"{file.path}: lacks the tensor {missing[0]!r} that the index in {folder} places there")
    if extra := sorted(found - tensors):
        raise UserError(f"{file.path}: holds the tensor {extra[0][:200]!r} that the index does not place there")


def _untrusted(folder: Path) -> UserError:
    return UserError(
        f"{folder}: has its weights as {PICKLE} only, a pickle, a kind of file that can carry code; save the model as "
        "safetensors, or, if you trust where it came from, ask for it by name (trust_pickle=True, --trust-pickle)"
    )
