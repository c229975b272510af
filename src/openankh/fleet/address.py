"""The address of a Ray cluster, as users give it."""

import socket

from openankh.errors import UserError

LOCAL, AUTO = "local", "auto"

_SECONDS = 10


def require_reachable(address: str) -> None:
    """Refuse an address at which nobody listens: Ray itself would try for minutes."""
    if address in (LOCAL, AUTO):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"--ray {address}: neither auto, local nor HOST:PORT, as in 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"--ray {address}: no cluster to be reached ({reason}); start one with ray start, or take --ray local"
        ) from None
