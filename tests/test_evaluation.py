"""Validation: always the same residues hidden, whatever else changes; a model that knows nothing scores so."""

import math
from pathlib import Path

import pytest
import torch

from openankh.corpus import Corpus
from openankh.model import Ankh
from openankh.objectives import Objective, RandomResidues
from openankh.pretraining.evaluation import Evaluation, evaluate
from openankh.pretraining.initialisation import Initialisation, initialise
from training_samples import prepare_sample, tiny_recipe


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus.open(prepare_sample(tmp_path_factory.mktemp("corpus") / "corpus"), "valid")


def model_of(how: Initialisation) -> Ankh:
    recipe = tiny_recipe()
    model = Ankh(recipe.model)
    initialise(model, recipe.vocab, how, seed=0)
    return model


def measure(valid: Corpus, how: Initialisation = "published", **options) -> Evaluation:
    return evaluate(model_of(how), valid, Objective(), **options)


def test_a_model_whose_head_is_zero_has_the_vocabulary_size_as_its_perplexity(valid: Corpus) -> None:
    result = measure(valid, "eager", crop=64)
    assert result.perplexity == pytest.approx(tiny_recipe().model.vocab_size, rel=1e-6)
    assert math.exp(result.loss) == pytest.approx(tiny_recipe().model.vocab_size, rel=1e-6)


def test_evaluating_again_gives_the_same_bits(valid: Corpus) -> None:
    assert measure(valid, crop=64) == measure(valid, crop=64)


def test_the_budget_of_a_batch_changes_nothing(valid: Corpus) -> None:
    expected = measure(valid, crop=64, max_tokens=700, batch_tokens=10_000)
    for batch_tokens in (1, 70, 300):
        result = measure(valid, crop=64, max_tokens=700, batch_tokens=batch_tokens)
        assert (result.num_tokens, result.num_residues) == (expected.num_tokens, expected.num_residues)
        assert result.loss == pytest.approx(expected.loss, rel=1e-6)
        assert result.residue_loss == pytest.approx(expected.residue_loss, rel=1e-6)


def test_every_protein_counts_once_and_a_fifth_of_its_residues(valid: Corpus) -> None:
    result = measure(valid, crop=64)
    lengths = [min(int(length), 64) for length in valid.lengths]
    hidden = RandomResidues(0.2).count(torch.tensor(lengths).numpy())
    assert result.num_residues == hidden.sum()
    assert result.num_tokens == (2 * hidden + 1).sum()


def test_ending_early_reads_the_same_first_proteins(valid: Corpus) -> None:
    few, all_of_them = measure(valid, crop=64, max_tokens=66), measure(valid, crop=64, max_tokens=10**9)
    assert 0 < few.num_residues < all_of_them.num_residues
    assert all_of_them == measure(valid, crop=64)


def test_evaluating_moves_no_random_number_and_leaves_no_gradient(valid: Corpus, tmp_path: Path) -> None:
    model = model_of("published")
    before = torch.get_rng_state()
    evaluate(model, valid, Objective(), crop=64, max_tokens=100)
    assert torch.equal(before, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())
