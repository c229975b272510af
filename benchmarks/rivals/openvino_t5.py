"""OpenVINO: the model converted from torch, one protein a call; int8 by nncf after calibration on other proteins."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import openvino
import torch
from torch import Tensor, nn

from rivals import Way


class _Encoder(nn.Module):
    """Ids (1, T) to states (1, T, D)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(input_ids=ids).last_hidden_state


def ways(model: Any, calibration: Sequence[Tensor], num_threads: int) -> Iterator[Way]:
    """fp32, bf16 by its hint, and int8."""
    with torch.no_grad():
        graph = openvino.convert_model(_Encoder(model), example_input=torch.ones(1, 64, dtype=torch.int64))
    for numbers, hint in (("fp32", "f32"), ("bf16", "bf16")):
        yield _way(graph, numbers, hint, f"{hint} hint", num_threads)
    yield _way(_quantised(graph, calibration), "int8", "bf16", "nncf, rest bf16", num_threads)


def _quantised(graph: Any, calibration: Sequence[Tensor]) -> Any:
    import nncf

    samples = nncf.Dataset([tokens[None].numpy() for tokens in calibration])
    return nncf.quantize(graph, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(calibration))


def _way(graph: Any, numbers: str, hint: str, how: str, num_threads: int) -> Way:
    settings = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": num_threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(graph, "CPU", settings)

    def states(tokens: Sequence[Tensor]) -> list[Tensor]:
        return [torch.from_numpy(np.array(compiled(ids[None].numpy())[0][0, :-1], np.float32)) for ids in tokens]

    return Way("OpenVINO", numbers, how, states)
