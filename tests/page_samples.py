"""A whole server with its page, for tests: a tiny model and untrained predictors; it can be restarted."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dossier_samples
from openankh.dossier.making import DossierMaker
from openankh.serve.app import create_app
from openankh.serve.model_host import ModelHost
from openankh.serve.pages import desk
from openankh.serve.server import Server, bound, configuration, url_of
from openankh.serve.settings import NamedFolder, Settings
from openankh.tasks.artifact import save_artifact

PATIENCE = 150.0
"""Seconds until a test gives up waiting, on however busy a machine."""


def page_settings(folder: Path) -> tuple[Settings, ModelHost]:
    """A model with predictors of every kind, saved as a user would have them."""
    loaded = dossier_samples.loaded_model(folder)
    named = []
    for each in dossier_samples.predictors(loaded):
        place = folder / each.artifact.origin.task
        save_artifact(each.artifact, place, (np.ones((3, loaded.model.config.d_model), np.float32),))
        named.append(NamedFolder(place.name, place))
    settings = Settings(model=str(loaded.folder), port=0, predictors=tuple(named), results=folder / "results")
    return settings, ModelHost(loaded)


class PageServer:
    """The server in a thread of its own, on one port however often it is started."""

    def __init__(self, settings: Settings, model: ModelHost) -> None:
        self._settings, self._model = settings, model
        self.url = ""

    def start(self) -> None:
        """Serve, from when this returns."""
        listener = bound(self._settings)
        self._settings = replace(self._settings, port=listener.getsockname()[1])
        self.url = url_of(listener, self._settings)
        app, ready = create_app(self._settings, self._model), threading.Event()
        self._server = Server(configuration(app, self._settings), ready.set)

        def run() -> None:
            self._server.run(sockets=[listener])
            listener.close()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert ready.wait(PATIENCE)

    def stop(self) -> None:
        """Stop as SIGTERM does."""
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextmanager
def serving_page(folder: Path) -> Iterator[PageServer]:
    """A server that is stopped at the end."""
    server = PageServer(*page_settings(folder))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(desk, "_NICENESS", 0)  # tests do not wait longer than they must
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def held() -> Iterator[Callable[[], None]]:
    """Let every scan of variants wait, at half of it, until the function given is called, or the block ends."""
    gate, scan = threading.Event(), DossierMaker._scan

    def waiting(self: DossierMaker, *arguments: Any) -> None:
        while not gate.wait(0.01):
            self._effort.reach(0.5)  # raises where nobody wants it any more
        scan(self, *arguments)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(DossierMaker, "_scan", waiting)
        try:
            yield gate.set
        finally:
            gate.set()


def fasta(num: int, length: int = 24) -> str:
    """Made-up proteins of two colours."""
    generator = np.random.default_rng(num)
    letters = list("ACDEFGHIKLMNPQRSTVWY")
    return "".join(
        f">protein_{n} made up colour={'red' if n % 2 else 'blue'}\n{''.join(generator.choice(letters, length))}\n"
        for n in range(1, num + 1)
    )
