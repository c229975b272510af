"""Model folders: saved and loaded without loss, to and from transformers, and never half-written."""

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, T5EncoderModel, T5ForConditionalGeneration

from hugging_face_models import hugging_face_logits, hugging_face_model, quiet_transformers
from model_folders import TINY, logits, random_model
from openankh import checkpoint
from openankh.checkpoint import Provenance, load_model, read_config, save_model
from openankh.errors import UserError
from openankh.provenance import read_manifest
from openankh.tokenizer_files import write_tokenizer
from openankh.vocab import ANKH, openankh_vocab
from openankh.weights import Weights

FACTS = Provenance("tiny", "Apache-2.0", {"steps": 3, "loss": 2.875, "corpus": {"residues": 10**12}, "seeds": [1, 2]})
SMALL_SHARDS = 9_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved tiny model."""
    save_model(random_model(), ANKH, tmp_path / "model", FACTS)
    return tmp_path / "model"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Saving and loading


@pytest.mark.parametrize("max_shard_bytes", [checkpoint.DEFAULT_SHARD_BYTES, SMALL_SHARDS])
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path, max_shard_bytes: int):
    model = random_model()
    manifest = save_model(model, ANKH, tmp_path / "model", FACTS, max_shard_bytes=max_shard_bytes)
    loaded = load_model(tmp_path / "model")
    assert loaded.manifest == manifest and loaded.provenance == FACTS
    assert loaded.vocab == ANKH and loaded.model.config == model.config == read_config(tmp_path / "model")
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name
    assert torch.equal(logits(loaded.model), logits(model))
    assert manifest.num_parameters == model.config.num_parameters == sum(p.numel() for p in model.parameters())


def test_a_folder_holds_the_files_that_transformers_knows_and_their_hashes(folder: Path):
    whole = ["config.json", "generation_config.json", "model.safetensors"]
    whole += ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
    assert names(folder) == sorted([*whole, "openankh.json"])
    manifest = read_manifest(folder)
    assert manifest is not None and sorted(manifest.files) == whole


def test_shards_keep_to_the_limit_and_their_index_lists_every_tensor_once(tmp_path: Path):
    model = random_model()
    save_model(model, ANKH, tmp_path / "model", FACTS, max_shard_bytes=SMALL_SHARDS)
    shards = sorted((tmp_path / "model").glob("*.safetensors"))
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    assert len(shards) > 3 and [shard.name for shard in shards] == sorted(set(index["weight_map"].values()))
    assert set(index["weight_map"]) == set(model.state_dict())
    assert index["metadata"]["total_size"] == 4 * model.config.num_parameters
    largest_tensor = max(tensor.nbytes for tensor in model.state_dict().values())
    assert all(shard.stat().st_size < max(SMALL_SHARDS, largest_tensor) + 2_000 for shard in shards)


def test_weights_can_be_saved_and_loaded_in_another_type(tmp_path: Path):
    model = random_model()
    manifest = save_model(model, ANKH, tmp_path / "bf16", FACTS, dtype=torch.bfloat16)
    assert manifest.dtype == "bfloat16"
    assert next(model.parameters()).dtype == torch.float32
    as_stored, widened = load_model(tmp_path / "bf16"), load_model(tmp_path / "bf16", dtype=torch.float32)
    for name, tensor in model.state_dict().items():
        assert torch.equal(as_stored.model.state_dict()[name], tensor.bfloat16())
        assert torch.equal(widened.model.state_dict()[name], tensor.bfloat16().float())
    size = (tmp_path / "bf16" / "model.safetensors").stat().st_size
    assert size < 2 * model.config.num_parameters + 8_000


def test_loaded_weights_do_not_change_when_their_file_does(folder: Path):
    loaded = load_model(folder)
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    with open(folder / "model.safetensors", "r+b") as file:
        file.write(b"\xff" * (folder / "model.safetensors").stat().st_size)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.model.state_dict().items())


def test_the_encoder_alone_is_loaded_without_reading_the_decoder(folder: Path, monkeypatch: pytest.MonkeyPatch):
    whole = load_model(folder).model
    read: list[str] = []
    original = Weights.read
    monkeypatch.setattr(Weights, "read", lambda self, name, *how: read.append(name) or original(self, name, *how))
    encoder = load_model(folder, part="encoder")
    assert read and all(name == "shared.weight" or name.startswith("encoder.") for name in read)
    assert encoder.model.config == replace(TINY, num_decoder_layers=0)
    assert sum(p.numel() for p in encoder.model.parameters()) == TINY.num_encoder_parameters
    assert not hasattr(encoder.model, "decoder") and not hasattr(encoder.model, "lm_head")
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name])


def test_an_encoder_alone_can_be_saved_and_loaded(tmp_path: Path):
    config = replace(TINY, num_decoder_layers=0)
    model = random_model(config)
    save_model(model, ANKH, tmp_path / "model", FACTS)
    loaded = load_model(tmp_path / "model")
    assert loaded.model.config == config == read_config(tmp_path / "model")
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.model.state_dict().items())
    with quiet_transformers():
        theirs = T5EncoderModel.from_pretrained(tmp_path / "model")
    assert torch.equal(theirs.shared.weight, model.shared.weight)


def test_a_model_may_have_more_rows_than_its_vocabulary_has_pieces(tmp_path: Path):
    model = random_model(replace(TINY, vocab_size=160))
    save_model(model, ANKH, tmp_path / "model", FACTS)
    assert load_model(tmp_path / "model").vocab == ANKH


# Parity with transformers, both ways


@pytest.mark.parametrize("feed_forward", ["gated-gelu", "gated-silu", "gated-relu", "relu"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("max_shard_size", ["1GB", "20KB"], ids=["whole", "sharded"])
def test_a_folder_that_transformers_saved_loads_with_the_same_tensors_and_logits(
    tmp_path: Path, feed_forward: str, tied: bool, max_shard_size: str
):
    theirs = hugging_face_model(feed_forward, tied)
    with quiet_transformers():
        theirs.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    write_tokenizer(ANKH, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.manifest is None and loaded.provenance is None
    assert (tmp_path / "model.safetensors.index.json").exists() == (max_shard_size == "20KB")
    assert loaded.model.config.tied_head == tied == loaded.model.config.scale_decoder_outputs
    assert loaded.model.config == read_config(tmp_path)
    expected = theirs.state_dict()
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    torch.testing.assert_close(logits(loaded.model), hugging_face_logits(theirs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["gelu", "silu", "relu"])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("scaled", [False, True], ids=["unscaled", "scaled"])
def test_a_folder_that_we_save_opens_in_transformers_with_the_same_logits(
    tmp_path: Path, activation: str, gated: bool, tied: bool, scaled: bool
):
    config = replace(TINY, activation=activation, gated=gated, tied_head=tied, scale_decoder_outputs=scaled)
    model = random_model(config)
    save_model(model, ANKH, tmp_path / "model", FACTS, max_shard_bytes=SMALL_SHARDS if tied else 1 << 30)
    with quiet_transformers():
        theirs = T5ForConditionalGeneration.from_pretrained(tmp_path / "model").eval()
    torch.testing.assert_close(hugging_face_logits(theirs), logits(model), rtol=1e-5, atol=1e-5)
    again = load_model(tmp_path / "model")
    assert again.model.config == config and torch.equal(logits(again.model), logits(model))
    assert AutoTokenizer.from_pretrained(tmp_path / "model")("MKTX").input_ids == [*ANKH.encode("MKTX").tolist(), 1]


def test_bf16_folders_stay_bf16_in_transformers(tmp_path: Path):
    save_model(random_model(), ANKH, tmp_path / "model", FACTS, dtype=torch.bfloat16)
    with quiet_transformers():
        theirs = T5ForConditionalGeneration.from_pretrained(tmp_path / "model", dtype="auto")
    assert theirs.dtype == torch.bfloat16


def test_a_folder_goes_through_transformers_and_back_unchanged(folder: Path, tmp_path: Path):
    with quiet_transformers():
        T5ForConditionalGeneration.from_pretrained(folder).save_pretrained(tmp_path / "theirs")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "theirs")
    ours, back = load_model(folder), load_model(tmp_path / "theirs")
    assert back.model.config == ours.model.config and back.vocab == ours.vocab
    assert all(torch.equal(tensor, ours.model.state_dict()[name]) for name, tensor in back.model.state_dict().items())
    assert torch.equal(logits(back.model), logits(ours.model))


def test_an_encoder_that_transformers_saved_loads_as_an_encoder(tmp_path: Path):
    theirs = hugging_face_model()
    encoder = T5EncoderModel(theirs.config)
    encoder.encoder.load_state_dict(theirs.encoder.state_dict())
    with quiet_transformers():
        encoder.save_pretrained(tmp_path)
    write_tokenizer(ANKH, tmp_path)
    loaded = load_model(tmp_path, part="encoder")
    assert torch.equal(loaded.model.shared.weight, theirs.shared.weight)
    assert read_config(tmp_path).num_decoder_layers == 0
    with pytest.raises(UserError, match="no decoder; load the encoder alone"):
        load_model(tmp_path)


# Writing: whole or not at all


def test_an_earlier_model_is_replaced_as_a_whole(folder: Path):
    save_model(random_model(seed=1), ANKH, folder, FACTS, max_shard_bytes=SMALL_SHARDS)
    assert "model.safetensors" not in names(folder)
    assert torch.equal(logits(load_model(folder).model), logits(random_model(seed=1)))
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("manifest", [True, False])
def test_a_folder_that_holds_anything_else_is_never_replaced(folder: Path, manifest: bool):
    (folder / "thesis.docx").write_text("years of work")
    if not manifest:
        (folder / "openankh.json").unlink()
    before = names(folder)
    with pytest.raises(UserError, match=r"it holds other things .*choose a new folder"):
        save_model(random_model(), ANKH, folder, FACTS)
    assert names(folder) == before and (folder / "thesis.docx").read_text() == "years of work"


def test_an_error_while_saving_leaves_the_earlier_model_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*arguments: object) -> None:
        raise KeyError("boom")

    monkeypatch.setattr(checkpoint, "write_tokenizer", fail)
    with pytest.raises(KeyError):
        save_model(random_model(seed=1), ANKH, folder, FACTS)
    assert torch.equal(logits(load_model(folder).model), logits(random_model()))
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("limit", [0, 500, 20_000, 30_000])
def test_a_full_disk_is_one_line_and_leaves_the_earlier_model(folder: Path, limit: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write .*file too large .*bytes needed") as raised:
            save_model(random_model(seed=1), ANKH, folder, FACTS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(raised.value)
    assert torch.equal(logits(load_model(folder).model), logits(random_model()))
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_saving_where_it_cannot_be_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="exists and is not a folder"):
        save_model(random_model(), ANKH, tmp_path / "file", FACTS)
    with pytest.raises(UserError, match="does not exist; create it first"):
        save_model(random_model(), ANKH, tmp_path / "no" / "such", FACTS)


KILLED_WRITERS = """
import os, random, signal, sys, time
import torch
from model_folders import logits, random_model
from openankh.checkpoint import Provenance, load_model, save_model
from openankh.vocab import ANKH
torch.set_num_threads(1)
folder, models = sys.argv[1], [random_model(seed=seed) for seed in (1, 2)]
expected = [logits(model) for model in models]
start = time.perf_counter()
save_model(models[0], ANKH, folder, Provenance("0"))
seconds = time.perf_counter() - start
source = random.Random(0)
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        for number in (1, 0, 1):
            save_model(models[number], ANKH, folder, Provenance(str(number)))
        os._exit(0)
    time.sleep(source.uniform(0, 3 * seconds))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    loaded = load_model(folder)
    assert torch.equal(logits(loaded.model), expected[int(loaded.provenance.name)])
"""


def test_killed_writers_leave_a_whole_model(tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    command = [sys.executable, "-c", KILLED_WRITERS, tmp_path / "model", "20"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    save_model(random_model(), ANKH, tmp_path / "model", FACTS)
    assert torch.equal(logits(load_model(tmp_path / "model").model), logits(random_model()))


def test_a_model_read_only_on_disk_loads(folder: Path):
    shutil.copytree(folder, folder.parent / "copy")
    for path in (folder.parent / "copy").iterdir():
        path.chmod(0o444)
    assert load_model(folder.parent / "copy").manifest == load_model(folder).manifest


def test_new_models_round_trip_with_their_vocabulary(tmp_path: Path):
    save_model(random_model(replace(TINY, vocab_size=256)), openankh_vocab(), tmp_path / "model", FACTS)
    assert load_model(tmp_path / "model").vocab == openankh_vocab()
