"""Campaigns of faults against what writes embeddings; their results go to benchmarks/CAMPAIGNS.md.

make campaign, or: python benchmarks/campaigns [--kills 500] [--only kills calls command disks small locks]
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(FOLDER), str(FOLDER / "campaigns")]

from bench import machine  # noqa: E402
from full_disks import faults_at_every_call, small_disks  # noqa: E402
from locks import two_writers  # noqa: E402
from store_kills import kills_at_every_call, kills_of_the_command, random_kills  # noqa: E402
from trials import Campaign  # noqa: E402


def main() -> int:
    """Run the campaigns, write their table; exit code 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=FOLDER / "CAMPAIGNS.md")
    options = parser.parse_args()
    runs: dict[str, Callable[[], Iterator[Campaign]]] = {
        "kills": lambda: iter([random_kills(options.kills)]),
        "calls": lambda: iter([kills_at_every_call()]),
        "command": lambda: iter([kills_of_the_command(max(options.kills // 25, 1))]),
        "disks": faults_at_every_call,
        "small": lambda: iter([found] if (found := small_disks()) else []),
        "locks": lambda: iter([two_writers(50)]),
    }
    command = " ".join(["python benchmarks/campaigns", *sys.argv[1:]])
    sections = [f"# Campaigns of faults\n\nWritten by `make campaign` (`{command}`).\n", *machine(), ""]
    num_failures = 0
    for name, run in runs.items():
        started = time.perf_counter()
        for campaign in run() if not options.only or name in options.only else ():
            num_failures += len(campaign.tally.failures)
            sections.append(f"{campaign.as_markdown()}\n{(time.perf_counter() - started) / 60:.0f} minutes.\n")
            print(sections[-1], flush=True)
    options.out.write_text("\n".join(sections))
    print(f"{num_failures} failures; written to {options.out}")
    return int(num_failures > 0)


if __name__ == "__main__":
    sys.exit(main())
