"""Quick probes find what an embedding shows and nothing else, the same at every run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression as ScikitLogisticRegression

from openankh.errors import UserError
from openankh.tasks.logistic_regression import fit_logistic_regression
from openankh.tasks.quick_probes import ProbeScore, quick_probes
from task_samples import noise, one_hot, write_csv, write_data

TASKS = ["secondary-structure", "contact", "localisation", "fold"]
CHANCE = {"secondary-structure": 1 / 3, "localisation": 1 / 4, "fold": 1 / 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def informed(data: Path) -> dict[str, ProbeScore]:
    return {score.task: score for score in quick_probes(one_hot, data)}


def contact_density(data: Path) -> float:
    """Share of contacts among pairs six apart or more: cysteines are one letter in six."""
    return 1 / 36


def test_four_tasks_are_measured_in_their_metrics(informed: dict[str, ProbeScore]) -> None:
    assert list(informed) == TASKS
    assert [score.metric for score in informed.values()] == ["Q3", "P@L/5", "accuracy", "accuracy"]
    assert informed["contact"].num_examples == 20
    assert informed["localisation"].num_examples == informed["fold"].num_examples == 80


def test_an_embedding_that_shows_the_labels_scores_high(informed: dict[str, ProbeScore]) -> None:
    assert informed["secondary-structure"].value == 1
    assert informed["contact"].value > 0.6  # some chains have fewer contacts than are ranked
    assert informed["localisation"].value > 0.8 and informed["fold"].value > 0.8


@pytest.mark.parametrize("control", ["shuffled labels", "random embedding"])
def test_controls_fall_to_chance(control: str, data: Path) -> None:
    shuffled = control == "shuffled labels"
    found = quick_probes(one_hot if shuffled else noise, data, shuffle_labels=shuffled)
    for score in found:
        chance = CHANCE.get(score.task, contact_density(data))
        assert abs(score.value - chance) < 0.15, score


def test_the_same_seed_gives_the_same_scores_and_proteins(data: Path, informed: dict[str, ProbeScore]) -> None:
    seen: list[list[str]] = []

    def watched(sequences: Sequence[str]) -> list[np.ndarray]:
        seen.append(list(sequences))
        return one_hot(sequences)

    assert {score.task: score for score in quick_probes(watched, data)} == informed
    first, seen[:] = list(seen), []
    quick_probes(watched, data)
    assert seen == first


def test_test_splits_are_never_embedded(tmp_path: Path) -> None:
    data = write_data(tmp_path)
    path = data / "localisation" / "deeploc1.csv.gz"
    rows = [(f"x{n}", "WWWWHHHH" * 6, "Plastid", split) for n, split in enumerate(["train", "valid", "test"] * 4)]
    write_csv(
        path,
        ("id", "sequence", "location", "split"),
        [(*row[:1], row[1] + "ACDEFG"[n % 6], *row[2:]) for n, row in enumerate(rows)],
    )
    tests = {row[1] + "ACDEFG"[n % 6] for n, row in enumerate(rows) if row[3] == "test"}

    def watched(sequences: Sequence[str]) -> list[np.ndarray]:
        assert not tests & set(sequences)
        return one_hot(sequences)

    quick_probes(watched, data)


def test_a_place_that_training_never_shows_is_not_asked_for(data: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path)
    path = data / "localisation" / "deeploc1.csv.gz"
    rows = [("a", "ACDEF" * 10, "Nucleus", "train"), ("b", "WYWYW" * 10, "Plastid", "train")]
    asked = [("c", "ACDEF" * 11, "Nucleus", "valid"), ("d", "GGGGG" * 10, "Cytoplasm-Nucleus", "valid")]
    write_csv(path, ("id", "sequence", "location", "split"), rows + asked)
    score = quick_probes(one_hot, data)[2]
    assert score == replace(score, value=1.0, num_examples=1)


def test_missing_data_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"q3_train\.csv\.gz: no such file"):
        quick_probes(one_hot, tmp_path)


def test_an_unknown_size_is_one_line(data: Path) -> None:
    with pytest.raises(UserError, match="not one of quick, full"):
        quick_probes(one_hot, data, size="large")  # type: ignore[arg-type]  # pyright: ignore


@pytest.mark.parametrize("num_classes", [2, 5])
def test_logistic_regression_finds_the_optimum_that_scikit_learn_finds(num_classes: int) -> None:
    generator = np.random.default_rng(1)
    x_ND = generator.standard_normal((600, 12)) * generator.uniform(0.1, 30, 12) + generator.standard_normal(12)
    true_CD = generator.standard_normal((num_classes, 12)) / x_ND.std(axis=0)
    y_N = (x_ND @ true_CD.T + generator.gumbel(size=(600, num_classes))).argmax(axis=1)
    ours = fit_logistic_regression(x_ND, y_N, num_classes, decay=1e-2, num_iterations=300)
    standard_ND = (x_ND - x_ND.mean(axis=0)) / x_ND.std(axis=0)
    # Of two classes scikit-learn has one vector of weights, the difference of ours: half the penalty.
    decay = 1e-2 if num_classes > 2 else 0.5e-2
    oracle = ScikitLogisticRegression(C=1 / (600 * decay), tol=1e-8, max_iter=1000).fit(standard_ND, y_N)
    scores_NC = ours.scores(x_ND)
    ours_NC = np.exp(scores_NC) / np.exp(scores_NC).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours_NC, oracle.predict_proba(standard_ND), atol=2e-3)


def test_a_feature_that_never_changes_takes_no_part() -> None:
    x_ND = np.column_stack([np.arange(20) - 9.5, np.full(20, 7.0)])
    probe = fit_logistic_regression(x_ND, (x_ND[:, 0] > 0).astype(int), 2, decay=1e-2)
    assert np.array_equal(probe.predict(x_ND), probe.predict(x_ND + np.array([0, 5])))
