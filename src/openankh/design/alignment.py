"""How alike two proteins are, by aligning them with parasail (extra `screen`); BLOSUM62, a gap of n costs 10 + n."""

from importlib.util import find_spec

from openankh.errors import UserError

_OPEN, _EXTEND = 11, 1


def can_align() -> bool:
    """Whether parasail is here."""
    return find_spec("parasail") is not None


def require_alignment(whose: str) -> None:
    """Raise UserError where it is not; `whose` is the option that needs it."""
    if not can_align():
        raise UserError(f'{whose}: aligns with parasail, which is not installed; run: pip install "openankh[screen]"')


def global_identity(one: str, other: str) -> float:
    """Identical pairs over the columns of the global alignment, from 0 to 1."""
    import parasail

    found = parasail.nw_stats_striped_sat(one, other, _OPEN, _EXTEND, parasail.blosum62)
    return found.matches / max(found.length, 1)


def local_identity(one: str, other: str) -> float:
    """Identical pairs of the best local alignment over the residues of the shorter protein, from 0 to 1.

    So a protein that holds the other, or a piece of it, counts as alike; unrelated ones share a fifth or so.
    """
    import parasail

    found = parasail.sw_stats_striped_sat(one, other, _OPEN, _EXTEND, parasail.blosum62)
    return found.matches / max(min(len(one), len(other)), 1)
