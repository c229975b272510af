"""Peak memory of embedding one long protein, beside transformers' T5EncoderModel, each in a process of its own."""

import argparse
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

MIB = 1 << 20


def peak_bytes() -> int:
    """The most memory this process has held so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        assert found, "no VmHWM in /proc/self/status"
        return int(found[1]) << 10
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def embed_once(who: str, dtype: str, num_layers: int, length: int) -> dict[str, int]:
    """Embed a protein of that length; the peak with the model ready, and at the end."""
    import torch
    from bench_embed import DTYPES, our_model, peer_model, peer_states

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    residues = torch.arange(length) % 20 + 3
    if who == "transformers":
        model = peer_model(num_layers, DTYPES[dtype])
        ready = peak_bytes()
        states = peer_states(model, [torch.cat([residues, torch.ones(1, dtype=torch.int64)])], 0)[0]
    else:
        from openankh.embedding.embedder import Embedder
        from openankh.embedding.options import EmbedOptions
        from openankh.fasta import Record
        from openankh.vocab import ankh_vocab

        vocab = ankh_vocab()
        embedder = Embedder(our_model(num_layers, DTYPES[dtype]), vocab, EmbedOptions(pool="residues"))
        ready = peak_bytes()
        record = Record("long", "", vocab.decode(residues.numpy().astype("uint8")), 1)
        ((_, rows),) = embedder.embed([record])
        states = torch.from_numpy(rows)
    assert states.shape == (length, 768)
    return {"ready": ready, "peak": peak_bytes()}


def measured(who: str, dtype: str, num_layers: int, length: int) -> dict[str, int]:
    """`embed_once` in a new process."""
    command = [sys.executable, __file__, "--one", who, dtype, "--layers", str(num_layers), "--length", str(length)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(dtype: str, num_layers: int, length: int) -> str:
    """A line of the table."""
    theirs = measured("transformers", dtype, num_layers, length)
    ours = measured("OpenAnkh", dtype, num_layers, length)
    above = [each["peak"] - each["ready"] for each in (theirs, ours)]
    cells = [
        dtype,
        f"{theirs['peak'] / MIB:,.0f}",
        f"{ours['peak'] / MIB:,.0f}",
        f"{ours['peak'] / theirs['peak']:.2f}",
    ]
    cells += [f"{above[0] / MIB:,.0f}, {above[1] / MIB:,.0f}", f"{above[1] / above[0]:.2f}"]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--one", nargs=2, metavar=("WHO", "DTYPE"), help="measure this one in this process")
    options = parser.parse_args(arguments)
    if options.one:
        who, dtype = options.one
        print(json.dumps(embed_once(who, dtype, options.layers, options.length)))
        return
    print("| numbers | transformers, MiB | OpenAnkh, MiB | share | above the loaded model: theirs, ours | share |")
    print("|---|---|---|---|---|---|")
    for dtype in ("fp32", "bf16"):
        print(row(dtype, options.layers, options.length), flush=True)
    print(
        f"\nOne protein of {options.length:,} residues; width 768, 12 heads of 64, {options.layers} layers; the most "
        "memory a process held (resident), Python and torch included, each in a new process. transformers: sdpa."
    )


if __name__ == "__main__":
    main()
