"""Which residues of a chain touch, from coordinates: L residues, xyz in angstroms."""

import numpy as np
from numpy.typing import NDArray

CONTACT_ANGSTROMS = 8.0
"""Closer pairs are in contact (Ankh, 2023, as ProteinNet and TAPE have it)."""


def contact_map(xyz_L3: NDArray[np.floating], max_angstroms: float = CONTACT_ANGSTROMS) -> NDArray[np.bool_]:
    """Whether each two residues are in contact (L, L); none where a coordinate is not a number."""
    squares_LL = np.square(xyz_L3[:, None].astype(np.float64) - xyz_L3).sum(axis=-1)
    return squares_LL < max_angstroms**2
