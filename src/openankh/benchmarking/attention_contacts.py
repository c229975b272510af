"""Contacts by logistic regression on a network's attention maps, learned from twenty chains (Rao et al., 2020)."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.model import Ankh
from openankh.tasks.attention_contacts import fit_attention_contacts
from openankh.tasks.attention_maps import attention_maps
from openankh.tasks.contact_map import contact_map
from openankh.tasks.examples import Examples, TaskData
from openankh.tasks.target_space import Contacts
from openankh.vocab import Vocab

NUM_CHAINS, LONGEST = 20, 256


def fit_on_attention(
    data: TaskData, network: Ankh, vocab: Vocab, seed: int
) -> tuple[Callable[[Examples], Sequence[NDArray]], int]:
    """What says of proteins where their contacts are, and from how many training chains that was learned.

    The chains, of at most 256 residues, are drawn by the seed.
    """
    assert isinstance(data.space, Contacts)
    prefix = "[NLU]" if vocab.has_prefix("[NLU]") else ""
    known = set(vocab.letters)

    def maps_of(sequence: str) -> NDArray[np.float32]:
        return attention_maps(network, vocab, "".join(each if each in known else "X" for each in sequence), prefix)

    short = [place for place, sequence in enumerate(data.train.sequences) if len(sequence) <= LONGEST]
    if not short:
        raise UserError(f"{data.task.name}: no training chain of at most {LONGEST} residues; leave head attention out")
    chosen = np.random.default_rng(seed).permutation(short)[:NUM_CHAINS]
    contacts = [contact_map(data.train.targets[place], data.space.max_angstroms) for place in chosen]
    fitted = fit_attention_contacts([maps_of(data.train.sequences[place]) for place in chosen], contacts)

    def told(examples: Examples) -> Sequence[NDArray]:
        return [fitted.scores(maps_of(sequence)) for sequence in examples.sequences]

    return told, len(chosen)
