"""The desk: questions answered one after another in a thread of their own; how far each is; cancelling."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from openankh.dossier.making import DossierMaker
from openankh.dossier.overview import overview
from openankh.dossier.sources import Sources
from openankh.errors import UserError
from openankh.lookup.watching import Watcher
from openankh.serve.engine import BusyError, give_way
from openankh.serve.pages.asked import Asked
from openankh.serve.pages.results import Result, Results

log = logging.getLogger("openankh.serve")

State = Literal["waiting", "working", "done", "failed", "cancelled"]
_MOST_WAITING = 32
_MOST_REMEMBERED = 200
_NICENESS = 10


class _LeaveError(Exception):
    """Nobody wants the rest."""


@dataclass
class _Work:
    """A question being answered; written by the desk's thread, `is_wanted` by anyone."""

    result: Result
    question: Asked
    state: State = "waiting"
    share: float = 0.0
    what: str = "waiting for the questions before this one"
    problem: str = ""
    is_wanted: bool = True


@dataclass(frozen=True)
class Standing:
    """How far a result is: `share` of the work, `what` is being done, `problem` where it failed."""

    id: str
    state: State
    share: float
    what: str
    problem: str
    num_done: int
    num_proteins: int


class Desk:
    """Answers questions with sources that are made when the first is asked; `answering` tells them from all others."""

    def __init__(
        self, make_sources: Callable[[Watcher], Sources], letters: str, answering: Callable[[], str], results: Results
    ) -> None:
        self._make_sources, self.letters, self._answering, self.results = make_sources, letters, answering, results
        self._sources: Sources | None = None
        self._changed = threading.Condition()
        self._works: OrderedDict[str, _Work] = OrderedDict()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="openankh-page", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self.results.forget_old()
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the work under way; what is done of it is kept, and the next start goes on from there."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def ask(self, question: Asked) -> str:
        """Let a question wait, or find its answer; gives the result's name. BusyError where too many wait."""
        result = self.results.of(question.id_for(self._answering()))
        assert result is not None
        with self._changed:
            work = self._works.get(result.id)
            if result.is_whole or (work and work.state in ("waiting", "working") and work.is_wanted):
                return result.id
            if sum(each.state == "waiting" for each in self._works.values()) >= _MOST_WAITING:
                raise BusyError(30, "too many questions wait")
            result.begin(question)
            self._works[result.id] = _Work(result, question)
            self._works.move_to_end(result.id)
            self._forget()
            self._changed.notify()
        return result.id

    def standing(self, result: Result) -> Standing:
        """How far a result is; one that a restart has interrupted goes on. Raises UserError, BusyError."""
        if result.is_whole:
            return Standing(result.id, "done", 1.0, "", "", 0, 0)
        work = self._works.get(result.id)
        if work is None:
            if result.is_cancelled:
                return Standing(result.id, "cancelled", 0.0, "", "", result.num_done, 0)
            again = result.question(self.letters)
            if self.ask(again) != result.id:
                raise UserError("this result is of another model or release; ask again")
            work = self._works[result.id]
        total = len(work.question.records)
        return Standing(result.id, work.state, work.share, work.what, work.problem, result.num_done, total)

    def cancel(self, result: Result) -> None:
        """Stop a question; nothing happens where it is answered already."""
        with self._changed:
            work = self._works.get(result.id)
            if result.is_whole:
                return
            result.cancel()
            if work is not None:
                work.is_wanted = False
                if work.state == "waiting":
                    work.state = "cancelled"

    def _forget(self) -> None:
        ended = [name for name, work in self._works.items() if work.state not in ("waiting", "working")]
        for name in ended[: max(len(self._works) - _MOST_REMEMBERED, 0)]:
            del self._works[name]

    def _run(self) -> None:
        give_way(_NICENESS)
        while (work := self._next()) is not None:
            try:
                self._answer(work)
                work.state = "done"
            except _LeaveError:
                work.state = "cancelled"
            except UserError as error:
                work.problem, work.state = str(error), "failed"
            except Exception:
                log.exception("a question of the page failed")
                work.problem, work.state = "an unexpected error; the server's log tells more", "failed"

    def _next(self) -> _Work | None:
        with self._changed:
            while True:
                if self._stopping:
                    return None
                found = next((work for work in self._works.values() if work.state == "waiting"), None)
                if found is not None:
                    found.state = "working"
                    return found
                self._changed.wait()

    def _answer(self, work: _Work) -> None:
        def reach(share: float, what: str) -> None:
            work.share, work.what = share, what
            if self._stopping or not work.is_wanted:
                raise _LeaveError

        reach(0.0, "making ready")
        if self._sources is None:
            self._sources = self._make_sources(Watcher(lambda what, *_: reach(0.0, f"making ready: {what}")))
        maker = DossierMaker(self._sources, work.question.records, work.question.options, reach)
        for dossier in maker.make(work.result.num_done):
            work.result.keep(dossier)
        work.result.finish(overview(work.result.dossiers(), self._sources, maker.method))
