"""CTranslate2: its encoder specification filled by its own T5 loader, one protein a call."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import torch
from ctranslate2.converters.transformers import T5Loader
from ctranslate2.specs import common_spec, transformer_spec
from torch import Tensor

from rivals import Way


def ways(model: Any, num_threads: int) -> Iterator[Way]:
    """fp32 and int8; its bf16 needs a GPU."""
    folder = Path(tempfile.mkdtemp())
    try:
        _convert(model, folder / "model")
        for numbers, kind in (("fp32", "float32"), ("int8", "int8")):
            encoder = ctranslate2.Encoder(
                str(folder / "model"), device="cpu", compute_type=kind, inter_threads=1, intra_threads=num_threads
            )
            yield Way("CTranslate2", numbers, "", _states(encoder))
    finally:
        shutil.rmtree(folder)


def _convert(model: Any, folder: Path) -> None:
    spec = transformer_spec.TransformerEncoderSpec(
        model.config.num_layers,
        model.config.num_heads,
        activation=common_spec.Activation.GELUTanh,
        relative_attention_bias=True,
        ffn_glu=True,
        rms_norm=True,
    )
    T5Loader().set_stack(spec, model.encoder)
    whole = transformer_spec.TransformerEncoderModelSpec(spec)
    whole.register_vocabulary([f"word {number}" for number in range(model.config.vocab_size)])
    whole.validate()
    whole.optimize()
    folder.mkdir()
    whole.save(str(folder))


def _states(encoder: Any) -> Any:
    def states(tokens: Sequence[Tensor]) -> list[Tensor]:
        found = (encoder.forward_batch([ids.tolist()]).last_hidden_state for ids in tokens)
        return [torch.from_numpy(np.array(output)[0, :-1]) for output in found]

    return states
