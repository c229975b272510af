"""What torch and its libraries read from the environment when they are imported, set before any verb imports them."""

import os


def settle() -> None:
    """Choose what serves embedding, scoring and serving best; what the user has set stays."""
    # Threads else burn their cores while they wait for each other, which on a machine that others use as well was
    # measured to cost a factor of a hundred.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Products that oneDNN keeps, compiled for one number of rows each: 128 took 200 MB less than 1,024, and no time. A
    # server, whose batches are of all sizes, would grow by more for as long as it meets new ones.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
