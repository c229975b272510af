"""What a server can be asked for, as methods: embeddings as arrays, scores, completions, predictions, neighbours."""

import io
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from openankh.client.connection import Connection, Reply, ServerError

Protein = str | tuple[str, str]
"""A sequence, or an id and a sequence."""

_NPZ = {"Accept": "application/x-npz"}
_POLL_SECONDS = (0.05, 2.0)


class Client:
    """A server at `url`, by default that of this machine.

    Requests wait and are tried again when the server has no room, as its `Retry-After` says; work that takes long is
    waited for. Raises ServerError (a UserError) for what the server refuses, and UserError where none answers. May be
    used by several threads.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout: float = 60.0,
        retries: int = 8,
        patience: float = 120.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = Connection(url, token, timeout, retries, patience, pause)
        self._pause = pause

    def served(self) -> Mapping[str, Any]:
        """What is served: model, predictors, proteins to search among, limits."""
        return self._connection.request("GET", "/v1").json()

    def is_ready(self) -> bool:
        """Whether the server takes work."""
        try:
            return self._connection.request("GET", "/v2/health/ready").status == 200
        except ServerError:
            return False

    def embed(self, proteins: Iterable[Protein], *, at_once: int = 256, **options: Any) -> list[NDArray[np.floating]]:
        """The embedding of each protein, in order; `options` are those of `/v1/embed`: pool, layer, prefix, ….

        Any number of proteins: `at_once` go into one request.
        """
        found: list[NDArray[np.floating]] = []
        for part in _parts(_written(proteins), at_once):
            reply = self._result("/v1/embed", {"sequences": part, **options}, _NPZ)
            with np.load(io.BytesIO(reply.content), allow_pickle=False) as arrays:
                found += [arrays[str(number)] for number in range(len(part))]
        return found

    def score(self, sequence: str, variants: Sequence[str] | None = None, **options: Any) -> Mapping[str, Any]:
        """The scores of variants, or of all single substitutions, as `/v1/score` answers."""
        given = {} if variants is None else {"variants": list(variants)}
        return self._result("/v1/score", {"sequence": sequence, **given, **options}).json()

    def complete(self, proteins: Iterable[Protein], **options: Any) -> list[Mapping[str, Any]]:
        """Completions, as `/v1/complete` answers."""
        return self._result("/v1/complete", {"sequences": _written(proteins), **options}).json()["completions"]

    def predict(self, task: str, proteins: Iterable[Protein], **options: Any) -> list[Mapping[str, Any]]:
        """Predictions, as `/v1/predict/{task}` answers."""
        body = {"sequences": _written(proteins), **options}
        return self._result(f"/v1/predict/{_quoted(task)}", body).json()["predictions"]

    def search(self, proteins: Iterable[Protein], **options: Any) -> list[Mapping[str, Any]]:
        """Neighbours of each protein, as `/v1/search` answers."""
        return self._result("/v1/search", {"sequences": _written(proteins), **options}).json()["answers"]

    def close(self) -> None:
        """Close this thread's connection."""
        self._connection.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _result(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Reply:
        """The answer, that of the job where it takes long; a job that is not waited for to its end is cancelled."""
        reply = self._connection.request("POST", path, body, headers)
        if reply.status != 202:
            return reply
        place, seconds = f"/v1/jobs/{json.loads(reply.content)['id']}", _POLL_SECONDS[0]
        try:
            while reply.status == 202:
                self._pause(seconds)
                seconds = min(2 * seconds, _POLL_SECONDS[1])
                reply = self._connection.request("GET", f"{place}/result", headers=headers)
            return reply
        finally:
            self._forget(place)

    def _forget(self, place: str) -> None:
        try:
            self._connection.request("DELETE", place)
        except ServerError:
            return


def _written(proteins: Iterable[Protein]) -> list[str | dict[str, str]]:
    """As the API takes them."""
    if isinstance(proteins, str):
        proteins = [proteins]
    return [each if isinstance(each, str) else {"id": each[0], "sequence": each[1]} for each in proteins]


def _parts(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _quoted(name: str) -> str:
    return quote(name, safe="")
