"""What is measured of a trained network: the masked-residue loss common to all, and probes of its frozen embeddings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from openankh.ablation.masked_loss import masked_loss
from openankh.ablation.options import ProbeSize
from openankh.ablation.outcome import Losses, Probes
from openankh.checkpoint import load_model
from openankh.corpus import Corpus
from openankh.loaded import load
from openankh.pretraining.evaluation import evaluate
from openankh.pretraining.recipes import Recipe
from openankh.tasks.quick_probes import quick_probes


def measured_losses(model: Path, valid: Corpus, recipe: Recipe, device: str) -> Losses:
    """The losses of a model folder: the one common to all, and that of the objective its recipe trains, in fp32."""
    network, where = load_model(model, dtype=torch.float32, device=device).model, torch.device(device)
    (objective,) = recipe.objectives
    crop, num_tokens = recipe.packing.crop, recipe.valid_tokens
    own = evaluate(network, valid, objective, torch.float32, where, crop, num_tokens)
    common = masked_loss(network, valid, objective, crop, num_tokens, device=where)
    return Losses(own.residue_loss, common.loss, common.num_residues)


def measured_probes(model: Path, data: Path, size: ProbeSize, device: str) -> Probes:
    """The probes of a model folder's residue embeddings; all models are probed on the same proteins."""
    loaded = load(model, device)

    def embed(sequences: Sequence[str]) -> list[np.ndarray]:
        return [rows_LD for _, rows_LD in loaded.embed(sequences, pool="residues", dtype="fp32")]

    return Probes(size, quick_probes(embed, data, size=size))
