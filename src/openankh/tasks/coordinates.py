"""C-alpha coordinates of many chains in one NPZ file: `ca_x10` in tenths of an angstrom, end to end, `offsets`, `ids`.

L residues.
"""

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The coordinates of the chains of a file."""

    path: Path
    tenths_N3: NDArray[np.int16]
    offsets: NDArray[np.int64]
    ids: NDArray[np.str_]

    def of(self, chain_id: str, num_residues: int) -> NDArray[np.float32]:
        """Those of a chain, in angstroms (L, 3); UserError when the file has not so many of it."""
        place = self._places.get(chain_id)
        if place is None:
            raise UserError(f"{self.path}: no coordinates of {chain_id}; it and the table must come together")
        tenths_L3 = self.tenths_N3[self.offsets[place] : self.offsets[place + 1]]
        if len(tenths_L3) != num_residues:
            raise UserError(
                f"{self.path}: {len(tenths_L3)} coordinates of {chain_id}, which has {num_residues} residues"
            )
        return tenths_L3.astype(np.float32) / np.float32(10)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.ids.tolist())}


def read_coordinates(path: Path) -> Coordinates:
    """Read the file; UserError when it is missing or none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Coordinates(path, file["ca_x10"], file["offsets"], file["ids"])
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; it holds the coordinates of the domains in the table beside it"
        ) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: no file of coordinates ({error}); copy it again") from None
