"""Embeddings read back from the HDF5 file, as a user would."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_vectors(path: Path) -> NDArray[np.float32]:
    """All pooled vectors of an HDF5 file (N, D), in the order of the input."""
    import h5py

    with h5py.File(path) as file:
        datasets = sorted(file.values(), key=lambda dataset: int(dataset.attrs["index"]))
        return np.stack([np.asarray(dataset, np.float32) for dataset in datasets])
