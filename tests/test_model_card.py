"""The card that a run writes beside its best weights: made of the run's own numbers, and a part of the model folder."""

import json
import re
from pathlib import Path

import pytest
import transformers

from openankh import cli
from openankh.checkpoint import load_model
from openankh.corpus import Corpus
from openankh.licence import licence_in_card
from openankh.pretraining import training_run
from openankh.pretraining.journal import read_journal
from training_samples import TESTS, TINY, prepare_sample, pretrain_arguments


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    corpus = prepare_sample(folder / "corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "measured_peak", lambda device, dtype: 1e11)
        assert cli.main(pretrain_arguments(corpus, folder / "run", "--quiet", "--licence", "CC-BY-4.0")) == 0
        mixture = ["nano_mixture", *TINY, "encoder_loss=0", "total_steps=4", "packing.length_multiple=1"]
        folders = ["--corpus", str(corpus), "--out", str(folder / "second"), "--init", str(folder / "run" / "best")]
        shape = [f"model.{name}=" for name in ("num_heads", "num_encoder_layers", "num_decoder_layers")]
        sizes = [f"{name}{size}" for name, size in zip(shape, (2, 2, 1), strict=True)]
        assert cli.main(["pretrain", *mixture, *sizes, *folders, "--device", "cpu", "--quiet"]) == 0
    return folder


def card_of(run: Path) -> str:
    return (run / "best" / "README.md").read_text()


def test_a_card_tells_what_data_recipe_tokens_validation_licence_and_use(finished: Path) -> None:
    card = card_of(finished / "run")
    training = json.loads((finished / "run" / "best" / "openankh.json").read_text())["training"]
    for part in ("## Use", "## Data", "## Training", "## Validation", "## Licence"):
        assert card.count(part) == 1
    train = Corpus.open(finished / "corpus")
    assert f"train: {train.num_proteins} proteins, {train.num_residues:,} residues" in card
    assert f"valid: {50 - train.num_proteins} proteins" in card and "sample.fasta (SHA-256 " in card
    assert training["corpus_fingerprint"] in card
    assert "Recipe `micro`, seed 0, from new weights (eager)" in card
    assert f"{training['encoder_tokens']:,} tokens of {training['residues']:,} residues" in card
    assert "RandomResidues rate 0.2" in card and "muon" in card
    assert card.rstrip().endswith("CC-BY-4.0.")


def test_the_validation_numbers_are_those_of_the_journal(finished: Path) -> None:
    best = min(
        (line for line in read_journal(finished / "run") if line["kind"] == "valid"),
        key=lambda line: line["residue_loss"],
    )
    (row,) = re.findall(r"^\| 1-gram.*$", card_of(finished / "run"), re.MULTILINE)
    assert row.split(" | ")[1:] == [
        f"{best['residue_loss']:.4f}",
        f"{best['perplexity']:.3f}",
        f"{best['num_residues']:,} |",
    ]


def test_a_card_of_several_tasks_tells_each_and_what_it_began_with(finished: Path) -> None:
    card = card_of(finished / "second")
    assert "from the weights of best" in card and str(finished) not in card
    assert "`[NLU]` is the prefix of denoising; `[S2S]` is the prefix of completion" in card
    assert len(re.findall(r"^\| (denoising|completion) \|", card, re.MULTILINE)) == 2
    assert "Not stated by whoever trained it." in card and "license:" not in card


def test_a_card_is_a_part_of_the_folder_and_states_its_licence_as_the_hub_reads_it(finished: Path) -> None:
    best = finished / "run" / "best"
    checkpoint = load_model(best)
    assert checkpoint.manifest is not None and "README.md" in checkpoint.manifest.files
    assert licence_in_card(best) == "cc-by-4.0"


def test_the_best_model_embeds_and_opens_in_transformers(finished: Path, tmp_path: Path) -> None:
    best = finished / "run" / "best"
    fasta, out = TESTS / "data" / "sample.fasta", tmp_path / "embeddings.npz"
    assert cli.main(["embed", str(fasta), "-o", str(out), "--model", str(best), "--quiet"]) == 0
    assert out.stat().st_size > 0
    encoder = transformers.T5EncoderModel.from_pretrained(best)
    expected = load_model(best).model.config.num_encoder_parameters
    assert sum(parameter.numel() for parameter in encoder.parameters()) == expected
