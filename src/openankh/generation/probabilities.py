"""From logits to the log-probabilities that tokens are chosen by. N rows, V vocabulary; each row by itself."""

import numpy as np
from numpy.typing import NDArray

from openankh.errors import UserError
from openankh.generation.method import Method


def log_softmax(logits_NV: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalised log-probabilities over the last axis; -inf stays. Raises UserError for numbers that are none."""
    most = logits_NV.max(-1, keepdims=True)
    if not np.isfinite(most).all():
        raise UserError("the model's logits are not finite: its weights are damaged, or its numbers too narrow (fp16)")
    shifted = logits_NV - most
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def warp(log_probs_NV: NDArray[np.float32], method: Method) -> NDArray[np.float32]:
    """Temperature, then the top k, then the top p, normalised again; tokens left out are -inf."""
    if not method.is_warped:
        return log_probs_NV
    warped = log_softmax((log_probs_NV / np.float32(method.temperature)).astype(np.float32))
    if 0 < method.top_k < warped.shape[-1]:
        least = np.partition(warped, -method.top_k, axis=-1)[..., -method.top_k, None]
        warped = np.where(warped < least, -np.inf, warped).astype(np.float32)
    if method.top_p < 1:
        warped = _keep_top_p(log_softmax(warped), method.top_p)
    return log_softmax(warped)


def _keep_top_p(log_probs_NV: NDArray[np.float32], top_p: float) -> NDArray[np.float32]:
    """The likeliest tokens that reach `top_p` together, and no more: -inf for all others."""
    order = np.argsort(-log_probs_NV, axis=-1, kind="stable")
    sorted_NV = np.exp(np.take_along_axis(log_probs_NV, order, -1), dtype=np.float64)
    before = np.cumsum(sorted_NV, axis=-1) - sorted_NV
    dropped = np.empty(log_probs_NV.shape, bool)
    np.put_along_axis(dropped, order, before >= top_p, -1)
    return np.where(dropped, -np.inf, log_probs_NV).astype(np.float32)


def draw(log_probs_NV: NDArray[np.float32], uniforms_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """One token a row, by its uniform number: the first at which the probabilities add up to more."""
    sums = np.cumsum(np.exp(log_probs_NV, dtype=np.float64), axis=-1)
    return (sums > uniforms_N[..., None] * sums[..., -1:]).argmax(-1)
