"""What every test shares: the real data's folder and one thread for torch a test process."""

import os
import sys
from pathlib import Path

import pytest

# Two test processes on two cores must not fight for them; set before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # nor burn them where a test asks for two threads
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """A test that imported torch (itself or through the package) runs it on one thread."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root folder."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, or a skip that says where it was looked for."""
    shared = Path(os.environ.get("OPENANKH_SHARED", REPOSITORY.parent / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"the real data is not at {shared / 'data'} (set OPENANKH_SHARED to the folder that holds data/)")
    return shared / "data"
