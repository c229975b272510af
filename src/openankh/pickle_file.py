"""One `pytorch_model.bin`: checked as an archive, then read by PyTorch's reader for tensors alone."""

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from openankh.errors import UserError
from openankh.json_file import require_plain_file
from openankh.safetensors_file import FLOAT_TYPES, TensorEntry

MAX_PICKLE_BYTES = 16 << 20
"""The largest list of tensors that is unpickled (the tensors themselves lie outside of it)."""


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
        self.entries: dict[str, TensorEntry] = {
            name: TensorEntry(tensor.dtype, tuple(tensor.shape)) for name, tensor in self._tensors.items()
        }

    def read(self, name: str) -> Tensor:
        """The tensor, in memory of its own on the CPU."""
        return self._tensors[name].clone(memory_format=torch.contiguous_format)

    def close(self) -> None:
        """Let go of the file."""
        self._tensors.clear()


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"{path}: no archive as PyTorch writes since 1.6 ({error}); fetch it again, or save it as safetensors"
        ) from None
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise UserError(f"{path}: holds compressed members, which PyTorch never writes; refused")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise UserError(f"{path}: its members claim more bytes than the file has; refused")
    if any(m.filename.endswith(".pkl") and m.file_size > MAX_PICKLE_BYTES for m in members):
        raise UserError(f"{path}: its list of tensors is larger than {MAX_PICKLE_BYTES:,} bytes; refused")


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
