"""Run all benchmarks and write their tables, with machine, versions, date and commands, to benchmarks/RESULTS.md."""

import argparse
import ast
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from openankh.files import write_file_atomically

FOLDER = Path(__file__).resolve().parent
FIRST = ("embed", "memory", "train")
"""What comes first in the report; other scripts follow by name."""
PACKAGES = ("openankh", "torch", "transformers", "tokenizers", "numpy")


def scripts(only: Sequence[str] = ()) -> list[Path]:
    """The benchmarks, `bench_NAME.py`, in the order of the report."""
    found = {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}
    if unknown := set(only) - set(found):
        raise SystemExit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(found)}")
    names = [*FIRST, *(name for name in found if name not in FIRST)]
    return [found[name] for name in names if not only or name in only]


def machine() -> Iterator[str]:
    """Lines that say what the figures were measured on and with."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield f"- machine: {processor()}, {os.cpu_count()} cores, {memory_gib()} of memory, {platform.system()}"
    yield f"- versions: Python {platform.python_version()}, {versions}"
    yield f"- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    yield f"- load before: {load:.1f} on {cores} cores" + (" (not quiet: trust CPU time alone)" if load > 0.5 else "")


def processor() -> str:
    """The processor's name, and the units for matrices it has."""
    import torch

    info = Path("/proc/cpuinfo")
    fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line) if info.is_file() else {}
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    units = [unit for unit in ("avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16") if unit in fields.get("flags", "")]
    return ", ".join([name, torch.backends.cpu.get_cpu_capability(), *units])


def memory_gib() -> str:
    """All memory of the machine."""
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def section(script: Path, arguments: Sequence[str]) -> str:
    """Run one benchmark in a process of its own; its title, command and table."""
    title = (ast.get_docstring(ast.parse(script.read_text())) or script.stem).splitlines()[0].rstrip(".")
    print(f"\n{title}\n", flush=True)
    command = [sys.executable, str(script), *arguments]
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise SystemExit(f"benchmarks/{script.name} failed with code {process.returncode}; nothing was written")
    text = "".join(lines).strip()
    if not any(line.startswith("|") for line in lines):
        text = f"```\n{text}\n```"
    return f"## {title}\n\n`{' '.join(['python', f'benchmarks/{script.name}', *arguments])}`\n\n{text}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="run these alone: embed, memory, …")
    parser.add_argument("--out", type=Path, default=FOLDER / "RESULTS.md")
    options = parser.parse_args(arguments)
    head = ["# Benchmarks", "", "Written by `make bench`. Ratios are to a peer measured in the same run.", ""]
    head += [*machine(), ""]
    body = [section(script, ()) for script in scripts(options.only)]
    write_file_atomically(options.out, ("\n".join(head) + "\n" + "\n".join(body)).encode())
    print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    main()
