"""Damaged, foreign and hostile model folders: each is one clear line, before any weight is used."""

import json
import os
import random
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_folders import TINY, flip_a_bit, logits, random_model
from openankh.checkpoint import Provenance, load_model, read_config, save_model
from openankh.errors import UserError
from openankh.vocab import ANKH

OLD_UNUSED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole and a sharded tiny model, never changed."""
    folder = tmp_path_factory.mktemp("saved")
    save_model(random_model(), ANKH, folder / "whole", Provenance("tiny"))
    save_model(random_model(), ANKH, folder / "sharded", Provenance("tiny"), max_shard_bytes=9_000)
    return folder


@pytest.fixture
def whole(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved / "whole", tmp_path / "model"))


@pytest.fixture
def sharded(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved / "sharded", tmp_path / "model"))


@pytest.fixture
def bare(whole: Path) -> Path:
    """A folder without openankh.json, as other software leaves it: nothing vouches for its files."""
    (whole / "openankh.json").unlink()
    return whole


def refusal(folder: Path, **options: Any) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises(UserError) as raised:
        load_model(folder, **options)
    line = str(raised.value)
    assert "\n" not in line and str(folder) in line and len(line) < 700
    return line


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


# Folders that carry their hashes


@pytest.mark.parametrize("kind", ["whole", "sharded"])
def test_a_flipped_bit_in_any_file_is_refused_and_the_file_named(saved: Path, tmp_path: Path, kind: str):
    source = random.Random(0)
    for name in sorted(path.name for path in (saved / kind).iterdir()):
        for attempt in range(12):
            folder = Path(shutil.copytree(saved / kind, tmp_path / f"{name}-{attempt}"))
            flip_a_bit(folder / name, source)
            assert str(folder / name) in refusal(folder)


def test_every_bit_of_openankh_json_counts(whole: Path):
    content = (whole / "openankh.json").read_bytes()
    for place in range(0, len(content), 7):
        for bit in (0, 5):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            (whole / "openankh.json").write_bytes(flipped)
            assert "openankh.json" in refusal(whole)


@pytest.mark.parametrize("kind", ["whole", "sharded"])
def test_a_truncated_longer_or_missing_file_is_refused_and_named(saved: Path, tmp_path: Path, kind: str):
    for name in sorted(path.name for path in (saved / kind).iterdir()):
        folder = Path(shutil.copytree(saved / kind, tmp_path / name))
        content = (folder / name).read_bytes()
        for damaged in (content[:-1], content[: len(content) // 2], b"", content + b"\0"):
            (folder / name).write_bytes(damaged)
            for verify in (True, False):  # sizes are checked in either case
                assert str(folder / name) in refusal(folder, verify=verify)
        (folder / name).unlink()
        if name != "openankh.json":
            assert name in refusal(folder)


def test_swapped_shards_are_refused(sharded: Path):
    first, second = sorted(sharded.glob("*.safetensors"))[:2]
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    assert first.name in refusal(sharded)
    (sharded / "openankh.json").unlink()
    assert f"{first}: lacks the tensor" in refusal(sharded)


def test_a_shard_too_many_is_refused(sharded: Path):
    shutil.copy(min(sharded.glob("*.safetensors")), sharded / "model-00099-of-00099.safetensors")
    assert "model-00099-of-00099.safetensors: not listed in openankh.json" in refusal(sharded)
    (sharded / "openankh.json").unlink()
    assert "model-00099-of-00099.safetensors: not listed in model.safetensors.index.json" in refusal(sharded)


@pytest.mark.parametrize("name", ["spiece.model", "added_tokens.json", "model-00001-of-00002.safetensors"])
def test_a_file_that_would_be_read_but_is_not_listed_is_refused(whole: Path, name: str):
    (whole / name).write_text("{}")
    assert f"{name}: not listed in openankh.json" in refusal(whole)


def test_notes_beside_a_model_do_not_matter(whole: Path):
    (whole / "README.md").write_text("trained on a Tuesday")
    (whole / "figures").mkdir()
    load_model(whole)


def test_hashes_can_be_left_out_for_speed(whole: Path):
    path = whole / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "SHA-256" in refusal(whole)
    load_model(whole, verify=False)


def test_a_later_format_asks_for_a_newer_program(whole: Path):
    from openankh import provenance

    value = json.loads((whole / "openankh.json").read_text())
    del value["seal"]
    value["version"] = 2
    sealed = {**value, "seal": provenance._seal_of(value)}
    (whole / "openankh.json").write_bytes(provenance._render(sealed))
    assert "version 2 of the format; upgrade" in refusal(whole)


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"files": {"../../etc/passwd": {"size": 1, "sha256": ""}}},
        {"files": {"config.json": {"size": "1", "sha256": ""}}},
        {"files": {"config.json": 7}},
        {"training": None},
        {"name": 3},
        {"num_parameters": "many"},
    ],
)
def test_a_seal_that_fits_does_not_excuse_a_malformed_list(whole: Path, change: dict[str, Any]):
    from openankh import provenance

    value = json.loads((whole / "openankh.json").read_text())
    del value["seal"]
    value |= change
    (whole / "openankh.json").write_bytes(provenance._render({**value, "seal": provenance._seal_of(value)}))
    assert "openankh.json: not as openankh writes it" in refusal(whole)


# Folders that vouch for nothing: the tensors must fit the config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("encoder.final_layer_norm.weight"), "tensor 'encoder.final_layer_norm.weight' missing"),
        (lambda t: t.pop("shared.weight"), "tensor 'shared.weight' missing"),
        (lambda t: [t.pop(name) for name in list(t) if ".wi_1." in name], "wi_1.weight' and 2 more missing"),
        (lambda t: t.pop("lm_head.weight"), "tensor 'lm_head.weight' is missing"),
        (
            lambda t: t.update({"encoder.block.2.layer.0.layer_norm.weight": torch.ones(16)}),
            "has no place in the model",
        ),
        (lambda t: t.update({"classifier.weight": torch.ones(16)}), "'classifier.weight' has no place"),
        (
            lambda t: t.update({"encoder.final_layer_norm.weight": torch.ones(15)}),
            r"has the shape [15], config.json asks",
        ),
        (lambda t: t.update({"shared.weight": torch.ones(16, 144)}), "tensor 'shared.weight' has the shape [16, 144]"),
        (lambda t: t.update({"shared.weight": torch.ones(144, 16, dtype=torch.int32)}), "is of type I32"),
        (lambda t: t.update({"encoder.embed_tokens.weight": torch.ones(144, 16)}), "Ankh has one embedding"),
        (lambda t: t.update({"encoder.embed_tokens.weight": torch.ones(3)}), "Ankh has one embedding"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    bare: Path, change: Callable[[dict[str, torch.Tensor]], Any], message: str
):
    change_tensors(bare, change)
    assert message in refusal(bare)


def test_old_duplicates_of_the_embedding_and_an_unused_table_are_accepted(bare: Path):
    expected = logits(load_model(bare).model)

    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"].clone()
        tensors["decoder.embed_tokens.weight"] = tensors["shared.weight"].clone()
        tensors[OLD_UNUSED] = torch.ones(8, 3)

    change_tensors(bare, add)
    assert torch.equal(logits(load_model(bare).model), expected)
    change_tensors(bare, lambda tensors: tensors.pop("shared.weight"))
    assert torch.equal(logits(load_model(bare).model), expected)
    assert load_model(bare, part="encoder").model.config.num_decoder_layers == 0


def test_a_stored_copy_of_the_embedding_is_a_tied_head_where_the_config_says_so(bare: Path):
    change_tensors(bare, lambda tensors: tensors.update({"lm_head.weight": tensors["shared.weight"].clone()}))
    assert not load_model(bare).model.config.tied_head
    change_json(bare / "config.json", tie_word_embeddings=True)
    assert load_model(bare).model.config.tied_head
    change_tensors(bare, lambda tensors: tensors["lm_head.weight"].add_(1))
    assert not load_model(bare).model.config.tied_head  # what transformers 5 writes of an untied head


def test_the_encoder_of_a_folder_with_a_broken_decoder_still_loads(bare: Path):
    change_tensors(bare, lambda tensors: tensors.pop("decoder.final_layer_norm.weight"))
    assert "'decoder.final_layer_norm.weight' missing" in refusal(bare)
    load_model(bare, part="encoder")


CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "bert"}, "model_type is 'bert'; only 't5'"),
    ({"model_type": None}, "model_type is None"),
    ({"feed_forward_proj": "gelu", "dense_act_fn": "gelu"}, "feed_forward_proj is 'gelu', which is not implemented"),
    ({"dense_act_fn": "tanh"}, "dense_act_fn is 'tanh', which is not implemented"),
    ({"dense_act_fn": ["silu"]}, "which is not implemented"),
    ({"feed_forward_proj": 3}, "which is not implemented"),
    ({"is_gated_act": False}, "wi.weight' and 2 more missing"),
    ({"is_gated_act": "no"}, "must be true or false"),
    ({"d_model": 32}, "has the shape [144, 16], config.json asks for [144, 32]"),
    ({"num_layers": 3}, "tensor 'encoder.block.2.layer.0.SelfAttention.q.weight' and 8 more missing"),
    ({"num_layers": 1}, "has no place in the model"),
    ({"num_layers": 10**7}, "speaks of 10,000,001 layers"),
    ({"num_layers": 10**18}, "far more than any model's"),
    ({"num_layers": -1}, "must be at least 1"),
    ({"num_layers": "2"}, "num_layers: missing or not a whole number"),
    ({"num_layers": True}, "num_layers: missing or not a whole number"),
    ({"d_model": 10**7, "d_ff": 10**7}, "asks for [144, 10000000]"),
    ({"vocab_size": 100}, "tokenizer has 144 pieces, as that of Ankh and Ankh2, its model rows for 100"),
    ({"relative_attention_num_buckets": 16}, "has the shape [8, 3], config.json asks for [16, 3]"),
    ({"layer_norm_epsilon": "small"}, "layer_norm_epsilon"),
    ({"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon"),
    ({"tie_word_embeddings": "yes"}, "must be true or false"),
]


@pytest.mark.parametrize(("change", "message"), CONFIGS)
def test_a_config_of_another_architecture_is_refused(bare: Path, change: dict[str, Any], message: str):
    change_json(bare / "config.json", **change)
    assert message in refusal(bare)


@pytest.mark.parametrize(
    ("stored", "activation", "gated"),
    [
        ({"feed_forward_proj": "gated-gelu", "dense_act_fn": "silu"}, "silu", True),
        ({"feed_forward_proj": "gated-gelu", "dense_act_fn": None}, None, None),
        ({"feed_forward_proj": "gated-silu"}, "gelu", True),  # dense_act_fn of the saved config goes before
        ({"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_pytorch_tanh"}, "gelu", True),
    ],
)
def test_dense_act_fn_goes_before_feed_forward_proj_as_in_transformers(
    bare: Path, stored: dict[str, Any], activation: str | None, gated: bool | None
):
    change_json(bare / "config.json", **stored)
    if activation is None:
        assert "dense_act_fn is 'None'" in refusal(bare)
    else:
        config = read_config(bare)
        assert (config.activation, config.gated) == (activation, gated)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "openankh.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("content", [b"[" * 500_000, b'{"a":' * 200_000, b"{", b"[]", b"\xff\xfe", b"", b"nul\0"])
def test_json_bombs_and_nonsense_are_refused(sharded: Path, name: str, content: bytes):
    (sharded / name).write_bytes(content)
    if name != "openankh.json":
        (sharded / "openankh.json").unlink()
    assert name in refusal(sharded)


@pytest.mark.parametrize(
    "target",
    ["../../secret.safetensors", "/etc/passwd", "/etc/x.safetensors", "sub/model.safetensors", "x.bin", 3, None, ""],
)
def test_an_index_cannot_lead_out_of_its_folder(sharded: Path, target: Any):
    (sharded / "openankh.json").unlink()
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["shared.weight"] = target
    path.write_text(json.dumps(index))
    assert "no weight file" in refusal(sharded)


def test_an_index_that_misplaces_a_tensor_is_refused(sharded: Path):
    (sharded / "openankh.json").unlink()
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    first, second = (list(index["weight_map"])[place] for place in (0, -1))
    places = index["weight_map"]
    places[first], places[second] = places[second], places[first]
    path.write_text(json.dumps(index))
    assert f"lacks the tensor {second!r}" in refusal(sharded)
    path.write_text(json.dumps({"weight_map": {}}))
    assert "no weight_map" in refusal(sharded)
    path.unlink()
    assert "model.safetensors.index.json: missing" in refusal(sharded)


def test_two_models_in_one_folder_are_refused(bare: Path):
    shutil.copy(bare / "model.safetensors", bare / "model-00001-of-00001.safetensors")
    assert "a shard beside model.safetensors" in refusal(bare)
    (bare / "model-00001-of-00001.safetensors").unlink()
    (bare / "model.safetensors.index.json").write_text("{}")
    assert "of two models" in refusal(bare)


def test_folders_that_are_no_models_are_refused(bare: Path, tmp_path: Path):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no config.json" in refusal(tmp_path / "empty")
    (bare / "model.safetensors").rename(bare / "tf_model.h5")
    assert "has weights as tf_model.h5 only" in refusal(bare)
    (bare / "tf_model.h5").unlink()
    assert "no weights (model.safetensors" in refusal(bare)
    os.mkfifo(bare / "model.safetensors")
    assert "not a plain file" in refusal(bare)


# Hostile safetensors


def safetensors_bytes(header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: Any = "F32", shape: Any = (1,), span: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": span}


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cut off"),
    "seven bytes": (b"\0" * 7, "cut off"),
    "a header longer than the file": (safetensors_bytes(b"{}", length=1000), "cut off"),
    "a vast header": (safetensors_bytes(b"{}", length=2**63), "cut off"),
    "a header of megabytes": (safetensors_bytes(b" " * (2 << 20)), "more than any model needs"),
    "no JSON": (safetensors_bytes(b"nonsense"), "not valid JSON"),
    "a bomb of brackets": (safetensors_bytes(b"[" * 900_000), "nested too deeply"),
    "a list": (safetensors_bytes(b"[]"), "holds a list"),
    "an entry that is a text": (safetensors_bytes({"a": "b"}), "malformed entry"),
    "no shape": (safetensors_bytes({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, b"1234"), "malformed shape"),
    "a negative shape": (safetensors_bytes({"a": entry(shape=(-1, -1))}, b"1234"), "malformed shape"),
    "a shape of truths": (safetensors_bytes({"a": entry(shape=(True,))}, b"1234"), "malformed shape"),
    "a vast shape": (safetensors_bytes({"a": entry(shape=(2**50,))}, b"1234"), "malformed shape"),
    "shapes whose product overflows": (safetensors_bytes({"a": entry(shape=(2**40, 2**40))}, b"1234"), "not its shape"),
    "an unknown type": (safetensors_bytes({"a": entry(dtype="F7")}, b"1234"), "is of type F7"),
    "whole numbers": (safetensors_bytes({"a": entry(dtype="I32")}, b"1234"), "is of type I32"),
    "a type that is a list": (safetensors_bytes({"a": entry(dtype=["F32"])}, b"1234"), "is of type"),
    "backward offsets": (safetensors_bytes({"a": entry(span=(4, 0))}, b"1234"), "not its shape"),
    "three offsets": (safetensors_bytes({"a": entry(span=(0, 4, 4))}, b"1234"), "malformed shape"),
    "overlapping tensors": (safetensors_bytes({"a": entry(), "b": entry()}, b"1234"), "does not begin where"),
    "a gap": (safetensors_bytes({"a": entry(), "b": entry(span=(8, 12))}, b"1" * 12), "does not begin where"),
    "bytes behind the last tensor": (safetensors_bytes({"a": entry()}, b"12345"), "the file is cut off or damaged"),
    "missing data": (safetensors_bytes({"a": entry()}, b"123"), "the file is cut off or damaged"),
    "a pickle": (b"\x80\x04\x95" + b"A" * 50, "cut off"),
    "a name of many lines": (safetensors_bytes({"a\nb": entry()}, b"123"), "cut off or damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_safetensors_file_is_refused(bare: Path, name: str):
    content, message = HOSTILE[name]
    (bare / "model.safetensors").write_bytes(content)
    assert message in refusal(bare) and "model.safetensors" in refusal(bare)


def test_a_hostile_file_of_huge_apparent_size_is_refused_at_once(bare: Path):
    with open(bare / "model.safetensors", "wb") as file:
        file.write(safetensors_bytes({"shared.weight": entry(shape=(2**40,), span=(0, 2**42))}))
        file.truncate(file.tell() + 2**42)  # sparse: no disk is used
    assert "speaks of 3 layers, but its weights hold 1 tensors" in refusal(bare)


def test_flipped_bits_in_a_bare_folder_are_a_model_or_one_line(saved: Path, tmp_path: Path):
    source = random.Random(1)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        for attempt in range(60):
            folder = Path(shutil.copytree(saved / "whole", tmp_path / f"{name}-{attempt}"))
            (folder / "openankh.json").unlink()
            flip_a_bit(folder / name, source)
            try:
                load_model(folder)
            except UserError as error:
                assert "\n" not in str(error)  # noqa: PT017  (either outcome is right)


# Pickles


@pytest.fixture
def pickled(bare: Path) -> Path:
    """A folder with its weights as pytorch_model.bin only."""
    torch.save(load_file(bare / "model.safetensors"), bare / "pytorch_model.bin")
    (bare / "model.safetensors").unlink()
    return bare


def test_a_pickle_is_refused_with_the_way_to_ask_for_it(pickled: Path):
    line = refusal(pickled)
    assert "pytorch_model.bin only" in line and "trust_pickle=True" in line and "--trust-pickle" in line


def test_a_pickle_asked_for_loads_the_same_weights(pickled: Path):
    expected = random_model()
    loaded = load_model(pickled, trust_pickle=True)
    assert loaded.model.config == TINY and torch.equal(logits(loaded.model), logits(expected))
    assert load_model(pickled, part="encoder", trust_pickle=True).model.config.num_decoder_layers == 0
    assert read_config(pickled) == TINY


def test_a_sharded_pickle_loads_too(pickled: Path):
    tensors = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    (pickled / "pytorch_model.bin").unlink()
    halves = [dict(list(tensors.items())[part::2]) for part in (0, 1)]
    weight_map = {}
    for number, half in enumerate(halves, start=1):
        torch.save(half, pickled / f"pytorch_model-0000{number}-of-00002.bin")
        weight_map |= dict.fromkeys(half, f"pytorch_model-0000{number}-of-00002.bin")
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert "trust_pickle=True" in refusal(pickled)
    assert torch.equal(logits(load_model(pickled, trust_pickle=True).model), logits(random_model()))


def test_safetensors_go_before_a_pickle_even_when_pickles_are_trusted(bare: Path):
    (bare / "pytorch_model.bin").write_bytes(b"nonsense")
    load_model(bare, trust_pickle=True)


class Canary:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "code ran")


def hostile_pickles(folder: Path, canary: Path) -> dict[str, Callable[[Path], Any]]:
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    return {
        "code": lambda path: torch.save({**tensors, "evil": Canary(canary)}, path),
        "nothing but code": lambda path: torch.save(Canary(canary), path),
        "the old format": lambda path: torch.save(tensors, path, _use_new_zipfile_serialization=False),
        "tensors and a function": lambda path: torch.save({**tensors, "f": torch.ones}, path),
        "a later protocol": lambda path: torch.save(tensors, path, pickle_protocol=4),
        "a second list": lambda path: with_member(folder / "pytorch_model.bin", path, "more/data.pkl", CODE),
        "code under another name": lambda path: with_member(folder / "pytorch_model.bin", path, "archive/x.pkl", CODE),
        "a malformed list": lambda path: with_member(folder / "pytorch_model.bin", path, "archive/x.pkl", b"\xff"),
        "two of a name": lambda path: with_member(folder / "pytorch_model.bin", path, "archive/version", b"3"),
        "a list": lambda path: torch.save(list(tensors.values()), path),
        "a name that is a number": lambda path: torch.save({**tensors, 3: torch.ones(1)}, path),
        "a number": lambda path: torch.save({**tensors, "step": 3}, path),
        "whole numbers": lambda path: torch.save({**tensors, "step": torch.tensor([3])}, path),
        "a sparse tensor": lambda path: torch.save({**tensors, "a": torch.ones(9, 9).to_sparse()}, path),
        "an expanded tensor": lambda path: torch.save({**tensors, "a": torch.ones(1).expand(10**12)}, path),
        "cut off": lambda path: path.write_bytes((folder / "pytorch_model.bin").read_bytes()[:-100]),
        "no archive": lambda path: path.write_bytes(b"nonsense"),
        "empty": lambda path: path.write_bytes(b""),
        "another archive": lambda path: zipfile.ZipFile(path, "w").close(),
        "compressed": lambda path: compressed_copy(folder / "pytorch_model.bin", path),
    }


CODE = b"cos\nsystem\n(S'touch canary'\ntR."
"""What a pickle that runs a program looks like."""


def with_member(source: Path, target: Path, name: str, content: bytes) -> None:
    shutil.copy(source, target)
    with zipfile.ZipFile(target, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the name is there already
        archive.writestr(name, content)


def compressed_copy(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))


def test_hostile_pickles_are_refused_and_run_no_code(pickled: Path, tmp_path: Path):
    canary = tmp_path / "canary"
    for name, write in hostile_pickles(pickled, canary).items():
        folder = Path(shutil.copytree(pickled, tmp_path / name))
        (folder / "pytorch_model.bin").unlink()
        write(folder / "pytorch_model.bin")
        assert "trust_pickle" in refusal(folder)
        assert "pytorch_model.bin" in refusal(folder, trust_pickle=True), name
        assert not canary.exists(), name


def test_a_model_larger_than_the_memory_is_refused(bare: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 1)
    assert "of memory; take a smaller model or bf16" in refusal(bare)
