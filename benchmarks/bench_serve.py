"""Requests of 32 clients in common batches, beside one request at a time, and a short protein's way through the crowd.

    python benchmarks/bench_serve.py [--clients 32] [--seconds 10] [--rounds 3] [--threads 2] [--device cpu]

The same server twice, once with batches of one protein (`--max-tokens 1`), and the service that people write first:
FastAPI with transformers, one request through the model at a time. Real proteins, one a request; each client asks again
as soon as it is answered. All servers run throughout and are asked in turn. The short protein has 50 residues; the time
of a batch is the mean over those of the same seconds, as the server's own meters tell.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import machine
from measuring import RealProteins, draw_proteins
from served import RESULTS, Caller, ServerProcess, batch_figures, embed_body, percentile, put_section, serving

RIVAL = str(Path(__file__).with_name("serve_one_at_a_time.py"))
SHORT = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSG"


@dataclass(frozen=True)
class Crowd:
    """What clients saw in some seconds: proteins a second, the seconds of each answer."""

    rate: float
    seconds: tuple[float, ...]
    short: tuple[float, ...] = ()
    batch_seconds: float = float("nan")
    batch_tokens: float = float("nan")


async def crowd(port: int, bodies: Sequence[bytes], num_clients: int, seconds: float, with_short: bool) -> Crowd:
    """So many clients for so many seconds; one more asks for the short protein, again and again, where wanted."""
    end, taken, done = time.perf_counter() + seconds, iter(range(10**9)), []

    async def client() -> None:
        caller = Caller(port)
        while time.perf_counter() < end:
            reply = await caller.post("/v1/embed", bodies[next(taken) % len(bodies)])
            assert reply.status == 200, reply
            done.append(reply.seconds)
        caller.close()

    async def passer() -> list[float]:
        caller, found = Caller(port), []
        await asyncio.sleep(0.2)  # until the crowd is there
        while time.perf_counter() < end - 0.2:
            found.append((await caller.post("/v1/embed", embed_body([SHORT]))).seconds)
        caller.close()
        return found

    before = await batch_figures(port) if with_short else (0.0, 0.0, 0.0)
    start = time.perf_counter()
    passing = asyncio.create_task(passer()) if with_short else None
    await asyncio.gather(*(client() for _ in range(num_clients)))
    short = await passing if passing else []
    spent = time.perf_counter() - start
    if not with_short:
        return Crowd(len(done) / spent, tuple(done))
    num, busy, tokens = (b - a for a, b in zip(before, await batch_figures(port), strict=True))
    return Crowd(len(done) / spent, tuple(done), tuple(short), busy / num, tokens / num)


def table(found: dict[str, list[Crowd]], num_clients: int, proteins: RealProteins) -> str:
    """Markdown."""
    rates = {name: statistics.median(each.rate for each in rounds) for name, rounds in found.items()}
    first = next(iter(rates.values()))
    lines = [
        f"| {num_clients} clients | proteins/s | ours is so many times as fast | p50, ms | p99, ms |",
        "|---|---|---|---|---|",
    ]
    for name, rounds in found.items():
        seconds = [each for crowd in rounds for each in crowd.seconds]
        cells = [f"{rates[name]:.0f}", f"{first / rates[name]:.2f}"]
        cells += [f"{1000 * percentile(seconds, share):.0f}" for share in (0.5, 0.99)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    mean = proteins.num_residues / len(proteins.records)
    return "\n".join([*lines, "", f"{len(proteins.records)} {proteins.origin}, {mean:.0f} residues on average."])


def short_table(rounds: Sequence[Crowd]) -> str:
    """The short protein's way, in batches' times."""
    short = [each for crowd in rounds for each in crowd.short]
    batch = statistics.mean(crowd.batch_seconds for crowd in rounds)
    tokens = statistics.mean(crowd.batch_tokens for crowd in rounds)
    p50, p99 = percentile(short, 0.5), percentile(short, 0.99)
    return (
        "| a protein of 50 residues in the crowd | |\n|---|---|\n"
        f"| answers | {len(short):,} |\n| p50, p99 | {1000 * p50:.0f}, {1000 * p99:.0f} ms |\n"
        f"| a batch, on average | {1000 * batch:.0f} ms, {tokens:,.0f} tokens |\n| p99 in batches | {p99 / batch:.2f} |"
    )


def measured(servers: dict[str, ServerProcess], chosen: argparse.Namespace, proteins: RealProteins) -> str:
    """Both tables."""
    bodies = [embed_body([record.sequence]) for record in proteins.records]
    found: dict[str, list[Crowd]] = {name: [] for name in servers}
    for _ in range(chosen.rounds):
        for name, server in servers.items():
            asyncio.run(crowd(server.port, bodies[:64], chosen.clients, 1.0, False))
            found[name].append(asyncio.run(crowd(server.port, bodies, chosen.clients, chosen.seconds, False)))
    ours = next(iter(servers.values()))
    rounds = [asyncio.run(crowd(ours.port, bodies, chosen.clients, chosen.seconds, True)) for _ in range(chosen.rounds)]
    return "\n\n".join([table(found, chosen.clients, proteins), short_table(rounds)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--longest", type=int, default=1_000, help="residues of the longest protein asked for")
    parser.add_argument("--no-transformers", action="store_true")
    parser.add_argument("--dry", action="store_true", help="print, and leave SERVE.md as it is")
    chosen = parser.parse_args(arguments)
    drawn = draw_proteins(1_000)
    kept = tuple(record for record in drawn.records if len(record.sequence) <= chosen.longest)
    common = ["--threads", str(chosen.threads), "--device", chosen.device, "--max-waiting", "100000000", "--quiet"]
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        servers = {"common batches": stack.enter_context(serving(common))}
        servers["one protein a batch"] = stack.enter_context(serving([*common, "--max-tokens", "1"]))
        if not chosen.no_transformers and chosen.device == "cpu":
            rival = serving([str(chosen.threads), "bf16"], RIVAL)
            servers["transformers, one request at a time"] = stack.enter_context(rival)
        tables = measured(servers, chosen, RealProteins(kept, drawn.origin))
    words = " ".join(["python benchmarks/bench_serve.py", *(sys.argv[1:] if arguments is None else arguments)])
    facts = f"`{words}`: {chosen.threads} threads, {chosen.device}; the load was {load:.1f} when it began."
    text = "\n\n".join([facts, "\n".join(machine()), tables])
    print(text)
    if not chosen.dry:
        put_section(RESULTS, f"Common batches, {chosen.device}", text)


if __name__ == "__main__":
    main()
