"""Being asked to stop: SIGTERM, SIGUSR1 and Ctrl-C end a run after the batch in hand, with a checkpoint."""

import signal
import threading
from types import FrameType, TracebackType

STOPPED_EXIT_CODE = 75
"""Of a run that stopped before its end and can be resumed (EX_TEMPFAIL: batch systems requeue on it)."""


class StoppedError(Exception):
    """A signal asked to stop: the step or validation in hand is given up, to be done again after a resumption."""


class StopSignals:
    """While entered, these signals only set `received`; a second SIGINT interrupts at once.

    Only a process's main thread can be asked so; in another one nothing is ever received.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def check(self) -> None:
        """Raise StoppedError when a signal has come."""
        if self.received:
            raise StoppedError(self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
