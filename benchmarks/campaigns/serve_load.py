"""A thousand clients that ask for ten times what the server can do, for two minutes; what they are told and how soon.

    python benchmarks/campaigns/serve_load.py [--clients 1000] [--seconds 120] [--times 10] [--threads 2]

First the capacity is measured: 32 clients, each asking again as soon as it is answered. Then clients send requests at
random moments of their own, together so many times the capacity, whatever they are told: `Retry-After` is not obeyed.
Requests hold 1 to 32 real proteins; some clients leave before they are answered. One client asks for health all the
time. Every accepted answer is compared afterwards with what the library computes offline, protein by protein.
"""

import argparse
import asyncio
import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load as load_arrays

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import machine
from measuring import draw_proteins
from served import LIVE, RESULTS, Caller, ServerProcess, embed_body, percentile, put_section, serving

import openankh
from openankh.serve.server import allow_files

SIZES, WEIGHTS = (1, 4, 16, 32), (0.55, 0.25, 0.15, 0.05)
"""Proteins of a request, and how many of the requests have so many."""

LEAVING = 0.01
LIMITS = {"fp32": 1e-5, "bf16": 2e-2}
"""Relative distance to the offline answer: of another company in the batch, as the tests of the library allow it."""


@dataclass(frozen=True)
class Question:
    """A request: which proteins, and its bytes."""

    places: tuple[int, ...]
    body: bytes


@dataclass(eq=False)
class Findings:
    """What clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    reject_seconds: list[float] = field(default_factory=list)
    accept_seconds: list[float] = field(default_factory=list)
    health_seconds: list[float] = field(default_factory=list)
    without_retry_after: int = 0
    accepted: list[tuple[Question, bytes]] = field(default_factory=list)
    num_left: int = 0
    megabytes: list[float] = field(default_factory=list)
    num_files: list[int] = field(default_factory=list)


def questions(sequences: Sequence[str], num: int, seed: int) -> list[Question]:
    """Requests of random sizes."""
    source = random.Random(seed)
    made = []
    for size in source.choices(SIZES, WEIGHTS, k=num):
        places = tuple(source.randrange(len(sequences)) for _ in range(size))
        made.append(Question(places, embed_body([sequences[place] for place in places])))
    return made


async def capacity(port: int, asked: Sequence[Question], seconds: float) -> float:
    """Proteins a second that the server does for 32 clients."""
    end, num, taken = time.perf_counter() + seconds, 0, iter(range(10**9))

    async def client() -> None:
        nonlocal num
        caller = Caller(port)
        while time.perf_counter() < end:
            question = asked[next(taken) % len(asked)]
            reply = await caller.post("/v1/embed", question.body)
            if reply.status == 200:
                num += len(question.places)
            else:  # it is to be busy with answers, not with refusals
                await asyncio.sleep(0.05)
        caller.close()

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(32)))
    return num / (time.perf_counter() - start)


async def one_client(
    number: int, port: int, asked: Sequence[Question], pause: float, end: float, found: Findings
) -> None:
    """Asks at moments of its own until the end."""
    source, caller = random.Random(number), Caller(port)
    await asyncio.sleep(source.random() * pause)
    while time.perf_counter() < end:
        due = time.perf_counter() + source.expovariate(1 / pause)
        question = source.choice(asked)
        try:
            if source.random() < LEAVING:
                await caller.leave("/v1/embed", question.body)
                found.num_left += 1
            else:
                note(await caller.post("/v1/embed", question.body), question, found)
        except (OSError, asyncio.IncompleteReadError) as error:
            found.broken[type(error).__name__] += 1
        await asyncio.sleep(max(due - time.perf_counter(), 0))
    caller.close()


def note(reply, question: Question, found: Findings) -> None:  # type: ignore[no-untyped-def]
    """Write down an answer."""
    found.statuses[reply.status] += 1
    if reply.status == 200:
        found.accept_seconds.append(reply.seconds)
        found.accepted.append((question, reply.content))
    elif reply.status in (429, 503):
        found.reject_seconds.append(reply.seconds)
        found.without_retry_after += b"retry-after" not in reply.headers


async def watch(server: ServerProcess, end: float, found: Findings) -> None:
    """Ask for health twenty times a second; look at the memory once."""
    caller, number = Caller(server.port), 0
    while time.perf_counter() < end:
        reply = await caller.get(LIVE)
        assert reply.status == 200
        found.health_seconds.append(reply.seconds)
        if number % 20 == 0:
            found.megabytes.append(server.megabytes)
            found.num_files.append(server.num_files)
        number += 1
        await asyncio.sleep(0.05)
    caller.close()


async def storm(server: ServerProcess, asked: Sequence[Question], chosen: argparse.Namespace, rate: float) -> Findings:
    """All clients at a time."""
    found = Findings()
    mean = sum(size * weight for size, weight in zip(SIZES, WEIGHTS, strict=True))
    pause = chosen.clients * mean / (chosen.times * rate)
    end = time.perf_counter() + chosen.seconds
    clients = (one_client(n, server.port, asked, pause, end, found) for n in range(chosen.clients))
    await asyncio.gather(watch(server, end, found), *clients)
    return found


def distances(found: Findings, sequences: Sequence[str], threads: int) -> list[float]:
    """Of each protein that was answered: how far from what the library says of it alone, relatively."""
    import torch

    torch.set_num_threads(threads)
    model = openankh.load("openankh-nano", device="cpu")
    exact = [vector for _, vector in model.embed(list(sequences))]
    far = []
    for question, content in found.accepted:
        arrays = load_arrays(content)
        assert len(arrays) == len(question.places), "an answer lacks a protein"
        for number, place in enumerate(question.places):
            right = exact[place]
            far.append(float(np.linalg.norm(arrays[str(number)] - right) / np.linalg.norm(right)))
    return far


def rows(
    found: Findings, far: Sequence[float], limit: float, rate: float, chosen: argparse.Namespace
) -> list[tuple[str, str, bool]]:
    """(what, figure, whether it is as it should be)."""
    allowed = {200, 202, 429, 503}
    health, rejects = percentile(found.health_seconds, 0.99), percentile(found.reject_seconds, 0.99)
    counts = ", ".join(f"{status}: {num:,}" for status, num in sorted(found.statuses.items()))
    waits = [f"{percentile(found.accept_seconds, share):.2f}" for share in (0.5, 0.99)]
    return [
        ("capacity, proteins/s", f"{rate:.0f}", True),
        ("asked for", f"{chosen.times:g} times as much, by {chosen.clients:,} clients, {chosen.seconds:g} s", True),
        ("answers by status", counts, set(found.statuses) <= allowed),
        ("connections broken by the server", str(dict(found.broken) or 0), not found.broken),
        ("clients that left unanswered", f"{found.num_left:,}", True),
        ("refusals without Retry-After", str(found.without_retry_after), not found.without_retry_after),
        ("refusals, p99", f"{1000 * rejects:.1f} ms", rejects <= 0.05),
        ("health, p99", f"{1000 * health:.1f} ms", health <= 0.1),
        ("accepted, p50 and p99", f"{' and '.join(waits)} s", True),
        *compared(far, limit),
        *room(found),
    ]


def compared(far: Sequence[float], limit: float) -> list[tuple[str, str, bool]]:
    """Of proteins beside their offline answers."""
    num_wrong, num_same = sum(each > limit for each in far), sum(each == 0 for each in far)
    figures = f"{len(far):,}, farthest {max(far, default=0):.1e}, {num_same:,} equal in every bit"
    return [
        ("proteins compared with offline", figures, bool(far)),
        (f"farther than {limit:g}", str(num_wrong), not num_wrong),
    ]


def room(found: Findings) -> list[tuple[str, str, bool]]:
    """Of memory and files."""
    steady = found.megabytes[len(found.megabytes) // 5 :] or [math.nan]
    growth = steady[-1] / steady[0] - 1
    memory = f"{steady[0]:.0f} to {steady[-1]:.0f} MB ({growth:+.1%})"
    files = f"{max(found.num_files):,}, {found.num_files[-1]:,}"
    return [
        ("memory, from a fifth of the time to the end", memory, growth <= 0.05),
        ("open files and connections, at most and afterwards", files, True),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign and print its table; 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--times", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--waiting", type=int, default=20_000, help="residues that may wait: the bound of the queue")
    parser.add_argument("--dry", action="store_true", help="print, and leave SERVE.md as it is")
    chosen = parser.parse_args(arguments)
    allow_files(chosen.clients + 512)
    sequences = [record.sequence for record in draw_proteins(300).records if len(record.sequence) <= 1_000]
    asked, load = questions(sequences, 500, seed=1), os.getloadavg()[0]
    words = ["--threads", str(chosen.threads), "--max-waiting", str(chosen.waiting), "--quiet"]
    with serving(words) as server:
        asyncio.run(capacity(server.port, asked, 2.0))
        rate = asyncio.run(capacity(server.port, asked, min(10.0, chosen.seconds)))
        found = asyncio.run(storm(server, asked, chosen, rate))
        time.sleep(1)
        found.num_files.append(server.num_files)
        alive = asyncio.run(Caller(server.port).post("/v1/embed", asked[0].body)).status == 200
    far = distances(found, sequences, chosen.threads)
    limit = LIMITS["bf16" if openankh.load("openankh-nano", device="cpu").dtype == "bf16" else "fp32"]
    told = [*rows(found, far, limit, rate, chosen), ("serves as before afterwards", str(alive), alive)]
    words = " ".join(["python benchmarks/campaigns/serve_load.py", *(sys.argv[1:] if arguments is None else arguments)])
    lines = [f"`{words}`; the load was {load:.1f} when it began.", "", *machine(), "", "| | | |", "|---|---|---|"]
    lines += [f"| {what} | {figure} | {'' if is_right else '**fails**'} |" for what, figure, is_right in told]
    print("\n".join(lines))
    if not chosen.dry:
        put_section(RESULTS, "Ten times as much as there is", "\n".join(lines))
    return 0 if all(is_right for _, _, is_right in told) else 1


if __name__ == "__main__":
    sys.exit(main())
