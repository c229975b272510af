"""Thousands of requests made from the server's own OpenAPI document, sensible ones and broken ones; no server error.

    python benchmarks/campaigns/serve_fuzz.py [--cases 5000] [--workers 2]

Schemathesis makes the requests (extra `fuzz`); the server's own meters count what it answered. Work that is large is
allowed to become a job. Nothing but 200, 202, 4xx and 503 with Retry-After may come back.
"""

import argparse
import asyncio
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import machine
from served import LIVE, RESULTS, Caller, put_section, serving

SMALL = ["--max-residues", "300", "--max-proteins", "20"]
"""Limits under which no request takes long."""


def fuzz(url: str, examples: int, workers: int, seed: int) -> subprocess.CompletedProcess[str]:
    """Run Schemathesis with so many examples an operation, against the document of a server."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    command += ["--checks", "not_a_server_error", "--max-examples", str(examples), "--workers", str(workers)]
    command += ["--phases", "examples,coverage,fuzzing", "--mode", "all", "--seed", str(seed), "--no-color"]
    command += ["--continue-on-failure", "--request-timeout", "60", "--suppress-health-check", "all"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def statuses(port: int) -> Counter[int]:
    """What the server has answered, by status."""
    text = (await Caller(port).get("/metrics")).content.decode()
    found: Counter[int] = Counter()
    for status, number in re.findall(r'^openankh_requests_total\{.*status="(\d+)"\} (\S+)$', text, re.MULTILINE):
        found[int(status)] += int(float(number))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign and print its table; 1 for a server error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", action="store_true", help="what Schemathesis says")
    parser.add_argument("--dry", action="store_true", help="print, and leave SERVE.md as it is")
    chosen = parser.parse_args(arguments)
    if importlib.util.find_spec("schemathesis") is None:
        print('schemathesis is not installed; pip install "openankh[fuzz]"', file=sys.stderr)
        return 2
    load, seed, examples = os.getloadavg()[0], 1, 40
    with serving([*SMALL, "--quiet"]) as server:
        seen: Counter[int] = Counter()
        while sum(seen.values()) < chosen.cases:
            done = fuzz(f"http://127.0.0.1:{server.port}", examples, chosen.workers, seed)
            if chosen.show:
                print(done.stdout, done.stderr)
            before, seen = sum(seen.values()), asyncio.run(statuses(server.port))
            assert sum(seen.values()) > before + 20, done.stdout + done.stderr
            seed, examples = seed + 1, min(2 * examples, 400)
        alive = asyncio.run(Caller(server.port).get(LIVE)).status == 200
    wrong = {status: num for status, num in seen.items() if not (200 <= status < 500 or status == 503)}
    words = " ".join(["python benchmarks/campaigns/serve_fuzz.py", *(sys.argv[1:] if arguments is None else arguments)])
    lines = [f"`{words}`; the load was {load:.1f} when it began.", "", *machine(), "", "| | |", "|---|---|"]
    lines += [f"| cases | {sum(seen.values()):,} |"]
    lines += [f"| answers by status | {', '.join(f'{status}: {num:,}' for status, num in sorted(seen.items()))} |"]
    lines += [f"| server errors | {sum(wrong.values())} |", f"| serves as before afterwards | {alive} |"]
    print("\n".join(lines))
    if not chosen.dry:
        put_section(RESULTS, "Requests made from the OpenAPI document", "\n".join(lines))
    return 0 if alive and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
