"""One `pytorch_model.bin`: checked as an archive and for what it names, then read by PyTorch's reader of tensors.

The two guards are independent: the list of what may be named is ours, and is gone through without unpickling anything.
"""

import ctypes
import mmap
import os
import pickletools
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from openankh.errors import UserError
from openankh.json_file import require_plain_file
from openankh.safetensors_file import FLOAT_TYPES, TensorEntry

MAX_PICKLE_BYTES = 16 << 20
"""The largest list of tensors that is unpickled (the tensors themselves lie outside of it)."""


_GLOBALS = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16")),
    }
)
"""What the pickle of a state dict of floating point tensors names, and nothing else does."""

_NAMING = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"})
"""The instructions by which a pickle gets at code; of them PyTorch writes GLOBAL alone."""


class PickleFile:
    """An open PyTorch archive of floating point tensors; nothing but tensors can come out of it.

    Raises UserError naming the file for anything else: other objects, compressed or oversized members, the format
    before PyTorch 1.6, sparse or expanded tensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        require_plain_file(path)
        _check_archive(path)
        self._tensors = _load_tensors(path)
        self._mapped = _ranges_mapped_from(path)
        self.entries: dict[str, TensorEntry] = {
            name: TensorEntry(tensor.dtype, tuple(tensor.shape)) for name, tensor in self._tensors.items()
        }

    def read(self, name: str, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> Tensor:
        """The tensor in memory of its own, turned to `dtype` (None: as stored) on the way to `device`."""
        stored = self._tensors[name]
        tensor = stored.to(device, dtype or stored.dtype, copy=True).contiguous()
        _give_back(stored, self._mapped)
        return tensor

    def close(self) -> None:
        """Let go of the file."""
        self._tensors.clear()


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(members, path)
            pickles = [archive.read(member) for member in members if member.filename.endswith(".pkl")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"{path}: no archive as PyTorch writes since 1.6 ({error}); fetch it again, or save it as safetensors"
        ) from None
    for pickle in pickles:
        _check_names(pickle, path)


def _check_members(members: list[zipfile.ZipInfo], path: Path) -> None:
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise UserError(f"{path}: holds compressed members, which PyTorch never writes; refused")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise UserError(f"{path}: its members claim more bytes than the file has; refused")
    if len({member.filename for member in members}) < len(members):
        raise UserError(f"{path}: holds two members of the same name; refused")
    if any(member.filename.endswith(".pkl") and member.file_size > MAX_PICKLE_BYTES for member in members):
        raise UserError(f"{path}: its list of tensors is larger than {MAX_PICKLE_BYTES:,} bytes; refused")


def _check_names(pickle: bytes, path: Path) -> None:
    """Go through the instructions of a pickle, carrying out none; UserError for any that names more than tensors."""
    try:
        named = {(code.name, arg) for code, arg, _ in pickletools.genops(pickle) if code.name in _NAMING}
    except Exception as error:  # malformed instructions raise errors of many types
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"{path}: its list of tensors is malformed ({reason}); fetch the file again") from None
    for instruction, name in sorted(named, key=str):
        if instruction != "GLOBAL" or name not in _GLOBALS:
            shown = " ".join(str(name or instruction).split())[:60]
            raise UserError(f"{path}: names {shown!r}, which no list of floating point tensors does; refused")


def _load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the reader's complaint about a hostile file can be of any type
        reason = " ".join(str(error).split("\n")[0].split())[:80]
        raise UserError(
            f"{path}: holds something else than tensors, or is damaged ({type(error).__name__}: {reason}); refused"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__} where names and tensors are expected")
    for name, tensor in content.items():
        _check_tensor(name, tensor, path)
    return dict(content)


def _check_tensor(name: object, tensor: object, path: Path) -> None:
    where = f"{path}: tensor {str(name)[:200]!r}"
    if not isinstance(name, str) or type(tensor) not in (Tensor, torch.nn.Parameter):
        raise UserError(f"{where} is a {type(tensor).__name__}, no tensor with a name; refused")
    assert isinstance(tensor, Tensor)
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise UserError(f"{where} is not an ordinary dense tensor; refused")
    if tensor.dtype not in FLOAT_TYPES.values():
        raise UserError(f"{where} is of type {tensor.dtype}; an Ankh model has {', '.join(FLOAT_TYPES)} only")
    if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        raise UserError(f"{where} claims more numbers than the file holds; refused")


def _ranges_mapped_from(path: Path) -> list[range]:
    """The addresses at which this process has the file mapped; none on systems that do not tell (all but Linux)."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return []
    # Lines such as "7f0a-7f0f rw-p 00000000 fe:01 42   /home/ada/pytorch_model.bin"
    lines = [line.split(maxsplit=5) for line in maps.read_text(encoding="utf-8", errors="replace").splitlines()]
    places = [line[0].split("-") for line in lines if line[5:] == [os.path.realpath(path)]]
    return [range(int(start, 16), int(end, 16)) for start, end in places]


def _give_back(tensor: Tensor, mapped: list[range]) -> None:
    """Take the pages of a tensor out of this process, as whose memory they would count until the file is closed.

    Only where they are those of the mapped file, which is only ever read: whoever reads them again finds them there.
    """
    storage = tensor.untyped_storage()
    first = storage.data_ptr() - storage.data_ptr() % mmap.PAGESIZE
    end = storage.data_ptr() + storage.nbytes()
    if storage.nbytes() and any(first in pages and end - 1 in pages for pages in mapped):
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)
