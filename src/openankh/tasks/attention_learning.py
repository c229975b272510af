"""Contacts learned from attention maps: a logistic regression on a few chains, its decay chosen by validation.

After Rao et al. (2020), who show that twenty chains suffice. L residues, M maps, N pairs.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch

from openankh.errors import UserError
from openankh.tasks.artifact import Artifact
from openankh.tasks.attention_rows import AttentionRows
from openankh.tasks.cached_states import Preprocessing
from openankh.tasks.contact_map import contact_map
from openankh.tasks.contact_precision import RANGES
from openankh.tasks.examples import Examples, TaskData
from openankh.tasks.finetuning import BaseModel, Finetuned, HeadChoice, OnEpoch, metrics_of, origin_of
from openankh.tasks.fitting import Epoch, Fitted, outputs_of
from openankh.tasks.heads.map_output import MapOutput
from openankh.tasks.logistic_regression import LogisticRegression, fit_logistic_regression
from openankh.tasks.predictor import Predictor
from openankh.tasks.target_space import Contacts
from openankh.tasks.tuned_encoder import exact_embedder, load_exact
from openankh.tasks.validation import score_of

NUM_CHAINS, LONGEST = 20, 256
DECAYS = (1e-5, 1e-4, 1e-3, 1e-2)
_CHOSEN_BY = 200
"""Validation chains that choose the decay."""


def attention_rows(base: BaseModel) -> AttentionRows:
    """The attention maps of a model, ready to be made; UserError for a layer or precision that they do not have."""
    if base.layer != -1:
        raise UserError(f"layer {base.layer}: head attention reads the maps of all layers; omit --layer")
    if base.options.precision not in ("auto", "fp32"):
        raise UserError(f"precision {base.options.precision}: attention maps are made in fp32; omit --precision")
    loaded = load_exact(base.name, base.access)
    config, embedder = loaded.model.config, exact_embedder(loaded)
    num_maps = config.num_encoder_layers * config.num_heads
    pre = Preprocessing(
        loaded.pinned_name,
        loaded.sha256,
        config.num_encoder_layers,
        "residues",
        embedder.prefix,
        "fp32",
        "fp32",
        num_maps,
        "attention",
    )
    return AttentionRows(embedder, pre)


def finetune_attention(
    data: TaskData,
    rows: AttentionRows,
    seeds: tuple[int, ...] = (0,),
    on_epoch: OnEpoch = lambda seed, epoch, num_epochs: None,
    num_chains: int = NUM_CHAINS,
) -> Finetuned:
    """Learn from `num_chains` training chains of at most 256 residues, drawn by each seed, and keep the best.

    Each decay counts as an epoch. Raises UserError for a task that is none of contacts.
    """
    assert seeds, "at least one seed"
    fits = {seed: _fitted(data, rows, seed, on_epoch, num_chains) for seed in seeds}
    scores = {seed: fitted.valid_score for seed, (fitted, _) in fits.items()}
    best = max(seeds, key=lambda seed: -math.inf if math.isnan(scores[seed]) else scores[seed])
    fitted, num = fits[best]
    training = {"seed": best, "chains": num, "decay": DECAYS[fitted.best_epoch - 1]}
    if len(seeds) > 1:
        training["valid_by_seed"] = {str(seed): round(score, 4) for seed, score in scores.items()}
    metrics = metrics_of(fitted.predictor, data, rows)
    return Finetuned(Artifact(fitted.predictor, rows.preprocessing, origin_of(data, training), metrics), fitted, scores)


def _fitted(data: TaskData, rows: AttentionRows, seed: int, on_epoch: OnEpoch, num_chains: int) -> tuple[Fitted, int]:
    """The regression of the best decay, and how many chains it was learned from."""
    chains = _drawn(data, seed, num_chains)
    features_NM, contacts_N = _pairs(data, rows, chains)
    valid = data.valid.at(range(min(_CHOSEN_BY, len(data.valid))))
    history: list[Epoch] = []
    found: Mapping[int, Predictor] = {}
    for number, decay in enumerate(DECAYS, start=1):
        regression = fit_logistic_regression(features_NM, contacts_N, 2, decay=decay)
        predictor = _predictor(data, rows, regression)
        score = score_of(data.task.metric, data.space, outputs_of(predictor, rows, valid), valid)
        found = {**found, number: predictor}
        history.append(Epoch(number, float("nan"), score))
        on_epoch(seed, history[-1], len(DECAYS))
    best = max(history, key=lambda epoch: -math.inf if math.isnan(epoch.valid_score) else epoch.valid_score)
    return Fitted(found[best.number], best.number, tuple(history)), len(chains)


def _drawn(data: TaskData, seed: int, num_chains: int) -> Examples:
    if not isinstance(data.space, Contacts):
        raise UserError(f"head attention: is for contacts, not for {data.task.name}; use another head")
    short = [place for place, sequence in enumerate(data.train.sequences) if len(sequence) <= LONGEST]
    if not short:
        raise UserError(f"{data.task.name}: no training chain of at most {LONGEST} residues; use another head")
    return data.train.at(np.random.default_rng(seed).permutation(short)[:num_chains].tolist())


def _pairs(data: TaskData, rows: AttentionRows, chains: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Of all pairs whose residues have coordinates, six apart or more: their maps (N, M), and whether they touch."""
    assert isinstance(data.space, Contacts)
    features, contacts = [], []
    for sequence, xyz_L3 in zip(chains.sequences, chains.targets, strict=True):
        first, second = RANGES["all"].pairs(len(sequence))
        is_known_L = ~np.isnan(xyz_L3[:, 0])
        is_known = is_known_L[first] & is_known_L[second]
        first, second = first[is_known], second[is_known]
        features.append(rows.rows(sequence)[first, second])
        contacts.append(contact_map(xyz_L3, data.space.max_angstroms)[first, second].astype(np.int64))
    return np.concatenate(features), np.concatenate(contacts)


def _predictor(data: TaskData, rows: AttentionRows, regression: LogisticRegression) -> Predictor:
    """The regression as a head."""
    predictor = Predictor(HeadChoice("attention").config(data, rows.preprocessing.width), data.space)
    output = predictor.head.output
    assert isinstance(output, MapOutput)
    with torch.no_grad():
        predictor.mean_D.copy_(torch.from_numpy(regression.mean_D))
        predictor.scale_D.copy_(torch.from_numpy(regression.scale_D))
        output.linear.weight.copy_(torch.from_numpy(regression.weight_CD[1:] - regression.weight_CD[:1]))
        output.linear.bias.copy_(torch.from_numpy(regression.bias_C[1:] - regression.bias_C[:1]))
    return predictor.eval()
