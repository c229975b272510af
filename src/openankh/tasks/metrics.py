"""Metrics of predictions: accuracy, Matthews correlation, F1, area under the ROC curve, Spearman's correlation.

N predictions, C classes.
"""

import numpy as np
from numpy.typing import NDArray


def confusion(predicted_N: NDArray[np.integer], true_N: NDArray[np.integer], num_classes: int) -> NDArray[np.int64]:
    """How often each true class (rows) was told to be each class (columns), (C, C)."""
    pairs = np.asarray(true_N, np.int64) * num_classes + predicted_N
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy(counts_CC: NDArray[np.number]) -> float:
    """Share of predictions on the diagonal of a confusion matrix."""
    return float(np.trace(counts_CC) / counts_CC.sum())


def matthews_correlation(counts_CC: NDArray[np.number]) -> float:
    """Matthews correlation of a confusion matrix, of more than two classes as Gorodkin (2004) extends it.

    0 where all predictions or all true classes are the same.
    """
    counts = counts_CC.astype(np.float64)
    total, right = counts.sum(), np.trace(counts)
    true_C, predicted_C = counts.sum(axis=1), counts.sum(axis=0)
    covariance = right * total - true_C @ predicted_C
    spread = (total**2 - predicted_C @ predicted_C) * (total**2 - true_C @ true_C)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def f1(counts_CC: NDArray[np.number]) -> float:
    """F1 of the second of two classes; of more classes the mean of theirs, 0 for one never told nor true."""
    right_C = np.diag(counts_CC).astype(np.float64)
    told_and_true_C = counts_CC.sum(axis=0) + counts_CC.sum(axis=1)
    each_C = np.divide(2 * right_C, told_and_true_C, out=np.zeros(len(right_C)), where=told_and_true_C > 0)
    return float(each_C[1] if len(each_C) == 2 else each_C.mean())


def area_under_curve(scores_N: NDArray[np.floating], is_positive_N: NDArray[np.bool_]) -> float:
    """How likely a positive has a higher score than a negative, ties counted half; not a number without both."""
    return area_of_codes(order_codes(scores_N), is_positive_N)


def area_of_codes(codes_N: NDArray[np.integer], is_positive_N: NDArray[np.bool_]) -> float:
    """The same of scores as codes."""
    is_positive = np.asarray(is_positive_N, bool)
    num_positive = int(is_positive.sum())
    num_negative = len(is_positive) - num_positive
    if not num_positive or not num_negative:
        return float("nan")
    above = ranks_of_codes(codes_N)[is_positive].sum() - num_positive * (num_positive + 1) / 2
    return float(above / (num_positive * num_negative))


def spearman(predicted_N: NDArray[np.floating], true_N: NDArray[np.floating]) -> float:
    """Correlation of ranks, ties sharing their mean rank; not a number where either never changes."""
    return spearman_of_codes(order_codes(predicted_N), order_codes(true_N))


def spearman_of_codes(predicted_N: NDArray[np.integer], true_N: NDArray[np.integer]) -> float:
    """The same of numbers as codes."""
    one_N, other_N = (ranks_of_codes(codes_N) - (len(codes_N) + 1) / 2 for codes_N in (predicted_N, true_N))
    spread = float(np.sqrt((one_N @ one_N) * (other_N @ other_N)))
    return float(one_N @ other_N) / spread if spread > 0 else float("nan")


def order_codes(values_N: NDArray[np.floating]) -> NDArray[np.intp]:
    """Whole numbers from 0 in the order of the values (N,), the same for equal ones: sorted once, ranked often."""
    return np.unique(values_N, return_inverse=True)[1]


def ranks_of_codes(codes_N: NDArray[np.integer]) -> NDArray[np.float64]:
    """Ranks from 1 (N,), equal codes sharing the mean of theirs; needs no sorting."""
    num_equal = np.bincount(codes_N)
    return (np.cumsum(num_equal) - (num_equal - 1) / 2)[codes_N]
