"""Results on disk: a folder each, named by the question, filled dossier by dossier, its overview last."""

import json
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from openankh.dossier.dossier import Dossier, Overview
from openankh.dossier.json_text import from_json, to_json
from openankh.dossier.options import DossierOptions
from openankh.errors import UserError
from openankh.files import write_file_atomically
from openankh.serve.pages.asked import Asked, asked

_ID = re.compile(r"[0-9a-f]{24}\Z")
_INPUT, _OPTIONS, _OVERVIEW, _CANCELLED = "input.fasta", "options.json", "overview.json", "cancelled"
KEPT_DAYS = 30
_DAY = 86_400.0


class Result:
    """One result, begun or whole."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.id = folder, folder.name

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there."""
        return (self.folder / _OVERVIEW).is_file()

    @property
    def is_cancelled(self) -> bool:
        """Whether its visitor stopped it."""
        return (self.folder / _CANCELLED).is_file()

    @property
    def num_done(self) -> int:
        """Dossiers that are there, without a gap from the first on."""
        number = 0
        while self._place(number + 1).is_file():
            number += 1
        return number

    @property
    def fasta(self) -> str:
        """The question's text."""
        return (self.folder / _INPUT).read_text("utf-8", "surrogateescape")

    def begin(self, question: Asked) -> None:
        """Keep the question, so that it can be answered after a restart too."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file_atomically(self.folder / _OPTIONS, json.dumps(asdict(question.options)))
        write_file_atomically(self.folder / _INPUT, question.fasta.encode("utf-8", "surrogateescape"))
        (self.folder / _CANCELLED).unlink(missing_ok=True)

    def question(self, letters: str) -> Asked:
        """The question again; UserError for one that cannot be read."""
        try:
            options = DossierOptions(**json.loads((self.folder / _OPTIONS).read_text()))
        except (OSError, ValueError, TypeError):
            raise UserError("this result is damaged; ask again") from None
        return asked(self.fasta, options, letters)

    def cancel(self) -> None:
        """Say that it is not wanted any more."""
        if self.folder.is_dir():
            (self.folder / _CANCELLED).touch()

    def keep(self, dossier: Dossier) -> None:
        """The next dossier."""
        write_file_atomically(self._place(dossier.number), to_json(dossier))

    def finish(self, found: Overview) -> None:
        """All dossiers are there."""
        write_file_atomically(self.folder / _OVERVIEW, to_json(found))

    def overview_json(self) -> bytes:
        """The overview as it is kept."""
        return (self.folder / _OVERVIEW).read_bytes()

    def overview(self) -> Overview:
        """The overview."""
        return from_json(Overview, self.overview_json())

    def dossier_json(self, number: int) -> bytes | None:
        """A dossier as it is kept; None where there is none of that number."""
        place = self._place(number)
        return place.read_bytes() if place.is_file() else None

    def dossier(self, number: int) -> Dossier | None:
        """A dossier; None where there is none of that number."""
        text = self.dossier_json(number)
        return None if text is None else from_json(Dossier, text)

    def dossiers(self) -> Sequence[Dossier]:
        """All that are there."""
        return [each for number in range(1, self.num_done + 1) if (each := self.dossier(number))]

    def touch(self) -> None:
        """It was asked for: it is kept from now on anew."""
        if self.folder.is_dir():
            self.folder.touch()

    def _place(self, number: int) -> Path:
        return self.folder / f"dossier-{number:06d}.json"


class Results:
    """All results in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, result_id: str) -> Result | None:
        """The result of that name, begun or not; None for what is no name."""
        return Result(self._folder / result_id) if _ID.match(result_id) else None

    def find(self, result_id: str) -> Result | None:
        """The result of that name that has been begun; None where there is none."""
        result = self.of(result_id)
        return result if result and (result.folder / _INPUT).is_file() else None

    def forget_old(self) -> None:
        """Remove those that nobody asked for in the last 30 days."""
        oldest = time.time() - KEPT_DAYS * _DAY
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if _ID.match(folder.name) and folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
