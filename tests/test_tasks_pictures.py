"""Predictions are drawn: one protein into a PNG, many into a folder with a list; what cannot be is one line."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fit_samples import LetterRows, contact_data, number_data, residue_data
from openankh.errors import UserError
from openankh.fasta import Record
from openankh.tasks.artifact import Artifact
from openankh.tasks.finetuning import HeadChoice, finetune
from openankh.tasks.fitting import FitOptions
from openankh.tasks.pictures import picture_files, tracks
from openankh.tasks.pictures.picture_files import check_pictures, drawing_pictures
from openankh.tasks.predicting import Prediction

pytest.importorskip("matplotlib")
PNG = b"\x89PNG\r\n\x1a\n"


def artifact(kind: str) -> Artifact:
    data = {"residue": residue_data, "pair": contact_data, "protein": number_data}[kind]()
    return finetune(data, HeadChoice("linear"), LetterRows(), FitOptions(epochs=1)).artifact


def prediction(kind: str, length: int, name: str = "P1") -> Prediction:
    record = Record(name, "", ("MKTAYIAKQR" * length)[:length], 1)
    if kind == "pair":
        return Prediction(record, None, np.full((length, length), 0.1, np.float32))
    shares_LC = np.full((length, 3), 1 / 3, np.float32)
    return Prediction(record, tuple(("CEH" * length)[:length]), shares_LC)


@pytest.mark.parametrize("kind", ["residue", "pair"])
@pytest.mark.parametrize("length", [1, 7, 170])
def test_one_protein_becomes_one_png(kind: str, length: int, tmp_path: Path) -> None:
    path = tmp_path / "made.png"
    with drawing_pictures(path, artifact(kind)) as writer:
        writer.write(prediction(kind, length, "a/b $x_1^2$ \u540d"))
    assert path.read_bytes().startswith(PNG)


def test_a_folder_has_a_picture_of_each_and_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracks, "MOST_RESIDUES", 50)
    with drawing_pictures(tmp_path / "made", artifact("residue")) as writer:
        for length, name in ((9, "../x"), (60, "long"), (12, "../x")):
            writer.write(prediction("residue", length, name))
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"00001.png", "00003.png", "pictures.csv"}
    with open(tmp_path / "made" / "pictures.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["id"]) for row in rows] == [("00001.png", "../x"), ("", "long"), ("00003.png", "../x")]
    with (
        pytest.raises(UserError, match="up to 50 residues, not of 60"),
        drawing_pictures(tmp_path / "one.png", artifact("residue")) as writer,
    ):
        writer.write(prediction("residue", 60))
    assert not (tmp_path / "one.png").exists()


def test_classes_that_are_no_secondary_structure_are_drawn_as_boxes() -> None:
    assert tracks.is_structure(("C", "H", "E")) and tracks.is_structure(tuple("CHETSGBI"))
    assert not tracks.is_structure(("N", "P")) and not tracks.is_structure(("H",))
    assert len(set(tracks.colours_of(tuple("CHETSGBI")).values())) == 8
    assert list(tracks.runs("AABA")) == [(0, 2, "A"), (2, 3, "B"), (3, 4, "A")]


def test_what_cannot_be_drawn_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    found = artifact("residue")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "there.png").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, message in (
        ("full", "holds other things"),
        ("there.png", "exists already"),
        ("file", "no PNG"),
        ("a.pdf", "pictures are PNG"),
        ("none/a.png", "create it first"),
    ):
        with pytest.raises(UserError, match=message):
            check_pictures(str(tmp_path / name), found, overwrite=False)
    with pytest.raises(UserError, match="not what is said of a whole protein"):
        check_pictures("a.png", artifact("protein"), overwrite=False)
    with drawing_pictures(tmp_path / "made", found) as writer:
        writer.write(prediction("residue", 5))
    with pytest.raises(UserError, match="exists already"):
        check_pictures(str(tmp_path / "made"), found, overwrite=False)
    assert check_pictures(str(tmp_path / "made"), found, overwrite=True) == tmp_path / "made"
    assert picture_files.is_folder_of_pictures("made") and not picture_files.is_folder_of_pictures("made.PNG")
