"""The models that can be named: the one bundled with the package and those the Ankh authors published."""

from collections.abc import Mapping
from dataclasses import dataclass

BUNDLED = "openankh-nano"

_NON_COMMERCIAL = "CC-BY-NC-SA-4.0"
_FIRST_PAPER, _THIRD_PAPER = "arXiv 2301.06568", "arXiv 2505.20052"


@dataclass(frozen=True)
class Alphabet:
    """What is known of a generation's vocabulary: how many pieces, which prefixes, which residues from which id on."""

    generation: str
    size: int
    first_id: int
    residues: str
    prefixes: tuple[str, ...] = ()

    @property
    def residue_ids(self) -> Mapping[str, int]:
        """The id of each residue."""
        return {residue: token_id for token_id, residue in enumerate(self.residues, start=self.first_id)}


ANKH_ALPHABET = Alphabet("Ankh and Ankh2", 144, 3, "ALGVSREDTIPKFQNYMHWCXBOUZ")
ANKH3_ALPHABET = Alphabet("Ankh3", 256, 7, "LAGSVERTIDPKNFQYHMCW", ("[NLU]", "[S2S]"))
"""Of the pieces before and after its 20 residues only the names of two prefixes are known."""

ALPHABETS = (ANKH_ALPHABET, ANKH3_ALPHABET)


@dataclass(frozen=True)
class PublishedModel:
    """A name and what stands behind it; counts are parameters, None where its authors published none.

    `hub` is its repository on the Hugging Face hub, `paper` where it comes from. `revision` is the commit of that
    repository whose weights were checked against the paper's figures: where it is None nobody has, and what the
    repository holds today is taken, its commit told.
    """

    name: str
    hub: str
    num_parameters: int | None
    num_encoder_parameters: int | None
    licence: str
    paper: str
    alphabet: Alphabet
    revision: str | None = None


def _ankh(name: str, num_parameters: int, num_encoder_parameters: int) -> PublishedModel:
    counts = num_parameters, num_encoder_parameters
    return PublishedModel(name, f"ElnaggarLab/{name}", *counts, _NON_COMMERCIAL, _FIRST_PAPER, ANKH_ALPHABET)


def _ankh3(name: str, num_parameters: int | None, num_encoder_parameters: int | None) -> PublishedModel:
    counts = num_parameters, num_encoder_parameters
    return PublishedModel(name, f"ElnaggarLab/{name}", *counts, _NON_COMMERCIAL, _THIRD_PAPER, ANKH3_ALPHABET)


PUBLISHED = (
    _ankh("ankh-base", 736_453_632, 453_170_688),
    _ankh("ankh-large", 1_878_705_152, 1_151_707_648),
    _ankh("ankh2-ext1", 1_878_705_152, 1_151_707_648),
    _ankh("ankh2-ext2", 1_878_705_152, 1_151_707_648),
    _ankh3("ankh3-large", 1_879_049_216, 1_151_879_680),
    _ankh3("ankh3-xl", None, None),
)


def published_model(name: str) -> PublishedModel | None:
    """The published model of this name (`ankh-base` or `ElnaggarLab/ankh-base`), None when there is none."""
    return next((model for model in PUBLISHED if name in (model.name, model.hub)), None)
