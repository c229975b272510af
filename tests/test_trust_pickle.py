"""A model whose weights are a pickle is read when asked for by name, and only then."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from openankh.cli import main
from openankh.model_names import resolve

SAMPLE = Path(__file__).parent / "data" / "sample.fasta"


def test_embed_reads_a_pickle_of_tensors_only_when_asked_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundled, folder = resolve("openankh-nano"), tmp_path / "pickled"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bundled / name, folder)
    torch.save(load_file(bundled / "model.safetensors"), folder / "pytorch_model.bin")
    command = ["embed", str(SAMPLE), "-o", str(tmp_path / "out.npz"), "-m", str(folder), "--quiet"]
    assert main(command) == 2
    assert "--trust-pickle" in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()
    assert main([*command, "--trust-pickle"]) == 0
    assert (tmp_path / "out.npz").exists()
