"""The models that can be named: the one bundled with the package and those the Ankh authors published."""

from dataclasses import dataclass

BUNDLED = "openankh-nano"

_NON_COMMERCIAL = "CC-BY-NC-SA-4.0"


@dataclass(frozen=True)
class PublishedModel:
    """A name and what stands behind it; counts are parameters, None where its authors published none.

    `hub` is its folder on the Hugging Face hub; the paper it comes from is in `paper`.
    """

    name: str
    hub: str
    num_parameters: int | None
    num_encoder_parameters: int | None
    licence: str
    paper: str


PUBLISHED = (
    PublishedModel("ankh-base", "ElnaggarLab/ankh-base", 736_453_632, 453_170_688, _NON_COMMERCIAL, "arXiv 2301.06568"),
    PublishedModel(
        "ankh-large", "ElnaggarLab/ankh-large", 1_878_705_152, 1_151_707_648, _NON_COMMERCIAL, "arXiv 2301.06568"
    ),
    PublishedModel(
        "ankh2-ext1", "ElnaggarLab/ankh2-ext1", 1_878_705_152, 1_151_707_648, _NON_COMMERCIAL, "arXiv 2301.06568"
    ),
    PublishedModel(
        "ankh2-ext2", "ElnaggarLab/ankh2-ext2", 1_878_705_152, 1_151_707_648, _NON_COMMERCIAL, "arXiv 2301.06568"
    ),
    PublishedModel(
        "ankh3-large", "ElnaggarLab/ankh3-large", 1_879_049_216, 1_151_879_680, _NON_COMMERCIAL, "arXiv 2505.20052"
    ),
    PublishedModel("ankh3-xl", "ElnaggarLab/ankh3-xl", None, None, _NON_COMMERCIAL, "arXiv 2505.20052"),
)


def published_model(name: str) -> PublishedModel | None:
    """The published model of this name, None when there is none."""
    return next((model for model in PUBLISHED if model.name == name), None)
