"""The command with models of the hub, as a user's process runs it: HF_ENDPOINT and HF_HOME are all that is changed."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hub_server import Hub, serving
from hugging_face_models import hugging_face_model, quiet_transformers
from openankh.tokenizer_files import write_tokenizer
from openankh.vocab import ANKH

SAMPLE = Path(__file__).parent / "data" / "sample.fasta"
RUN = """
import json, sys
from openankh.cli import main
for command in json.loads(sys.argv[1]):
    print("=== ", file=sys.stderr, flush=True)
    print("===", flush=True)
    print(main(command))
"""


@pytest.fixture(scope="module")
def pickled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What transformers once saved: the weights as a pickle alone."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    with quiet_transformers():
        hugging_face_model().save_pretrained(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    write_tokenizer(ANKH, folder)
    return folder


def run(folder: Path, hub: Hub, commands: Sequence[Sequence[str]], **environment: str) -> list[tuple[int, str, str]]:
    """Code, output and notes of several commands in one process."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        cwd=folder,
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outputs = [part.rstrip().rpartition("\n") for part in done.stdout.split("===\n")[1:]]
    notes = done.stderr.split("=== \n")[1:]
    return [(int(code), out, note) for (out, _, code), note in zip(outputs, notes, strict=True)]


def embed(output: str, model: str, *options: str) -> list[str]:
    return ["embed", str(SAMPLE), "-o", output, "-m", model, "--dtype", "fp32", *options]


def test_a_published_name_is_fetched_embedded_with_and_recorded_at_its_commit(pickled: Path, tmp_path: Path):
    hub = Hub()
    with serving(hub):
        commit = hub.add("ElnaggarLab/ankh-base", pickled)
        hub.add("ada/tiny-ankh", pickled)
        first, again, info, foreign, trusted = run(
            tmp_path,
            hub,
            [
                embed("a.npz", "ankh-base"),
                embed("b.npz", "ankh-base"),
                ["info", "a.npz", "--json"],
                embed("c.npz", "ada/tiny-ankh"),
                embed("c.npz", "ada/tiny-ankh", "--trust-pickle", "--quiet"),
            ],
        )
    assert (first[0], again[0], foreign[0], trusted[0]) == (0, 0, 2, 0)
    assert "ankh-base: its weights are under CC-BY-NC-SA-4.0, which allows no commercial use\n" in first[2]
    assert "its weights are a pickle; read as tensors alone\n" in first[2]
    assert "CC-BY" not in again[2], "the licence is told once a process"
    assert json.loads(info[1])["model"] == f"ankh-base@{commit}"
    assert foreign[2].count("\n") == 1 and "--trust-pickle" in foreign[2]
    assert trusted[2] == ""


def test_offline_the_cache_serves_the_very_commit_and_all_else_is_code_2_and_one_line(pickled: Path, tmp_path: Path):
    hub = Hub()
    with serving(hub):
        commit = hub.add("ElnaggarLab/ankh-base", pickled)
        run(tmp_path, hub, [embed("a.npz", "ankh-base")])
        hub.asked.clear()
        pinned, other, models, info, unknown = run(
            tmp_path,
            hub,
            [
                embed("b.npz", f"ankh-base@{commit}", "--offline"),
                embed("c.npz", "ankh2-ext1", "--offline"),
                ["models", "--json"],
                ["info", "ankh-base", "--json"],
                ["info", "ada/none"],
            ],
        )
        (by_environment,) = run(tmp_path, hub, [embed("c.npz", "ankh2-ext1")], HF_HUB_OFFLINE="1")
        assert hub.asked == []
    assert pinned[0] == 0, pinned[2]
    for code, out, note in (other, by_environment):
        assert (code, out) == (2, "") and note.count("\n") == 1
        assert "ElnaggarLab/ankh2-ext1: it is not on this machine, and --offline or HF_HUB_OFFLINE forbids" in note
    row = json.loads(models[1])[1]
    assert (row["name"], row["available"], row["revision"]) == ("ankh-base", "here", commit)
    facts = json.loads(info[1])
    assert (facts["revision"], facts["licence"], facts["here"]) == (commit, "CC-BY-NC-SA-4.0", "whole")
    assert facts["weights"] == ["pytorch_model.bin"]
    assert unknown[0] == 2 and "a verb that takes -m ada/none fetches it" in unknown[2]
