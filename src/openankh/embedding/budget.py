"""How many tokens are computed at once: as many as serve the device and fit its memory, half as many when they did not.

The budget decides how fast a run is, never what it writes: see `docs/embedding.md` for what is exact and what is equal
to rounding.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from openankh.config import ModelConfig
from openankh.embedding.memory import free_memory
from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.json_file import read_json_object

CPU_TOKENS, GPU_TOKENS = 4096, 65_536
"""More at once makes no device faster."""

LOOKAHEAD = 4
"""Records of so many full budgets are read ahead."""

_RESULT_BYTES = 512 << 20
"""Numbers of a batch that are held at once, of all layers asked for."""

_SHARE = 0.5
"""Of the free memory, since the estimate is rough and others need some."""

_MAX_REMEMBERED = 64


@dataclass(frozen=True)
class Workload:
    """What decides the memory of a token: the network's shape, where and in which type it computes, what is kept."""

    config: ModelConfig
    device: torch.device
    dtype: torch.dtype
    num_layers_kept: int
    has_decoder: bool = False

    @property
    def most_tokens(self) -> int:
        """The largest budget that makes sense, a function of the workload alone."""
        most = CPU_TOKENS if self.device.type == "cpu" else GPU_TOKENS
        return max(min(most, _RESULT_BYTES // (4 * self.num_layers_kept * self.config.d_model)), 1)

    @property
    def token_bytes(self) -> int:
        """About what the activations of a token take at their peak."""
        config, item = self.config, self.dtype.itemsize
        attention = 6 * config.inner * item + 8 * config.inner
        # On a CPU the feed-forward goes in pieces that do not count; elsewhere its two halves and their product do.
        feed_forward = 0 if self.device.type == "cpu" else 3 * config.d_ff * item
        stacks = 2 if self.has_decoder else 1
        return 6 * config.d_model * item + stacks * attention + feed_forward + 8 * self.num_layers_kept * config.d_model

    @property
    def name(self) -> str:
        """What the learned budgets of like workloads are kept under."""
        config = self.config
        device = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        shape = f"{config.d_model}x{config.num_encoder_layers}x{config.d_ff}"
        kept = f"{self.num_layers_kept} {'decoder' if self.has_decoder else 'encoder'}"
        return f"{shape} {kept} {device} {str(self.dtype).removeprefix('torch.')}"


@dataclass
class Budget:
    """The tokens of a batch: `tokens` now; `num_halvings` tells how often memory ran out."""

    tokens: int
    num_halvings: int = 0

    def halve(self, num_tokens: int) -> None:
        """A batch of so many tokens did not fit."""
        self.tokens = max(min(self.tokens, num_tokens) // 2, 1)
        self.num_halvings += 1


@dataclass(frozen=True)
class Remembered:
    """A budget that was learned, and the memory that was free then."""

    tokens: int
    free_bytes: int


def first_budget(workload: Workload) -> Budget:
    """The budget to begin with: what was learned on this machine with no less memory, else an estimate."""
    free = free_memory(workload.device)
    most = workload.most_tokens
    if free is None:
        return Budget(most)
    estimate = 1 << max(int(_SHARE * free / workload.token_bytes).bit_length() - 1, 0)
    learned = _read().get(workload.name)
    if learned is not None and free <= 1.25 * learned.free_bytes:
        estimate = min(estimate, learned.tokens)
    return Budget(min(most, estimate))


def remember(workload: Workload, budget: Budget) -> None:
    """Keep a learned budget for later runs, which then need not run out of memory first; best effort."""
    free = free_memory(workload.device)
    if not budget.num_halvings or free is None:
        return
    others = {name: learned for name, learned in _read().items() if name != workload.name}
    newest = list(others.items())[-_MAX_REMEMBERED + 1 :]
    content = dict([*newest, (workload.name, Remembered(budget.tokens, free))])
    try:
        _path().parent.mkdir(parents=True, exist_ok=True)
        write_file_atomically(_path(), json.dumps({name: asdict(learned) for name, learned in content.items()}))
    except (OSError, UserError):
        return


def _path() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "openankh" / "token_budgets.json"


def _read() -> dict[str, Remembered]:
    """What is remembered; nothing when the file is missing or anything but ours."""
    try:
        content = read_json_object(_path())
        return {name: Remembered(int(entry["tokens"]), int(entry["free_bytes"])) for name, entry in content.items()}
    except (OSError, UserError, KeyError, TypeError, ValueError, RuntimeError):
        return {}
