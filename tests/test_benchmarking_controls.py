"""What a benchmark's honesty stands on: resamplings shared by all, permuted labels, chance, verdicts, settings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fit_samples import class_data, contact_data, label_data, number_data, residue_data
from openankh.benchmarking.cell import (
    Cell,
    CellKey,
    CellSettings,
    Figure,
    Kind,
    Seconds,
    read_cell,
    require_same_settings,
    write_cell,
)
from openankh.benchmarking.findings import TestTable as Table
from openankh.benchmarking.findings import read_findings
from openankh.benchmarking.report_table import markdown
from openankh.benchmarking.resampling import draws_of
from openankh.benchmarking.shuffling import chance_of, with_shuffled_labels
from openankh.errors import UserError
from openankh.tasks.evaluation import evaluate
from openankh.tasks.examples import TaskData
from openankh.tasks.target_space import IGNORED, Contacts

SETTINGS = CellSettings(None, None, None, "d" * 64, "m" * 64, "auto")
DATA = [residue_data, class_data, number_data, label_data, contact_data]


def outputs_of(data: TaskData, seed: int = 0) -> list[np.ndarray]:
    """Numbers of the right shapes, drawn at random."""
    generator = np.random.default_rng(seed)
    num = data.space.num_outputs
    shapes = {"residue": lambda length: (length, num), "pair": lambda length: (length, length)}
    shape = shapes.get(data.task.unit, lambda length: (num,))
    return [generator.standard_normal(shape(len(sequence))) for sequence in data.splits["test"].sequences]


@pytest.mark.parametrize("make", DATA)
def test_resamplings_lie_around_the_metric_with_the_interval_that_evaluation_tells(make) -> None:
    data = make()
    outputs, examples = outputs_of(data), data.splits["test"]
    draws_R = draws_of(data, outputs, examples)
    told = evaluate(data.task, data.space, outputs, examples)[0].interval
    np.testing.assert_allclose(np.nanpercentile(draws_R, (2.5, 97.5)), (told.low, told.high), atol=0.05)
    np.testing.assert_array_equal(draws_R, draws_of(data, outputs, examples))


@pytest.mark.parametrize("make", DATA)
@pytest.mark.parametrize("metric", ["f1", "mcc", "auc", "accuracy"])
def test_every_metric_of_a_target_can_be_resampled(make, metric: str) -> None:
    data = make()
    if data.task.target in ("number", "contacts") or (metric in ("auc", "f1") and data.space.num_outputs != 2):
        return
    data = replace(data, task=replace(data.task, metrics=(metric,)))  # type: ignore[arg-type]
    outputs, examples = outputs_of(data), data.splits["test"]
    told = evaluate(data.task, data.space, outputs, examples)[0].interval
    draws_R = draws_of(data, outputs, examples)
    np.testing.assert_allclose(np.nanmedian(draws_R), told.value, atol=0.1)


@pytest.mark.parametrize("make", DATA)
def test_permuted_labels_are_the_same_labels_in_other_places_and_tests_stay_true(make) -> None:
    data = make()
    found = with_shuffled_labels(data, seed=1)
    before, after = (np.concatenate([np.ravel(each) for each in part.targets]) for part in (data.train, found.train))
    assert not np.array_equal(before, after, equal_nan=before.dtype.kind == "f")
    np.testing.assert_array_equal(np.sort(before), np.sort(after))
    assert found.tests == data.tests
    assert with_shuffled_labels(data, seed=1).fingerprint == found.fingerprint


def test_residues_that_are_not_counted_stay_so_when_labels_are_permuted() -> None:
    data = residue_data()
    found = with_shuffled_labels(data, seed=0)
    for before, after in zip(data.train.targets, found.train.targets, strict=True):
        np.testing.assert_array_equal(before == IGNORED, after == IGNORED)


def test_chance_is_what_a_constant_answer_gets_and_the_share_of_contacts() -> None:
    data = class_data()
    examples = data.splits["test"]
    always_second = [np.array([0.0, 1.0]) for _ in range(len(examples))]
    assert chance_of(data, always_second, examples) == pytest.approx(np.mean([int(each) for each in examples.targets]))
    contacts = contact_data()
    assert isinstance(contacts.space, Contacts)
    chance = chance_of(contacts, outputs_of(contacts), contacts.splits["test"])
    told = evaluate(contacts.task, contacts.space, outputs_of(contacts), contacts.splits["test"])[0].interval
    assert told.low - 0.05 <= chance <= told.high + 0.05


def cell(who: str, kind: Kind, value: float, seed: int = 0, chance: float | None = None) -> Cell:
    draws = (value + np.random.default_rng(3).normal(0, 0.01, 1000)).round(6).tolist()
    of = "m" if kind in ("random", "shuffled", "model") else ""
    return Cell(
        CellKey("made-up", who, kind, "linear", seed, of),
        SETTINGS,
        {"train": 10, "test": 20},
        {split: {"accuracy": Figure(value, value - 0.02, value + 0.02, 20)} for split in ("valid", "test")},
        {"test": draws},
        {} if chance is None else {"test": chance},
        {"epochs": 3},
        Seconds(1.0, 2.0, 3.0, 2.0, 1.0),
        {"python": "3"},
        "openankh benchmark --tasks made-up",
    )


def table_of(out: Path, *cells: Cell) -> Table:
    for each in cells:
        write_cell(out, each)
    found = read_findings(out)
    assert found is not None and markdown(found)
    (table,) = found.tables
    return table


def test_a_cell_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    found = cell("m", "model", 0.7)
    write_cell(tmp_path, found)
    assert read_cell(found.key.path(tmp_path)) == found


def test_a_damaged_cell_is_told_in_one_line(tmp_path: Path) -> None:
    found = cell("m", "model", 0.7)
    write_cell(tmp_path, found)
    path = found.key.path(tmp_path)
    path.write_text(path.read_text().replace('"seconds"', '"minutes"'))
    with pytest.raises(UserError, match="damaged"):
        read_cell(path)
    path.write_text("{}")
    with pytest.raises(UserError, match="no result of openankh benchmark"):
        read_cell(path)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("limit", 5, "without --limit, not 5"),
        ("epochs", 2, "without --epochs, not 2"),
        ("precision", "fp32", "with --precision auto, not fp32"),
        ("data_sha256", "e", "other data"),
        ("model_sha256", "e", "another model of this name"),
    ],
)
def test_a_changed_setting_is_refused_by_its_name(tmp_path: Path, field: str, value: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        require_same_settings(tmp_path, SETTINGS, replace(SETTINGS, **{field: value}))
    require_same_settings(tmp_path, SETTINGS, SETTINGS)


def test_seeds_are_one_row_and_a_model_beats_the_best_of_its_baselines_pair_by_pair(tmp_path: Path) -> None:
    cells = [cell("m", "model", 0.70 + 0.01 * seed, seed) for seed in range(3)]
    table = table_of(tmp_path, *cells, cell("one-hot", "baseline", 0.60), cell("composition", "baseline", 0.65))
    row = table.rows[0]
    assert row.seeds == (0, 1, 2) and row.value == pytest.approx(0.71) and row.spread == pytest.approx(0.01)
    (found,) = row.comparisons
    assert found.baseline == "composition" and found.difference == pytest.approx(0.06) and found.is_beyond
    # Resamplings move all alike, so the difference is known far better than either.
    assert found.low == pytest.approx(0.06, abs=1e-3) and row.low is not None and row.low < 0.70


def test_a_model_that_only_equals_a_baseline_is_said_not_to_beat_it(tmp_path: Path) -> None:
    table = table_of(tmp_path, cell("m", "model", 0.60), cell("m, random weights", "random", 0.62))
    (found,) = table.rows[0].comparisons
    assert not found.is_beyond and found.baseline == "m, random weights" and found.difference < 0


@pytest.mark.parametrize(("value", "warned"), [(0.501, False), (0.65, True)])
def test_a_control_that_does_not_fall_to_chance_is_warned_of(tmp_path: Path, value: float, warned: bool) -> None:
    control = cell("m, shuffled labels", "shuffled", value, chance=0.5)
    table = table_of(tmp_path, cell("m", "model", 0.70), control)
    assert bool(table.warnings) == warned
    found = read_findings(tmp_path)
    assert found is not None and ("**warning**" in markdown(found)) == warned
