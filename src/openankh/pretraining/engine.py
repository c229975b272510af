"""How a run's steps are computed: where its weights lie, what is kept for the way back, what is compiled.

None of it changes what is learned, so a run may go on with another engine than it was begun with.
"""

import importlib.util
import os
import shutil
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch

from openankh.attention import is_compiled
from openankh.errors import UserError

Sharding = Literal["none", "full"]
Compiling = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class Engine:
    """How steps are computed.

    `sharding` "full": each rank holds a part of every matrix, of its gradient and of its optimiser's state, and layers
    are gathered when they are needed; "none": each holds all. `recompute`: layers keep their inputs alone and are
    computed again on the way back. `compile`: norms and feed-forwards; "auto" does so on CUDA where Triton is.
    """

    sharding: Sharding = "none"
    recompute: bool = False
    compile: Compiling = "auto"

    def compiles(self, device: torch.device) -> bool:
        """Whether layers are compiled for this device; UserError where they shall be and cannot."""
        if self.compile == "on" and (missing := _missing_compiler(device)):
            raise UserError(f"--compile on: {missing}; install it, or give --compile off")
        return is_compiled(device) if self.compile == "auto" else self.compile == "on"


def _missing_compiler(device: torch.device) -> str | None:
    """What torch.compile would need for this device and does not find."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "Triton is not installed"
    name = os.environ.get("CXX", "g++")
    return None if shutil.which(name) else f"there is no C++ compiler {name!r} here (CXX names another)"


def engine_of(sharding: str, recompute: bool, compile: str) -> Engine:
    """An engine of words that people gave; UserError tells the legal ones."""
    for name, word, legal in (("sharding", sharding, get_args(Sharding)), ("compile", compile, get_args(Compiling))):
        if word not in legal:
            raise UserError(f"--{name} {word}: give one of {', '.join(legal)}")
    return Engine(cast(Sharding, sharding), recompute, cast(Compiling, compile))
