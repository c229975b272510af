"""All single substitutions of a protein by masked-marginal, beside a batched transformers implementation.

    python benchmarks/bench_scan.py [--length 300] [--rounds 3] [--layers 3] [--dtype fp32|bf16]

transformers is given the same masked inputs, all of one length, so that it pads nothing, in its best of batches of 8,
16 and 32, its decoder two tokens long. One thread's CPU time, both in one process in turn, the same weights and number
type.
"""

import argparse
import os
from collections.abc import Sequence

import numpy as np
import torch
from generation_rivals import Pair, base_wide, bundled_pair, random_pair
from measuring import draw_proteins, interleaved

from openankh.scoring.method import ScoringOptions
from openankh.scoring.scan import COLUMNS
from openankh.scoring.scorer import Scorer
from openankh.vocab import EOS, PAD

BATCHES = (8, 16, 32)


@torch.inference_mode()
def theirs(pair: Pair, protein: str, batch: int) -> np.ndarray:
    """The scan by transformers, (L, 20)."""
    vocab, length = pair.vocab, len(protein)
    ids = torch.as_tensor([vocab.prefix_id("[NLU]"), *vocab.encode(protein).tolist(), EOS])
    inputs = ids.repeat(length, 1)
    inputs[torch.arange(length), 1 + torch.arange(length)] = int(vocab.sentinel_ids[0])
    decoder = torch.tensor([[PAD, int(vocab.sentinel_ids[0])]])
    rows = []
    for first in range(0, length, batch):
        part = inputs[first : first + batch]
        logits = pair.peer(input_ids=part, decoder_input_ids=decoder.repeat(len(part), 1)).logits[:, 1]
        rows.append(logits.float().log_softmax(-1))
    rows_LV = torch.cat(rows)
    old_L1 = rows_LV.gather(1, ids[1:-1, None])
    return (rows_LV[:, vocab.encode(COLUMNS).tolist()] - old_L1).numpy()


def line(pair: Pair, protein: str, num_rounds: int) -> str:
    """One row of the table."""
    load = os.getloadavg()[0]
    scorer = Scorer(pair.reader, pair.vocab, ScoringOptions())
    trials = {batch: (lambda batch=batch: theirs(pair, protein[:100], batch)) for batch in BATCHES}
    quickest = interleaved({str(batch): trial for batch, trial in trials.items()}, 1, 1)
    batch = min(BATCHES, key=lambda each: quickest[str(each)].best)
    ways = {"ours": lambda: scorer.scan(protein), "theirs": lambda: theirs(pair, protein, batch)}
    timings = interleaved(ways, num_rounds, 1)
    difference = np.abs(scorer.scan(protein).raw_L20 - theirs(pair, protein, batch)).max()
    ours, others = timings["ours"].median, timings["theirs"].median
    cells = [pair.name, str(len(protein)), f"{ours:.2f}", f"{others:.2f} ({batch})", f"{others / ours:.1f}"]
    return f"| {' | '.join([*cells, f'{difference:.1e}', f'{load:.1f}'])} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=0, help="also ankh-base's widths, so many layers of each stack")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32", help="what both compute in")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    records = draw_proteins(500).records
    protein = next(each.sequence for each in records if len(each.sequence) >= chosen.length)[: chosen.length]
    print("| network | residues | OpenAnkh, s | transformers, s (its batch) | faster | largest difference | load |")
    print("|---|---|---|---|---|---|---|")
    print(line(bundled_pair(chosen.dtype), protein, chosen.rounds), flush=True)
    if chosen.layers:
        name = f"ankh-base's widths, {chosen.layers} + {chosen.layers} layers"
        print(line(random_pair(name, base_wide(chosen.layers), chosen.dtype), protein, chosen.rounds), flush=True)


if __name__ == "__main__":
    main()
