"""What a model expects at each residue of a protein that it reads whole, in one pass.

The encoder reads the protein with nothing hidden, the decoder writes it again, reading before each residue those that
stand before it. L residues, R residue letters of the vocabulary.
"""

import numpy as np
from numpy.typing import NDArray

from openankh.generation.likelihood import Question, log_probs
from openankh.generation.reader import Reader
from openankh.scoring.masked import among_residues
from openankh.scoring.window import Window
from openankh.vocab import EOS, Vocab


def rows_in_one_pass(reader: Reader, vocab: Vocab, window: Window, sequence: str) -> NDArray[np.float64]:
    """Natural log-probabilities of the vocabulary's residues at every place, (L, R); long proteins by tiles."""
    ids_L = vocab.encode(sequence).astype(np.int64)
    front = [vocab.prefix_id("[NLU]")] if vocab.has_prefix("[NLU]") else []
    tiles = window.tiles(len(ids_L))
    questions = (
        Question(np.concatenate([front, ids_L[read], [EOS]]).astype(np.int64), ids_L[read]) for read, _ in tiles
    )
    parts = [
        among_residues(rows_TV[judged.start - read.start : judged.stop - read.start], vocab)
        for (read, judged), rows_TV in zip(tiles, log_probs(reader, questions), strict=True)
    ]
    return np.concatenate(parts)
