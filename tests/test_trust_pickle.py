"""A model whose weights are a pickle is read when asked for by name, and only then; every verb has a way to ask."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from cyclopts import App
from safetensors.torch import load_file

from openankh.cli import main
from openankh.cli.app import build_app
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


def commands(app: App) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every verb, and every verb under a verb, with the function behind it."""
    for name in app:
        if not name.startswith("-"):
            if (function := app[name].default_command) is not None:
                yield name, function
            yield from commands(app[name])


def parameters(function: Callable[..., Any]) -> Iterator[str]:
    """Its parameters, and those that lie together in a dataclass, which the command line knows one by one."""
    for name, kind in get_type_hints(function).items():
        yield from (field.name for field in fields(kind)) if is_dataclass(kind) else [name]


def test_every_verb_that_takes_a_model_takes_what_says_how_it_may_be_fetched_and_read() -> None:
    verbs = {name: set(parameters(function)) for name, function in commands(build_app())}
    taking = {name for name, names in verbs.items() if names & {"model", "init"}}
    assert {"embed", "directed"} <= taking
    assert {name for name in taking if not verbs[name] >= {"trust_pickle", "offline"}} == set()
