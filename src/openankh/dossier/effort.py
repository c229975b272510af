"""How far a long piece of work is: shares of its parts, told as one share of the whole."""

from collections.abc import Callable

OnShare = Callable[[float, str], None]
"""Hears which share is done (0 to 1), and what is being done. What it raises ends the work."""


class Effort:
    """Parts of known sizes, one after another; sizes are about the tokens that the model reads."""

    def __init__(self, total: float, on_share: OnShare) -> None:
        self._total, self._on_share = max(total, 1.0), on_share
        self._done = self._begun = 0.0
        self._what = ""

    def begin(self, what: str, size: float) -> None:
        """The next part begins; the one before is done."""
        self._done += self._begun
        self._begun, self._what = size, what
        self.reach(0.0)

    def reach(self, share: float) -> None:
        """So much of this part is done."""
        self._on_share(min((self._done + share * self._begun) / self._total, 1.0), self._what)
