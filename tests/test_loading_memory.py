"""Loading takes no more memory than what stays, and where the encoder is wanted nothing of the decoder is read."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model_folders import random_model
from openankh.checkpoint import Provenance, load_model, save_model
from openankh.config import ModelConfig
from openankh.errors import UserError
from openankh.model import Ankh
from openankh.tokenizer_files import write_tokenizer
from openankh.vocab import ANKH

LARGE = ModelConfig(
    vocab_size=144, d_model=768, d_ff=3072, d_kv=64, num_heads=12, num_encoder_layers=8, num_decoder_layers=1
)
"""As wide as ankh-base: its largest tensor is a sixteenth of the encoder in bf16, in ankh-base itself less than 1 %."""

MEASURE = """
import gc, sys
import torch
from openankh.checkpoint import load_model
def resident(which):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(which))
torch.set_num_threads(1)
load_model(sys.argv[1])  # what the first load of a process brings along once and for all
for folder in sys.argv[2:]:
    for dtype in (None, torch.bfloat16):
        gc.collect()
        before = resident("VmRSS")
        open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
        model = load_model(folder, part="encoder", dtype=dtype, trust_pickle=True).model
        stays = sum(parameter.nbytes for parameter in model.parameters())
        print(stays, resident("VmHWM") - before, resident("VmRSS") - before)
        del model
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A tiny model whose shards each hold a tensor or two, with nothing that vouches for its files."""
    save_model(random_model(), ANKH, tmp_path / "tiny", Provenance("tiny"), max_shard_bytes=2_000)
    (tmp_path / "tiny" / "openankh.json").unlink()
    return tmp_path / "tiny"


def without_weights(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LARGE.to_hf()))
    write_tokenizer(ANKH, folder)
    return folder


def shapes() -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in Ankh(LARGE).state_dict().items()}


def write_zeros(path: Path, shapes: dict[str, torch.Size], place: int = 0) -> None:
    """A safetensors file of fp32 zeros, sparse: it takes no disk, and as much memory as any other when read.

    They begin at an address that leaves the remainder `place` when divided by 8.
    """
    header, start = {}, 0
    for name, shape in shapes.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, start + 4 * shape.numel()]}
        start += 4 * shape.numel()
    text = json.dumps(header).encode()
    text += b" " * ((place - len(text)) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + start)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak since a moment")
def test_the_peak_of_memory_is_at_most_a_tenth_above_what_stays(tiny: Path, tmp_path: Path):
    safe, pickled = without_weights(tmp_path / "safe"), without_weights(tmp_path / "pickled")
    odd = without_weights(tmp_path / "odd")
    write_zeros(safe / "model.safetensors", shapes())
    write_zeros(odd / "model.safetensors", shapes(), place=3)
    torch.save({name: torch.zeros(shape) for name, shape in shapes().items()}, pickled / "pytorch_model.bin")
    folders = [tiny, safe, odd, pickled]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *folders], env=environment, capture_output=True, text=True, check=False
    )
    shutil.rmtree(pickled)
    assert done.returncode == 0, done.stderr
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    encoder = LARGE.num_encoder_parameters
    kept, narrowed = [stays for stays, _, _ in rows][::2], [stays for stays, _, _ in rows][1::2]
    assert kept == [4 * encoder] * 3
    assert all(2 * encoder <= stays < 2.01 * encoder for stays in narrowed), "norms may stay as they are stored"
    for stays, peak, after in rows:
        assert peak <= 1.1 * stays, rows
        assert after <= 1.05 * stays, rows


def decoder_files(folder: Path) -> list[Path]:
    """The shards that hold nothing of the encoder."""
    places = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    of_encoder = {file for name, file in places.items() if name.startswith(("encoder.", "shared."))}
    return sorted(folder / file for file in set(places.values()) - of_encoder)


@pytest.mark.parametrize("damage", ["absent", "unreadable", "nonsense", "a pipe"])
@pytest.mark.parametrize("sealed", [False, True], ids=["foreign", "ours"])
def test_shards_of_the_decoder_alone_are_never_opened_for_the_encoder(tmp_path: Path, damage: str, sealed: bool):
    folder = tmp_path / "model"
    save_model(random_model(), ANKH, folder, Provenance("tiny"), max_shard_bytes=2_000)
    if not sealed:
        (folder / "openankh.json").unlink()
    expected = load_model(folder).model.state_dict()
    for path in decoder_files(folder):
        path.unlink()
        if damage == "unreadable":
            path.symlink_to("/proc/self/mem")
        elif damage == "nonsense":
            path.write_bytes(b"nonsense")
        elif damage == "a pipe":
            os.mkfifo(path)
    encoder = load_model(folder, part="encoder")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in encoder.model.state_dict().items())
    assert not any("decoder" in name for name in encoder.model.state_dict())
    with pytest.raises(UserError, match="model-0"):
        load_model(folder)


def test_a_shard_of_the_encoder_that_is_missing_is_named(tiny: Path):
    places = json.loads((tiny / "model.safetensors.index.json").read_text())["weight_map"]
    missing = places["encoder.final_layer_norm.weight"]
    (tiny / missing).unlink()
    with pytest.raises(UserError, match=f"{missing}: no such file"):
        load_model(tiny, part="encoder")


def test_of_one_file_only_the_encoders_bytes_are_read(tmp_path: Path):
    """The decoder's bytes lie behind a hole of a size that no memory has; to read them all would take for ever."""
    folder = tmp_path / "model"
    save_model(random_model(), ANKH, folder, Provenance("tiny"))
    (folder / "openankh.json").unlink()
    expected = load_model(folder).model.state_dict()
    encoder = {name: tensor for name, tensor in expected.items() if name.startswith(("encoder.", "shared."))}
    path = folder / "model.safetensors"
    write_zeros(path, {name: tensor.shape for name, tensor in encoder.items()} | {"decoder.x": torch.Size([1 << 40])})
    with open(path, "r+b") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        for tensor in encoder.values():
            file.write(tensor.numpy().tobytes())
    found = load_model(folder, part="encoder").model.state_dict()
    assert all(torch.equal(tensor, encoder[name]) for name, tensor in found.items())


def test_a_file_that_shrinks_while_it_is_read_is_one_line(tiny: Path):
    from openankh.safetensors_file import SafetensorsFile

    path = min(tiny.glob("model-*.safetensors"))
    file = SafetensorsFile(path)
    os.truncate(path, 100)
    with pytest.raises(UserError, match="cut off inside of tensor"):
        file.read(min(file.entries))
    file.close()


def test_tensors_at_odd_places_and_of_no_size_are_read(tmp_path: Path):
    from openankh.safetensors_file import SafetensorsFile

    content = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    header = {
        "a": {"dtype": "F32", "shape": [0, 3], "data_offsets": [0, 0]},
        "b": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
    }
    text = json.dumps(header).encode()
    text += b" " * (1 - len(text) % 2)  # so that the tensors begin at an odd byte
    stored = content.view(torch.uint8).numpy().tobytes()
    (tmp_path / "odd.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + stored)
    file = SafetensorsFile(tmp_path / "odd.safetensors")
    assert file.read("a").shape == (0, 3)
    assert torch.equal(file.read("b"), content)
    assert torch.equal(file.read("b", torch.float32), content.float())
    file.close()
