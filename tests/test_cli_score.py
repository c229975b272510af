"""`openankh score` as its user meets it."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import openankh
from generation_samples import draw_records, small_model, vocab_of
from openankh import cli
from openankh.checkpoint import save_model
from openankh.provenance import Provenance
from openankh.tasks.metrics import spearman

PROTEIN = draw_records(1, 24, 24, seed=5)[0].sequence


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder of each vocabulary."""
    folders = {}
    for name in ("ankh", "openankh"):
        folder = tmp_path_factory.mktemp("models") / name
        save_model(small_model(name), vocab_of(name), folder, Provenance(name, "CC-BY-4.0"))
        folders[name] = str(folder)
    return folders


def run(*words: object) -> int:
    return cli.main(["score", *map(str, words), "--quiet"])


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def write_table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_all_singles_are_a_matrix_and_a_picture(models: dict[str, str], tmp_path: Path) -> None:
    out, plot = tmp_path / "out.csv", tmp_path / "out.png"
    assert run(PROTEIN, "--all-singles", "-m", models["ankh"], "-o", out, "--plot", plot) == 0
    rows, scan = read(out), openankh.load(models["ankh"]).scan(PROTEIN)
    assert [row["position"] for row in rows] == [str(n) for n in range(1, 25)]
    assert "".join(row["wild_type"] for row in rows) == PROTEIN
    assert all(row[row["wild_type"]] == row["calibrated_" + row["wild_type"]] == "0" for row in rows)
    letters = "ACDEFGHIKLMNPQRSTVWY"
    written = np.array([[float(row[letter]) for letter in letters] for row in rows])
    np.testing.assert_allclose(written, scan.raw_L20, rtol=1e-5)
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_list_has_a_row_a_variant_with_the_matrix_numbers(models: dict[str, str], tmp_path: Path) -> None:
    for layout in ("matrix", "list"):
        assert run(PROTEIN, "-m", models["ankh"], "--layout", layout, "-o", tmp_path / layout) == 0
    rows = read(tmp_path / "list")
    matrix = {row["position"]: row for row in read(tmp_path / "matrix")}
    assert len(rows) == 24 * 19
    for row in rows:
        name = row["mutant"]
        assert row["score"] == matrix[name[1:-1]][name[-1]] and row["method"] == "masked-marginal"
        assert row["calibrated_score"] == matrix[name[1:-1]]["calibrated_" + name[-1]]


def test_a_table_comes_back_with_scores_behind_its_own_columns(models: dict[str, str], tmp_path: Path) -> None:
    names = [f"{PROTEIN[0]}1W", f"{PROTEIN[3]}4C:{PROTEIN[8]}9W", "WT"]
    table = write_table(tmp_path / "in.csv", "mutant,measured", *(f"{name},{n}" for n, name in enumerate(names)))
    fasta = write_table(tmp_path / "wt.fasta", ">P1 a protein", PROTEIN)
    out = tmp_path / "out.csv"
    assert run(fasta, "--mutations", table, "-m", models["openankh"], "-o", out) == 0
    rows = read(out)
    assert list(rows[0]) == ["mutant", "measured", "score", "calibrated_score", "method"]
    assert [row["mutant"] for row in rows] == names and [row["measured"] for row in rows] == ["0", "1", "2"]
    scores = openankh.load(models["openankh"]).score(PROTEIN, names)
    assert [float(row["score"]) for row in rows] == pytest.approx([score.raw for score in scores], rel=1e-4)


def test_whole_sequences_are_variants_too(models: dict[str, str], tmp_path: Path) -> None:
    changed = [PROTEIN[:5] + PROTEIN[7:], PROTEIN[:5] + "WW" + PROTEIN[5:], PROTEIN]
    table = write_table(tmp_path / "in.tsv", "id\tmutated_sequence", *(f"{n}\t{s}" for n, s in enumerate(changed)))
    words = (PROTEIN, "--mutations", table, "-m", models["openankh"])
    for method in ("likelihood", "pseudo-log-likelihood"):
        assert run(*words, "--method", method, "-o", tmp_path / f"{method}.csv") == 0
        rows = read(tmp_path / f"{method}.csv")
        assert [row["id"] for row in rows] == ["0", "1", "2"] and float(rows[2]["score"]) == 0
        assert float(rows[0]["score"]) * float(rows[1]["score"]) != 0


def test_one_variant_can_be_given_itself(models: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(PROTEIN.lower(), "--mutations", f"{PROTEIN[0]}1W", "-m", models["ankh"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header == "mutant,score,calibrated_score,method" and row.startswith(f"{PROTEIN[0]}1W,")


def test_json_sums_up_the_run(models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o.csv"
    assert run(PROTEIN, "-m", models["ankh"], "-o", out, "--json", "--method", "wild-type-marginal") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["variants"] == 24 * 19 and facts["method"] == "wild-type-marginal" and facts["model"] == models["ankh"]


def test_measured_effects_tell_how_well_the_scores_agree(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = {letter: "W" if letter != "W" else "A" for letter in PROTEIN}
    variants = [f"{letter}{place}{new[letter]}" for place, letter in enumerate(PROTEIN, start=1)]
    rows = [f"{variant},{number if number != 2 else ''}" for number, variant in enumerate(variants)]
    table = write_table(tmp_path / "in.csv", "mutant,fitness", *rows)
    words = (PROTEIN, "--mutations", table, "--measured", "fitness", "-m", models["ankh"])
    assert run(*words, "-o", tmp_path / "o.csv", "--json") == 0
    found = json.loads(capsys.readouterr().out)["agreement"]
    scored = [float(line.split(",")[2]) for line in (tmp_path / "o.csv").read_text().splitlines()[1:]]
    kept = [place for place in range(len(rows)) if place != 2]
    assert found["num"] == len(kept)
    rho = spearman(np.array(scored)[kept], np.array(kept, float))
    assert found["spearman"]["value"] == pytest.approx(rho, abs=1e-6)


WRONG = "A" if PROTEIN[1] != "A" else "L"


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        (["mutant", f"{PROTEIN[0]}1W", f"{WRONG}2V"], [], f"in.csv, row 3: {WRONG}2V: expected {WRONG} at position 2"),
        (["mutant", f"{PROTEIN[1]}2del"], [], f"in.csv, row 2: {PROTEIN[1]}2del: masked-marginal compares"),
        (["mutant", f"{PROTEIN[1]}2J"], [], "row 2: .*'J' is no residue"),
        (["mutant"], [], "in.csv: has no rows"),
        (["name", "x"], [], "in.csv: no column mutant or mutated_sequence; it has name"),
        (["mutant,score", f"{PROTEIN[0]}1W,1"], [], "has a column 'score' already"),
        (["mutant", "WT"], ["--all-singles"], "give one of them"),
        (["mutant", "WT"], ["--plot", "p.png"], "leave --mutations out"),
        (["mutant", "WT"], ["--layout", "list"], "keeps its own rows"),
        (["mutant", "WT"], ["--json"], "name a table with -o"),
        (["mutant", "WT"], ["-o", "no/such/folder.csv"], "does not exist"),
        (["mutant", "WT"], ["-o", "in.csv"], "exists already"),
        (["mutant", "WT"], ["-o", "x.csv.gz"], "leave out .gz"),
        (["mutant", "WT"], ["--window", 2], "at least 8"),
        (["mutant", "WT"], ["--mutations", "gone.csv"], "gone.csv"),
        (["mutant", "WT"], ["--measured", "fitness"], "in.csv: no column 'fitness'"),
        (["mutant,fit", "WT,1", "WT,high"], ["--measured", "fit"], "in.csv, line 3: fit is 'high'; give a number"),
        (["mutant,fit", "WT,1", "WT,"], ["--measured", "fit"], "fit has 1 numbers; at least 3"),
        (["mutant", "WT"], ["--mutations", "WT1", "--measured", "fit"], "is one variant; name a table"),
    ],
)
def test_mistakes_are_one_line(
    rows: list[str],
    words: list[object],
    message: str,
    models: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(Path("in.csv"), *rows)
    table = [] if "--mutations" in words else ["--mutations", "in.csv"]
    assert run(PROTEIN, *table, "-m", models["ankh"], *words) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert re.search(message, error), error
    assert {path.name for path in Path().iterdir()} == {"in.csv"}


def test_a_file_of_several_proteins_is_refused(
    models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fasta = write_table(tmp_path / "two.fasta", ">a", PROTEIN, ">b", PROTEIN)
    assert run(fasta, "-m", models["ankh"]) == 2
    assert "has 2 proteins" in capsys.readouterr().err


def test_help_imports_no_torch() -> None:
    code = (
        "import sys\nfrom openankh import cli\ncli.main(['score', '--help'])\n"
        "assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
