"""Answers come back from CSV, TSV and JSON as they were; nothing in them runs as a formula or breaks a row."""

import csv
import io
import json
from pathlib import Path

import pytest

from openankh.errors import UserError
from openankh.search.answers import Answer, Neighbour, answer_writer, check_output, writing_answers
from openankh.search.reliability import UNKNOWN, Reliability
from openankh.search.transfer import Transfer

LABELS = (("cath", ("C", "A")), ("family", ("",)))
ODD = "=cmd|' /C calc'!A0\n\"x\", caf\udce9"
ANSWERS = [
    Answer(
        "Q1",
        (
            Neighbour(
                1,
                ODD,
                7,
                0.123456789,
                0.5,
                (
                    Transfer("cath", "1.10", (("C", Reliability(0.75, 80)), ("A", UNKNOWN))),
                    Transfer("family", "-1", (("", Reliability(1.0, 50)),)),
                ),
            ),
            Neighbour(2, "-x", 9, 2.0, None, (Transfer("cath", "", ()), Transfer("family", "", ()))),
        ),
    ),
    Answer("Q2", ()),
]


def written(ending: str) -> bytes:
    file = io.BytesIO()
    writer = answer_writer(file, ending, LABELS)
    for answer in ANSWERS:
        writer.write(answer)
    writer.finish()
    return file.getvalue()


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_a_table_has_one_row_a_neighbour(ending: str, delimiter: str) -> None:
    text = written(ending).decode("utf-8", "surrogateescape")
    header, *rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    assert header == [
        *("query", "rank", "neighbour", "distance", "similarity", "cath", "cath_reliability_C", "cath_pairs_C"),
        *("cath_reliability_A", "cath_pairs_A", "family", "family_reliability", "family_pairs"),
    ]
    assert rows == [
        ["Q1", "1", "'" + ODD, "0.123457", "0.5", "1.10", "0.75", "80", "", "0", "-1", "1", "50"],
        ["Q1", "2", "'-x", "2", "", "", "", "", "", "", "", "", ""],
    ]


def test_json_has_one_object_a_query_with_the_ids_as_they_are() -> None:
    first, second = json.loads(written(".json"))
    assert second == {"query": "Q2", "neighbours": []}
    nearest, other = first["neighbours"]
    assert nearest["id"] == ODD and other["similarity"] is None
    assert nearest["labels"] == {
        "cath": {
            "label": "1.10",
            "reliability": {"C": {"share": 0.75, "pairs": 80}, "A": {"share": None, "pairs": 0}},
        },
        "family": {"label": "-1", "reliability": {"share": 1.0, "pairs": 50}},
    }


def test_no_answers_are_an_empty_list_in_json() -> None:
    file = io.BytesIO()
    answer_writer(file, ".json", ()).finish()
    assert json.loads(file.getvalue()) == []


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = check_output(str(tmp_path / "out.csv"), overwrite=False)
    with pytest.raises(RuntimeError), writing_answers(path, LABELS) as writer:
        writer.write(ANSWERS[0])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with writing_answers(path, LABELS) as writer:
        writer.write(ANSWERS[0])
    assert len(path.read_bytes().splitlines()) == 4  # one id holds a line break


def test_a_wrong_output_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("x")
    with pytest.raises(UserError, match=r"exists already.*--overwrite"):
        check_output(str(tmp_path / "there.csv"), overwrite=False)
    assert check_output(str(tmp_path / "there.csv"), overwrite=True)
    with pytest.raises(UserError, match=r"unknown ending '.xlsx'; use .csv, .tsv, .json"):
        check_output(str(tmp_path / "out.xlsx"), overwrite=False)
    with pytest.raises(UserError, match="does not exist"):
        check_output(str(tmp_path / "none" / "out.csv"), overwrite=False)
