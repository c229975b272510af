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
    repository that a name alone means; where it is None none is known, and what the repository holds today is taken,
    its commit told.
    """

    name: str
    hub: str
    num_parameters: int | None
    num_encoder_parameters: int | None
    licence: str
    paper: str
    alphabet: Alphabet
    revision: str | None = None


_REVISIONS = {
    "ankh-base": "d99cb6b966530dfc2ae96bc69d9255c2a07308b0",
    "ankh-large": "74b371dbfa3ee0a05d32ae74df0c2e0b82d6b9a6",
    "ankh2-ext2": "aa9b9fa72288c47d9f618ce80c011e24b54e17a8",
    "ankh3-large": "2be091622e8a393f0ef21735070084123c874b6e",
    "ankh3-xl": "e00113df5c95ef71df7ea3f5a73d56bd00e473a4",
}
"""As FastPLMs (2026) pins the official checkpoints that it compares with its own, ankh2-ext1 not among them; studies
that pin ankh-base, ankh-large or ankh3-large name the same commits."""


def _ankh(name: str, num_parameters: int, num_encoder_parameters: int) -> PublishedModel:
    return _published(name, num_parameters, num_encoder_parameters, _FIRST_PAPER, ANKH_ALPHABET)


def _ankh3(name: str, num_parameters: int | None, num_encoder_parameters: int | None) -> PublishedModel:
    return _published(name, num_parameters, num_encoder_parameters, _THIRD_PAPER, ANKH3_ALPHABET)


def _published(
    name: str, num_parameters: int | None, num_encoder_parameters: int | None, paper: str, alphabet: Alphabet
) -> PublishedModel:
    counts = num_parameters, num_encoder_parameters
    return PublishedModel(name, f"ElnaggarLab/{name}", *counts, _NON_COMMERCIAL, paper, alphabet, _REVISIONS.get(name))


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
