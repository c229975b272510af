"""`openankh design` as its user meets it."""

import csv
import json
from pathlib import Path

import pytest

from design_samples import PARENT, family_members, save_small, write_family
from openankh import cli
from openankh.fasta import FastaReader

FAMILY = ("--epochs", 1, "--batch", 8, "--length", 25, "--prompt", 5, "--holdout", 0.2, "-n", 3, "--beams", 2)
ONE = ("--masks", 2, "--per-mask", 2, "--beams", 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_small(tmp_path_factory.mktemp("models") / "openankh")


@pytest.fixture
def family(tmp_path: Path) -> Path:
    return write_family(tmp_path / "family.fasta", family_members(20))


@pytest.fixture
def concern(tmp_path: Path) -> Path:
    path = tmp_path / "concern.fasta"
    path.write_text(f">toxin\n{PARENT.sequence}\n")
    return path


def design(*words: object) -> int:
    return cli.main(["design", *map(str, words), "--quiet"])


def facts_of(path: Path) -> list[dict[str, str]]:
    return [dict(word.split("=", 1) for word in record.description.split()) for record in FastaReader(path)]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_family_is_learned_and_its_designs_written_at_each_temperature(
    model: str, family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("family", family, "-o", out, *FAMILY, "-t", 1, 2, "-m", model)
    assert design(*words, "--json") == 0, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out)
    assert [each["proposals"] for each in told["written"]] == [3, 3] and told["settings"]["prompt"] == 5
    for temperature in ("1", "2"):
        fasta = out / f"designs_t{temperature}.fasta"
        assert {facts["temperature"] for facts in facts_of(fasta)} == {temperature}
        rows = rows_of(fasta.with_suffix(".csv"))
        assert [row["sequence"] for row in rows] == [record.sequence for record in FastaReader(fasta)]
    assert cli.main(["complete", "MKTAYIAKQR", "--length", "20", "-m", str(out / "model"), "--quiet"]) == 0


def test_a_stopped_run_goes_on_without_adapting_or_writing_again(
    model: str, family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("family", family, "-o", out, *FAMILY, "-m", model)
    assert design(*words, "-t", 1) == 0, capsys.readouterr().err
    kept = {path: path.stat().st_mtime_ns for path in (out / "model" / "model.safetensors", out / "designs_t1.fasta")}
    assert design(*words, "-t", 1) == 2
    assert "is not empty; choose another folder, or add --resume" in capsys.readouterr().err
    assert design(*words, "-t", 1, 2, "--resume") == 0, capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept and (out / "designs_t2.fasta").exists()
    whole = tmp_path / "whole"
    assert design(*words[:2], "-o", whole, *words[4:], "-t", 1, 2) == 0
    sequences = [[r.sequence for r in FastaReader(each / "designs_t2.fasta")] for each in (out, whole)]
    assert sequences[0] == sequences[1]


def test_a_table_with_groups_is_a_family_too(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "family.csv"
    members = family_members(20)
    table.write_text("seq,cluster\n" + "".join(f"{m.sequence},{n % 5}\n" for n, m in enumerate(members)))
    words = ("family", table, "--column", "seq", "--groups", "cluster", "-o", tmp_path / "out", *FAMILY, "-m", model)
    assert design(*words) == 0, capsys.readouterr().err
    held_out = {record.id for record in FastaReader(tmp_path / "out" / "held_out.fasta")}
    assert len(held_out) == 4 and len({(int(name.removeprefix("row")) - 2) % 5 for name in held_out}) == 1


def test_no_epochs_are_the_control_with_the_same_prompts(
    model: str, family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for epochs, out in ((0, "control"), (1, "adapted")):
        words = ("family", family, "-o", tmp_path / out, "--epochs", epochs, *FAMILY[2:], "-m", model)
        assert design(*words) == 0, capsys.readouterr().err
    control, adapted = (list(FastaReader(tmp_path / out / "designs_t1.fasta")) for out in ("control", "adapted"))
    assert [r.sequence[:5] for r in control] == [r.sequence[:5] for r in adapted]
    assert not (tmp_path / "control" / "model").exists()


def test_one_protein_is_written_anew_around_fixed_places(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.fasta"
    words = ("one", PARENT.sequence, *ONE, "--fixed", "1-5", "-m", model, "--seed", 3)
    assert design(*words, "-o", out, "--json") == 0, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out)
    records = list(FastaReader(out))
    assert told["proposals"] == len(records) and told["settings"]["masks"] == 2
    assert all(record.sequence.startswith("MKTAY") and len(record.sequence) == 22 for record in records)
    assert [record.id for record in records] == [f"protein/{number}" for number in range(1, len(records) + 1)]
    assert design(*words) == 0
    assert capsys.readouterr().out == out.read_text()
    assert design(*words, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["sequence"] for each in listed] == [record.sequence for record in records]
    assert isinstance(listed[0]["identity"], float) and listed[0]["seed"] == 3


def test_mutants_come_with_the_steps_that_led_to_them(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.fasta"
    words = ("directed", PARENT.sequence, "--budget", 2, "-n", 5, "-m", model, "-o", out, "--fixed", "1")
    assert design(*words, "--json") == 0, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out)
    facts = facts_of(out)
    assert len(facts) == 5 and told["best_score"] == pytest.approx(float(facts[0]["score"]), rel=1e-5)
    assert all(each["mutations"].count(":") <= 1 and each["score_name"] == "masked-marginal" for each in facts)
    trace = rows_of(tmp_path / "out.trace.csv")
    assert [row["num_mutations"] for row in trace] == ["1", "2"]
    assert trace[-1]["mutations"] == facts[0]["mutations"]


@pytest.mark.parametrize("kind", ["number", "classes"])
def test_a_predictor_of_ones_own_can_be_what_is_wanted(
    kind: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members, table, predictor = family_members(40, 12), tmp_path / "labelled.csv", tmp_path / "predictor"
    labels = [f"{number / 7:.3f}" if kind == "number" else ("some", "few")[number % 2] for number in range(40)]
    table.write_text(
        "sequence,label\n" + "".join(f"{m.sequence},{label}\n" for m, label in zip(members, labels, strict=True))
    )
    words = ["finetune", str(table), "-o", str(predictor), "--head", "linear", "--epochs", "2", "-m", model, "--quiet"]
    assert cli.main(words) == 0, capsys.readouterr().err
    capsys.readouterr()
    goal = ("--predictor", predictor, *(() if kind == "number" else ("--target", "some")))
    search = ("--search", "beam", "--beams", 2, "--budget", 2, "--region", "1-4", "-n", 3)
    assert design("directed", members[0].sequence, *goal, *search, "--json") == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 3 and found[0]["score"] >= found[1]["score"] >= found[2]["score"]
    wrong = ("--target", "none") if kind == "classes" else ("--target", "some")
    assert design("directed", members[0].sequence, "--predictor", predictor, *wrong) == 2
    assert ("has no such class" if kind == "classes" else "leave it out") in capsys.readouterr().err
    if kind == "classes":
        assert design("directed", members[0].sequence, "--predictor", predictor) == 2
        assert "name the one that is wanted with --target" in capsys.readouterr().err


@pytest.mark.parametrize(("action", "num"), [("report", 1), ("drop", 0)])
def test_completions_are_screened_too(
    action: str, num: int, model: str, concern: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["complete", PARENT.sequence, "--length", "24", "-m", model, "--screen", str(concern)]
    assert cli.main([*words, "--screen-action", action]) == 0
    told = capsys.readouterr()
    assert told.out.count(">") == num and "screen: 1 of 1 proteins" in told.err
    assert ("screen_hit=toxin" in told.out) == (action == "report")


def test_designs_of_one_protein_are_screened(model: str, concern: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("one", PARENT.sequence, *ONE, "--share", 0.1, "-m", model, "--screen", concern)
    assert design(*words) == 0
    assert capsys.readouterr().out.count("screen_hit=toxin") >= 1
    assert cli.main(["design", *map(str, words), "--screen-action", "drop"]) == 0
    told = capsys.readouterr()
    assert not told.out and "they were left out" in told.err


BAD = [
    (("family", "{empty}", "-o", "{out}"), "no records"),
    (("family", "{family}", "-o", "{out}", "--prompt", "60"), "longest member has 40 residues"),
    (("family", "{family}", "-o", "{out}", "--groups", "x"), "names a column, but"),
    (("family", "{table}", "-o", "{out}"), "line 3: column 3: '1' is no residue"),
    (("family", "{table}", "-o", "{out}", "--column", "sequense"), "did you mean sequence?"),
    (("family", "{family}", "-o", "{out}", "--holdout", "1"), "--holdout 1.0: give a share"),
    (("family", "{family}", "-o", "{out}", "--recipe", "x"), "--recipe x: not one of mdh"),
    (("family", "{family}", "-o", "{out}", "--resume"), "holds no adaptation.json"),
    (("family", "{family}", "-o", "{family}"), "is a file; name a folder"),
    (("one", "MKT1"), "no such file, and no sequence of residues"),
    (("one", "{family}"), "has 20 proteins; give the one"),
    (("one", "MKTAY", "--share", "0"), "--share 0: give a share above 0"),
    (("one", "MKTAY", "--fixed", "9"), "--fixed 9: lies beyond the protein, which has 5 residues"),
    (("one", "MKTAY", "--fixed", "x"), "--fixed x: write places and ranges"),
    (("one", "MKTAY", "--forbid", "1"), "'1' is no residue"),
    (("one", "MKTAY", "--min-identity", "2"), "give two shares"),
    (("one", "MKTAY", "-o", "{out}.csv"), "names the FASTA file"),
    (("one", "MKTAY", "-o", "{family}"), "exists already"),
    (("directed", "MKTAY", "--budget", "0"), "--budget 0: a mutant has at least 1 substitution"),
    (("directed", "MKTAY", "--score", "likelihood", "--predictor", "x"), "give one of them"),
    (("directed", "MKTAY", "--target", "x"), "goes with --predictor"),
    (("directed", "MKTAY", "--predictor", "{out}"), "{out}"),
    (("directed", "MKTAY", "--allow", "9=A"), "--allow 9: lies beyond the protein"),
    (("directed", "MKTAY", "--screen", "{out}"), "{out}"),
]


@pytest.mark.parametrize(("words", "line"), BAD, ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_bad_input_is_one_line_and_writes_nothing(
    words: tuple[str, ...], line: str, model: str, family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.fasta").write_text("")
    (tmp_path / "table.csv").write_text("sequence\nMKTAY\nMK1AY\n")
    places = {"empty": "empty.fasta", "family": "family.fasta", "table": "table.csv", "out": "out"}
    named = {name: str(tmp_path / place) for name, place in places.items()}
    before = sorted(tmp_path.iterdir())
    assert design(*(word.format(**named) for word in words), "-m", model) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ") and "\n" not in told and line.format(**named) in told
    assert sorted(tmp_path.iterdir()) == before
