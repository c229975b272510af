"""A worker process: a model on a device, and part after part as a shard where the store can take it up.

    python -m openankh.fleet.worker DESCRIPTOR

The descriptor is its end of the connection. When that breaks, whoever started it is gone, and the worker ends at once.
"""

import logging
import os
import signal
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from openankh.fleet.job import Failed, Made, OnBatch, embed_part
from openankh.fleet.landing import Landing
from openankh.fleet.messages import FromWorker, Progress, Ready, Start
from openankh.fleet.parts import Part
from openankh.store import Provenance


class Worker:
    """What runs in the process: one shard is written while the next part is embedded."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._inbox: SimpleQueue[Any] = SimpleQueue()

    def run(self) -> None:
        """Serve until the connection breaks."""
        threading.Thread(target=self._receive, daemon=True).start()
        try:
            self._serve()
        except Exception as error:
            self._fail(error)
        threading.Event().wait()  # until the connection breaks

    def _serve(self) -> None:
        start: Start = self._inbox.get()
        if not start.is_first:
            logging.getLogger("openankh").setLevel(logging.ERROR)  # of what all have to say, once is enough
        embedder, setup = start.job.load(start.device, start.num_threads)
        self._send(Ready(setup))
        landing: Landing = self._inbox.get()
        written: Future[None] | None = None
        with ThreadPoolExecutor(1) as writer:
            while True:
                part: Part = self._inbox.get()
                made = embed_part(embedder, part, self._progress_of(part))
                if written is not None:
                    written.result()
                written = writer.submit(self._land, landing, part, made, setup.provenance)

    def _progress_of(self, part: Part) -> OnBatch:
        return lambda num_records, num_residues: self._send(Progress(part.number, num_records, num_residues))

    def _land(self, landing: Landing, part: Part, made: Made, provenance: Provenance) -> None:
        try:
            landed = landing.land(part.number, part.first, made.content, provenance)
            self._send(replace(landed, incidents=made.incidents))
        except Exception as error:
            self._fail(error)

    def _receive(self) -> None:
        try:
            while True:
                self._inbox.put(self._connection.recv())
        except (EOFError, OSError):
            os._exit(1)  # at once: nobody is there to take anything up

    def _send(self, message: FromWorker) -> None:
        with self._sending:
            self._connection.send(message)

    def _fail(self, error: Exception) -> None:
        self._send(Failed.by(error))


def main(arguments: list[str]) -> None:
    """Serve the connection whose descriptor is given."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the one who started it, who ends it then
    Worker(Connection(int(arguments[0]))).run()


if __name__ == "__main__":
    main(sys.argv[1:])
