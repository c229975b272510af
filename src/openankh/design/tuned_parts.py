"""What of a model is trained: its decoder, small matrices added to its attentions, or all."""

from torch import nn
from torch.nn.utils import parametrize

from openankh.design.family_settings import FamilySettings
from openankh.model import Ankh, Attention
from openankh.tasks.lora import Added, LoraConfig


def choose_parts(model: Ankh, settings: FamilySettings) -> None:
    """Let gradients flow to what the settings name, and to nothing else.

    The embedding, which encoder and decoder share, counts as the encoder's, and so does a head that is tied to it.
    """
    model.requires_grad_(settings.tune == "full")
    if settings.tune == "decoder":
        model.decoder.requires_grad_(True)
        if not model.config.tied_head:
            model.lm_head.requires_grad_(True)
    elif settings.tune == "lora":
        add_matrices(model, settings.lora)


def add_matrices(model: Ankh, config: LoraConfig) -> None:
    """LoRA on the projections of every attention, those across included."""
    for layer in _projections(model, config):
        parametrize.register_parametrization(layer, "weight", Added(layer.weight, config))


def merge_matrices(model: Ankh, config: LoraConfig) -> None:
    """Add what was learned to the weights, so that the model is an ordinary one again."""
    for layer in _projections(model, config):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _projections(model: Ankh, config: LoraConfig) -> list[nn.Linear]:
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    return [getattr(attention, target) for attention in attentions for target in config.targets]
