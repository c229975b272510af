"""The CATH benchmark counts as its protocol says, chooses on val200 alone, and knows what chance gives."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from model_folders import random_model
from openankh import cli
from openankh.checkpoint import Provenance, save_model
from openankh.embedding.options import EmbedOptions
from openankh.errors import UserError
from openankh.loaded import load
from openankh.lookup.cath_benchmark import run_cath
from openankh.lookup.cath_report import markdown
from openankh.lookup.pooled_states import Choice, pooled_states
from openankh.search.cath import (
    Domains,
    accuracies,
    chances,
    composition,
    composition_and_dipeptides,
    counted,
    hits,
)
from openankh.vocab import ankh_vocab

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def domains(rows: list[tuple[str, str, str]]) -> Domains:
    cut = [[".".join(code.split(".")[: level + 1]) for level in range(4)] for _, _, code in rows]
    return Domains(tuple(row[0] for row in rows), tuple(row[1] for row in rows), np.array(cut))


LOOKUP = domains([("a", "AAAA", "1.10.8.10"), ("b", "WWWW", "2.30.40.10"), ("c", "AAAC", "1.10.20.5")])


def test_the_nearest_of_another_sequence_decides_at_every_level() -> None:
    queries = domains([("q", "AAAA", "1.10.8.10"), ("r", "WWWC", "2.30.99.1"), ("s", "AACC", "1.20.1.1")])
    assert hits(queries, LOOKUP, composition).tolist() == [
        [True, True, False, False],  # AAAA itself is left out: c is nearest
        [True, True, False, False],
        [True, False, False, False],
    ]
    assert counted(queries, LOOKUP).tolist() == [
        [True, True, True, True],
        [True, True, False, False],
        [True, False, False, False],
    ]


def test_accuracy_is_over_the_queries_that_count_with_an_interval_around_it() -> None:
    found = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    counts = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)
    result = accuracies(found, counts)
    assert [result[level].num for level in "CATH"] == [3, 2, 1, 0]
    assert result["C"].value == pytest.approx(200 / 3) and result["A"].value == 50 and result["T"].value == 0
    assert result["C"].low <= result["C"].value <= result["C"].high
    assert np.isnan(result["H"].value)


def test_a_random_neighbour_is_right_as_often_as_its_code_is_common() -> None:
    queries = domains([("q", "MKV", "1.10.8.10")])
    np.testing.assert_allclose(chances(queries, LOOKUP), [[2 / 3, 2 / 3, 1 / 3, 1 / 3]])


def test_composition_counts_letters_and_adjacent_pairs() -> None:
    (row,) = composition_and_dipeptides(["AAXC"])
    assert row[:20].sum() == 1 and row[0] == pytest.approx(2 / 3)  # X is none of the 20
    assert row[20] == 0.25 and row[20:].sum() == 0.25  # AA; AX and XC are no pairs of the 20


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small tables in which letters decide the code."""
    folder = tmp_path_factory.mktemp("data") / "annotation_transfer"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, num in (("lookup_s20", 60), ("val200", 12), ("test219", 9)):
        with gzip.open(folder / f"{name}.csv.gz", "wt", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "sequence", "cath"])
            for number in range(num):
                family = int(generator.integers(4))
                letters = list(LETTERS[5 * family : 5 * family + 5])
                sequence = "".join(generator.choice(letters, int(generator.integers(8, 20))))
                rows.writerow([f"{name}{number}", sequence, f"{1 + family // 2}.{family}.1.1"])
    return folder.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(random_model(), ankh_vocab(), folder, Provenance("tiny"))
    return folder


def test_every_layer_and_pool_is_compared_on_val200_and_the_best_reported(data: Path, model: Path) -> None:
    result = run_cath(load(str(model), "cpu", "fp32"), data, compare=True, num_random=2)
    assert set(result.compared) == {Choice(layer, pool) for layer in range(3) for pool in ("mean", "max")}
    means = {choice: np.mean([each.value for each in found.values()]) for choice, found in result.compared.items()}
    assert result.chosen is not None and means[result.chosen] == max(means.values())
    names = [row.name for row in result.rows]
    assert names[0].endswith("mean, last layer") and names[-4:] == [
        "amino-acid composition",
        "composition and dipeptides",
        "random weights, mean, last layer (2 seeds)",
        "a random neighbour (expected)",
    ]
    by_name = {row.name: row.accuracy for row in result.rows}
    assert by_name[names[0]]["val200"] == result.compared[Choice(2, "mean")]
    assert by_name["amino-acid composition"]["test219"]["H"].value > by_name[names[-1]]["test219"]["H"].value
    assert sum(each.num for each in result.honesty["val200"]) <= 12 * 4
    text = markdown(result)
    assert "*Ankh base, published* | 85 | 77 | 63 | 72 |" in text and "(chosen)" in text


def test_every_kind_of_vector_is_that_of_embedding_with_its_layer_and_pool(data: Path, model: Path) -> None:
    loaded = load(str(model), "cpu", "fp32")
    sequences = Domains.read(data / "annotation_transfer" / "val200.csv.gz").sequences
    kinds = pooled_states(loaded.embedder(EmbedOptions("residues", "all", "fp32")), sequences, ("mean", "max"))
    assert len(kinds) == 6
    for choice, found in kinds.items():
        expected = [vector for _, vector in loaded.embed(sequences, pool=choice.pool, layer=choice.layer)]
        np.testing.assert_allclose(found, np.stack(expected), rtol=1e-5, atol=1e-6)


def test_the_command_prints_the_tables_or_writes_them(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["search", "cath", "--data", str(data), "-m", str(model), "--device", "cpu", "--random", "0"]
    assert cli.main(words) == 0
    assert "**test219** (9 / 9 / 9 / 9 queries counted" in capsys.readouterr().out
    assert cli.main([*words, "-o", str(tmp_path / "CATH.md"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["num_lookup"] == 60 and facts["rows"][0]["accuracy"]["val200"]["C"]["num"] == 12
    assert "**val200**" in (tmp_path / "CATH.md").read_text()


def test_data_that_is_missing_or_damaged_is_one_line(tmp_path: Path) -> None:
    for content, message in ((b"", "no such file"), (b"no gzip", "no table of id, sequence and cath")):
        if content:
            (tmp_path / "val200.csv.gz").write_bytes(content)
        with pytest.raises(UserError, match=message):
            Domains.read(tmp_path / "val200.csv.gz")


def test_the_real_sets_are_as_the_protocol_knows_them(shared_data: Path) -> None:
    folder = shared_data / "annotation_transfer"
    lookup, test = (Domains.read(folder / f"{name}.csv.gz") for name in ("lookup_s20", "test219"))
    assert (len(lookup), len(test)) == (14942, 219)
    result = accuracies(hits(test, lookup, composition), counted(test, lookup))
    assert 40 < result["C"].value < 80 and result["H"].num <= 219
