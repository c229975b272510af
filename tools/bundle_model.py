"""Turns a finished run into the model that comes with the package: bf16 weights, and a card of what was measured.

The run is one of `nano_mixture` that began with a model of `nano`.

python benchmarks/evaluate_nano.py RUN/best --corpus CORPUS --cath FOLDER --out EVALUATION
python tools/bundle_model.py RUN EVALUATION
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch

from openankh.checkpoint import load_model, save_model
from openankh.provenance import Provenance

NAME = "openankh-nano"
LARGEST_BYTES = 30 * 2**20
FOLDER = Path(__file__).parent.parent / "src" / "openankh" / "bundled" / NAME
CARD = Path(__file__).parent / "openankh-nano-card.md"


def write_card(folder: Path, training: dict[str, Any], run: dict[str, Any], evaluation: Path, corpus: Path) -> str:
    """The card of the model in `folder`."""
    config = json.loads((folder / "config.json").read_text())
    manifest = json.loads((folder / "openankh.json").read_text())
    splits = json.loads((corpus / "manifest.json").read_text())["splits"]
    recipe, first = training["recipe"], training["init"]["training"]
    return CARD.read_text().format(
        name=NAME,
        num_parameters=manifest["num_parameters"],
        encoder_layers=config["num_layers"],
        decoder_layers=config["num_decoder_layers"],
        width=config["d_model"],
        heads=config["num_heads"],
        num_train=splits["train"]["num_proteins"],
        num_train_residues=splits["train"]["num_residues"],
        num_valid=splits["valid"]["num_proteins"],
        seed=recipe["seed"],
        steps=training["step"],
        tokens=training["encoder_tokens"],
        residues=training["residues"],
        minutes=training["minutes"],
        first_steps=first["step"],
        first_tokens=first["encoder_tokens"],
        first_residues=first["residues"],
        first_minutes=first["minutes"],
        threads=run["environment"]["threads"],
        torch=run["environment"]["torch"],
        command=f"openankh pretrain nano_mixture --init FIRST/best --corpus CORPUS --out RUN "
        f"--minutes {run['minutes']:.0f} --threads 1",
        completion=math.exp(training["validation"]["completion"]["residue_loss"]),
        date=json.loads((evaluation / "evaluation.json").read_text())["date"],
        table=(evaluation / "evaluation.md").read_text(),
    )


def main() -> None:
    """Write the bundled folder anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("--corpus", type=Path, required=True)
    arguments = parser.parse_args()
    loaded = load_model(arguments.run / "best", dtype=torch.float32)
    assert loaded.provenance is not None, "a run's model tells how it was trained"
    training = dict(loaded.provenance.training)
    FOLDER.parent.mkdir(exist_ok=True)
    (FOLDER / "README.md").unlink(missing_ok=True)
    provenance = Provenance(name=NAME, licence="CC-BY-4.0", training=training)
    save_model(loaded.model, loaded.vocab, FOLDER, provenance, dtype=torch.bfloat16)
    size = (FOLDER / "model.safetensors").stat().st_size
    assert size <= LARGEST_BYTES, f"{size:,} bytes of weights: more than the package may carry"
    run = json.loads((arguments.run / "run.json").read_text())
    card = write_card(FOLDER, training, run, arguments.evaluation, arguments.corpus)
    (FOLDER / "README.md").write_text(card)
    print(f"{FOLDER}: {size:,} bytes of weights")


if __name__ == "__main__":
    main()
