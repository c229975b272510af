"""`openankh describe` prints and writes the dossiers that the page shows."""

import json
from pathlib import Path

import pytest

import dossier_samples
from openankh import cli
from openankh.dossier.dossier import Dossier, Overview
from openankh.dossier.json_text import from_json, plain


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command on two proteins and a tiny model, its cache in a folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fasta = tmp_path / "proteins.fasta"
    fasta.write_text("".join(f">{r.id} {r.description}\n{r.sequence}\n" for r in dossier_samples.records()[:2]))
    return ["describe", str(fasta), "-m", str(dossier_samples.loaded_model(tmp_path).folder), "--quiet"]


def test_json_is_the_overview_and_all_dossiers_as_the_folder_holds_them(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    assert cli.main([*words, "--json", "-o", str(folder)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert plain(from_json(Overview, (folder / "overview.json").read_bytes())) == told["overview"]
    for number, dossier in enumerate(told["dossiers"], start=1):
        assert plain(from_json(Dossier, (folder / f"dossier-{number}.json").read_bytes())) == dossier
    assert [each["id"] for each in told["dossiers"]] == ["P1", "P2"]
    assert cli.main([*words, "-o", str(folder)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_table_is_printed_and_a_bad_file_is_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "--variants", "none"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[:3] == ["id", "nearest", "family"]
    Path(words[1]).write_text(">a\nMK1\n")
    assert cli.main(words) == 2
    assert "line 2, column 3" in capsys.readouterr().err
