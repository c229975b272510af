"""Where a run's numbers go beside its journal: TensorBoard's curves and, where that is wanted, a tracker."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from openankh.pretraining.run_options import RunOptions
from openankh.pretraining.run_record import RunRecord
from openankh.pretraining.tensorboard import Curves, open_tensorboard
from openankh.pretraining.trackers import open_tracker


class SeveralCurves:
    """Several places that are all given the same."""

    def __init__(self, all_curves: Sequence[Curves]):
        self._all = tuple(all_curves)

    def add(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add the values everywhere."""
        for curves in self._all:
            curves.add(kind, step, values)

    def close(self) -> None:
        """Close all."""
        for curves in self._all:
            curves.close()


def open_curves(
    options: RunOptions, record: RunRecord, resumed_step: int | None, say: Callable[[str], None]
) -> Curves | None:
    """TensorBoard's curves of a run and, where that is wanted, a tracker's; None where there are none."""
    curves: list[Curves] = []
    if board := open_tensorboard(options.out, resumed_step, say):
        curves.append(board)
    if options.log is not None:
        identity = hashlib.sha256(json.dumps(asdict(record), sort_keys=True).encode()).hexdigest()
        curves.append(open_tracker(options.log, options.out, identity, record.recipe))
    return SeveralCurves(curves) if curves else None
