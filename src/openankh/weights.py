"""The weights of a model folder, whole or in shards: which tensor lies in which file, read one at a time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from openankh.errors import UserError
from openankh.json_file import read_json_object
from openankh.pickle_file import PickleFile
from openankh.safetensors_file import SafetensorsFile, TensorEntry, read_header

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_FOREIGN = ("tf_model.h5", "flax_model.msgpack", "rust_model.ot", "model.onnx", "consolidated.safetensors")


class Weights:
    """The open weights of one model folder."""

    def __init__(self, files: Mapping[str, SafetensorsFile | PickleFile]) -> None:
        self._file_of = {name: file for file in files.values() for name in file.entries}

    @property
    def names(self) -> frozenset[str]:
        """The names of all tensors."""
        return frozenset(self._file_of)

    def entry(self, name: str) -> TensorEntry:
        """Type and shape of a tensor."""
        return self._file_of[name].entries[name]

    def path(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self._file_of[name].path

    def read(self, name: str) -> Tensor:
        """A tensor, in memory of its own on the CPU."""
        return self._file_of[name].read(name)


@contextmanager
def open_weights(folder: Path, trust_pickle: bool = False) -> Iterator[Weights]:
    """Open all weight files of a model folder.

    Raises UserError naming the file, and the tensor where there is one, for files that are missing, damaged, more than
    the index lists or other than it says, and for a folder that has weights as a pickle only unless that is trusted.
    """
    files: dict[str, SafetensorsFile | PickleFile] = {}
    try:
        for name, tensors in _files_and_tensors(folder, trust_pickle).items():
            path = folder / name
            files[name] = SafetensorsFile(path) if name.endswith(".safetensors") else PickleFile(path)
            if tensors is not None:
                _check_shard(files[name], tensors, folder)
        yield Weights(files)
    finally:
        for file in files.values():
            file.close()


def stored_tensor_names(folder: Path) -> frozenset[str] | None:
    """The names in the folder's safetensors files, from their headers alone; None when it has none."""
    if not (folder / WHOLE).exists() and not (folder / INDEX).exists():
        return None
    names = _files_and_tensors(folder, trust_pickle=False)
    return frozenset(tensor for name in names for tensor in read_header(folder / name))


def _files_and_tensors(folder: Path, trust_pickle: bool) -> dict[str, frozenset[str] | None]:
    """The weight files to open and, where an index says so, the tensors each must hold."""
    for whole, index, pattern in ((WHOLE, INDEX, "model-*.safetensors"), (PICKLE, PICKLE_INDEX, "pytorch_model-*.bin")):
        if not (folder / whole).exists() and not (folder / index).exists():
            continue
        if whole == PICKLE and not trust_pickle:
            raise _untrusted(folder)
        return _chosen(folder, whole, index, pattern)
    if shards := sorted(path.name for path in folder.glob("model-*.safetensors")):
        raise UserError(f"{folder / INDEX}: missing, though {shards[0]} is there; fetch the folder again")
    if foreign := [name for name in _FOREIGN if (folder / name).exists()]:
        raise UserError(f"{folder}: has weights as {foreign[0]} only; save the model as safetensors with transformers")
    raise UserError(f"{folder}: no weights ({WHOLE} or {INDEX}) in it; fetch or save the model again")


def _chosen(folder: Path, whole: str, index: str, pattern: str) -> dict[str, frozenset[str] | None]:
    shards = {path.name for path in folder.glob(pattern)}
    if not (folder / index).exists():
        if shards:
            raise UserError(f"{folder / min(shards)}: a shard beside {whole}, of another model; remove one of them")
        return {whole: None}
    if (folder / whole).exists():
        raise UserError(f"{folder / whole}: both it and {index} are there, of two models; remove one of them")
    listed = _read_index(folder / index, pattern.rpartition(".")[2])
    if extra := sorted(shards - set(listed)):
        raise UserError(f"{folder / extra[0]}: not listed in {index}; it belongs to another model, remove it")
    return dict(listed)


def _read_index(path: Path, suffix: str) -> dict[str, frozenset[str]]:
    weight_map = read_json_object(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{path}: has no weight_map of tensors to files; fetch it again")
    tensors: dict[str, set[str]] = {}
    for tensor, file in weight_map.items():
        # A plain name only: an index must not lead out of its folder.
        if not isinstance(file, str) or not file.endswith(f".{suffix}") or Path(file).name != file:
            raise UserError(f"{path}: tensor {tensor[:200]!r} is said to be in {str(file)[:60]!r}, no weight file")
        tensors.setdefault(file, set()).add(tensor)
    return {file: frozenset(names) for file, names in sorted(tensors.items())}


def _check_shard(file: SafetensorsFile | PickleFile, tensors: frozenset[str], folder: Path) -> None:
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
