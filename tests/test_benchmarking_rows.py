"""Rows made of letters alone, and data drawn smaller: what a benchmark's baselines and quick trials stand on."""

from dataclasses import replace

import numpy as np
import pytest

from fit_samples import LetterRows, class_data, contact_data, residue_data
from openankh.benchmarking.baseline_rows import (
    ONE_HOT_WIDTH,
    WINDOW,
    BaselineRows,
    baselines_of,
    has_one_length,
    one_hot,
    window_composition,
    window_one_hot,
)
from openankh.benchmarking.drawn import limited
from openankh.benchmarking.options import Limits, parse_limits, parse_words
from openankh.benchmarking.pooled_rows import PooledRows
from openankh.errors import UserError
from openankh.tasks.examples import Examples, TaskData

SEQUENCE = "MKTAYIAKQRXXUISFVKSHFSRQ"


def variants() -> TaskData:
    """A family of one length, in which two positions differ."""
    data = class_data(12)
    found = {
        name: Examples(
            part.ids, tuple(f"MK{'AC'[at % 2]}LL{'WY'[at // 2 % 2]}" for at in range(len(part))), part.targets
        )
        for name, part in data.splits.items()
    }
    return replace(data, splits=found)


def test_one_hot_tells_the_letter_of_each_residue_and_nothing_else() -> None:
    rows_LD = one_hot(SEQUENCE)
    assert rows_LD.shape == (len(SEQUENCE), ONE_HOT_WIDTH)
    assert (rows_LD.sum(axis=1) == 1).all()
    told = ["".join("ACDEFGHIKLMNPQRSTVWY?"[at] for at in rows_LD.argmax(axis=1))]
    assert told == [SEQUENCE.replace("X", "?").replace("U", "?")]


def test_a_window_holds_the_letters_around_each_residue_in_order() -> None:
    rows_LD = window_one_hot(SEQUENCE).reshape(len(SEQUENCE), WINDOW, ONE_HOT_WIDTH)
    letters_LD = one_hot(SEQUENCE)
    for at in range(len(SEQUENCE)):
        for step in range(WINDOW):
            there = at + step - WINDOW // 2
            expected = letters_LD[there] if 0 <= there < len(SEQUENCE) else np.zeros(ONE_HOT_WIDTH)
            assert (rows_LD[at, step] == expected).all()


def test_the_composition_of_a_window_is_the_mean_of_its_letters() -> None:
    rows_LD, letters_LD = window_composition(SEQUENCE), one_hot(SEQUENCE)
    for at in range(len(SEQUENCE)):
        expected = letters_LD[max(at - WINDOW // 2, 0) : at + WINDOW // 2 + 1].mean(axis=0)
        np.testing.assert_allclose(rows_LD[at], expected, atol=1e-6)


@pytest.mark.parametrize("head", ["linear", "mlp", "convbert", "light-attention"])
def test_every_baseline_gives_rows_of_the_width_it_says(head: str) -> None:
    for data in (residue_data(), class_data(), contact_data(), variants()):
        if head == "light-attention" and data.task.unit != "protein":
            continue
        found = baselines_of(data, head)  # type: ignore[arg-type]  # pyright: ignore
        assert found
        for baseline in found:
            sequence = data.train.sequences[0]
            rows_LD = baseline.rows(sequence)
            num_rows = len(sequence) if baseline.pool == "residues" else 1
            assert rows_LD.shape == (num_rows, baseline.width) and rows_LD.dtype == np.float32
            assert head != "convbert" or baseline.width % 4 == 0


def test_variants_of_one_length_are_told_by_the_letters_of_positions_that_vary() -> None:
    data = variants()
    assert has_one_length(data) and not has_one_length(class_data())
    (found,) = [each for each in baselines_of(data, "linear") if each.name == "one-hot of each position"]
    assert isinstance(found, BaselineRows) and found.width == 4
    assert {tuple(found.rows(sequence)[0]) for sequence in data.valid.sequences} == {
        (1, 0, 1, 0), (1, 0, 0, 1), (0, 1, 1, 0), (0, 1, 0, 1)
    }  # fmt: skip


def test_smaller_data_is_drawn_from_each_split_and_always_the_same() -> None:
    data = class_data()
    small = limited(data, 10, 5)
    assert {name: len(part) for name, part in small.splits.items()} == {"train": 5, "valid": 10, "test": 10}
    assert limited(data, 10, 5).fingerprint == small.fingerprint
    assert limited(data, None, None).fingerprint == data.fingerprint
    places = [data.train.sequences.index(each) for each in small.train.sequences]
    assert places == sorted(places)


def test_limits_are_one_number_or_one_a_task() -> None:
    found = parse_limits(("100,fold=5", "paratope=7"), "limit")
    assert found == Limits(100, {"fold": 5, "paratope": 7})
    assert (found.of("fold"), found.of("solubility")) == (5, 100)
    assert parse_limits((), "limit").of("fold") is None


@pytest.mark.parametrize("text", ["0", "-3", "many", "fold=", "fold=x", "nonsense=5", "٣"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--limit"):
        parse_limits((text,), "limit")


def test_words_that_are_not_known_are_refused_with_those_that_are() -> None:
    assert parse_words("a, b,a", "tasks") == ("a", "b")
    with pytest.raises(UserError, match="not one of one, two"):
        parse_words("one,three", "heads", ("one", "two"))
    with pytest.raises(UserError, match="names none"):
        parse_words(" , ", "tasks")


def test_means_are_formed_of_residues_that_are_there() -> None:
    rows = PooledRows(LetterRows())
    assert rows.preprocessing.pool == "mean"
    np.testing.assert_allclose(rows.rows("ACCA"), LetterRows("mean").rows("ACCA"))
    assert rows.rows("ACCA") is rows.rows("ACCA")
