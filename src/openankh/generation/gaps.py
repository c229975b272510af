"""A protein with gaps, of which a window at a time is filled: each gap a sentinel, behind which its residue is written.

The encoder reads the protein up to the first gap beyond the window, so that each later window reads what was written in
the earlier ones.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from openankh.generation.job import Job, Written
from openankh.generation.residue_rules import ResidueRules
from openankh.generation.script import Script, without
from openankh.vocab import EOS, PAD, Vocab

GAP = -1


@dataclass(frozen=True, eq=False)
class Filling:
    """One result of a protein at work: `ids` (L,) of its residues, GAP where there is none yet.

    `log_probs` (L,) belong to those written; `sample` is its number, `seed` the protein's, `required` what has still
    to be written somewhere.
    """

    ids: NDArray[np.int64]
    log_probs: NDArray[np.float64]
    seed: int
    sample: int
    required: tuple[int, ...]

    @property
    def gaps(self) -> NDArray[np.int64]:
        """The places still to be filled, from 0."""
        return np.flatnonzero(self.ids == GAP)

    def filled(self, written: Written, window: int, sample: int) -> "Filling":
        """With the next window's residues, as one of its job's results gives them."""
        places = self.gaps[:window]
        ids, log_probs = self.ids.copy(), self.log_probs.copy()
        ids[places], log_probs[places] = written.tokens, written.log_probs
        outstanding = self.required
        for token in written.tokens.tolist():
            outstanding = without(outstanding, token)
        return replace(self, ids=ids, log_probs=log_probs, sample=sample, required=outstanding)

    def job(self, vocab: Vocab, rules: ResidueRules, width: int, window: int, num: int) -> Job:
        """What is to be written for the next window."""
        gaps = self.gaps
        here = gaps[:window]
        end = gaps[window] if len(gaps) > window else len(self.ids)
        shown = self.ids[:end].copy()
        shown[here] = vocab.sentinel_ids[: len(here)]
        prefix = [vocab.prefix_id("[NLU]")] if vocab.has_prefix("[NLU]") else []
        sentinels = vocab.sentinel_ids[: len(here)]
        masks, numbers = rules.masks((gaps + 1).tolist(), vocab, width)
        script = Script(
            first=np.array([PAD, sentinels[0]]),
            tails=np.append(sentinels[1:], PAD)[:, None],  # behind the last choice nothing is read any more
            masks=masks,
            mask_of=numbers,
            required=self.required,
            num_later=len(gaps) - len(here),
        )
        inputs = np.concatenate([prefix, shown, [EOS]]).astype(np.int64)
        return Job(inputs, script, num, self.seed, self.sample, first_choice=int(here[0]))
