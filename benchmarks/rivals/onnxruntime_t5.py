"""ONNX Runtime: the eager encoder exported with a free length, quantised dynamically, one protein a call."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from rivals import Way


class _Encoder(nn.Module):
    """Ids (1, T) to states (1, T, D)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(input_ids=ids).last_hidden_state


def ways(eager: Any, num_threads: int) -> Iterator[Way]:
    """int8: weights a channel, activations a tensor as it comes."""
    folder = Path(tempfile.mkdtemp())
    try:
        whole, quantised = folder / "fp32.onnx", folder / "int8.onnx"
        torch.onnx.export(
            _Encoder(eager),
            (torch.ones(1, 64, dtype=torch.int64),),
            str(whole),
            input_names=["ids"],
            output_names=["states"],
            dynamic_axes={"ids": {1: "length"}, "states": {1: "length"}},
            dynamo=False,
        )
        quantize_dynamic(str(whole), str(quantised), weight_type=QuantType.QInt8, per_channel=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
        session = onnxruntime.InferenceSession(str(quantised), options, providers=["CPUExecutionProvider"])
    finally:
        shutil.rmtree(folder)

    def states(tokens: Sequence[Tensor]) -> list[Tensor]:
        found = (np.asarray(session.run(None, {"ids": ids[None].numpy()})[0]) for ids in tokens)
        return [torch.from_numpy(output[0, :-1]) for output in found]

    yield Way("ONNX Runtime", "int8", "dynamic", states)
