"""What a server is started with: which model, where it listens, and the limits of what it accepts."""

from dataclasses import dataclass, field
from pathlib import Path

from openankh.errors import UserError
from openankh.precision import Precision
from openankh.published import BUNDLED

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Limits:
    """What one request and all requests together may take; times in seconds.

    residues: of one protein. request_residues: of all proteins of a request. answer_numbers: numbers of an answer,
    json_numbers: those of an answer as text. body_bytes: of a request, decompressed. waiting_residues: of all requests
    that wait for the model. bodies_bytes: of all bodies that are being read. connections: open ones. per_client:
    requests of one address at work at a time, 0 for any number.
    """

    body_bytes: int = 4 << 20
    bodies_bytes: int = 256 << 20
    proteins: int = 2_000
    residues: int = 10_000
    request_residues: int = 500_000
    variants: int = 20_000
    written_residues: int = 100_000
    answer_numbers: int = 64 << 20
    json_numbers: int = 4 << 20
    waiting_residues: int = 1_000_000
    waiting_tasks: int = 64
    connections: int = 4_096
    per_client: int = 0
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 15.0
    send_seconds: float = 30.0
    answer_seconds: float = 30.0
    drain_seconds: float = 30.0
    kept_jobs: int = 1_000
    kept_bytes: int = 512 << 20
    kept_seconds: float = 3_600.0


@dataclass(frozen=True)
class NamedFolder:
    """Something served under a name of the operator's choice: an artifact to predict with, proteins to search among."""

    name: str
    folder: Path
    labels: Path | None = None


@dataclass(frozen=True)
class Settings:
    """All that `create_app` and `serve` need to know.

    `token`: asked of every request but liveness; None asks for none. `batch_tokens`: of a batch, None for as many as
    serve the device. `threads`: of the model, None for one a core. `results`: where the page keeps what it was asked,
    None for the user's cache. Raises UserError for an address open to others
    without a token.
    """

    model: str = BUNDLED
    host: str = "127.0.0.1"
    port: int = 8000
    device: str = "auto"
    precision: Precision = "auto"
    offline: bool = False
    trust_pickle: bool = False
    token: str | None = field(default=None, repr=False)
    batch_tokens: int | None = None
    threads: int | None = None
    predictors: tuple[NamedFolder, ...] = ()
    searched: tuple[NamedFolder, ...] = ()
    results: Path | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < 16:
            raise UserError("token: is shorter than 16 characters; make one with `openssl rand -hex 32`")
        if not self.is_local and self.token is None:
            raise UserError(f"host {self.host}: others could reach it; give a token (--token-file), or use 127.0.0.1")
        if not 0 <= self.port <= 65_535:
            raise UserError(f"port {self.port}: must be 0 to 65535; 0 takes a free one")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in LOOPBACK
