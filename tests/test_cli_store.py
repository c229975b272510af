"""`openankh store`: what a user types, what comes back, and one line with exit code 2 for what cannot be."""

import json
from pathlib import Path

import pytest

from embedding_samples import provenance
from openankh import cli
from openankh.lock import sole_writer
from openankh.store import EmbeddingStore
from openankh.store.exported import read_export
from store_samples import flip_bit, write_store

IDS = [f"P{number}" for number in range(12)]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["store", *map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_store(tmp_path / "s", IDS)
    return tmp_path / "s"


def test_info_tells_what_how_many_and_what_made_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, _ = run(capsys, "info", folder, "--json")
    facts = json.loads(output)
    assert code == 0 and facts["num_proteins"] == 12 and facts["is_finished"] and facts["array_of_a_protein"] == "L x 6"
    assert {name: facts[name] for name in provenance().to_json()} == provenance().to_json()
    assert "num proteins" in run(capsys, "info", folder)[1]


def test_verify_says_whole_or_names_the_damage_with_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output, errors = run(capsys, "verify", folder)
    assert (code, errors) == (0, "") and "is whole      yes" in output
    flip_bit(folder / "shard-000001.safetensors", 100)
    (folder / "shard-000002.safetensors").unlink()
    code, output, errors = run(capsys, "verify", folder, "--json")
    facts = json.loads(output)
    assert code == 2 and not facts["is_whole"]
    assert [damage["file"] for damage in facts["damages"]] == [f"shard-00000{n}.safetensors" for n in (1, 2)]
    assert errors.count("\n") == 1
    assert "2 damaged: shard-000001.safetensors (its SHA-256 differs from the manifest's, proteins " in errors
    assert "copy these files again" in errors


@pytest.mark.parametrize(("name", "format_name"), [("out.h5", "HDF5"), ("out.parquet", "Parquet"), ("out.npz", "NPZ")])
def test_export_writes_the_whole_or_a_part(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], name: str, format_name: str
) -> None:
    assert run(capsys, "export", folder, tmp_path / name)[0] == 0
    assert read_export(tmp_path / name).num_records == 12
    (tmp_path / "ids").write_text("P3\nP1\n")
    code, output, _ = run(
        capsys, "export", folder, "-o", tmp_path / name, "--ids", tmp_path / "ids", "--overwrite", "--json"
    )
    assert code == 0 and json.loads(output)["num_proteins"] == 2
    found = read_export(tmp_path / name)
    assert (found.format, found.num_records) == (format_name, 2)


def test_merge_writes_one_store(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(tmp_path / "t", ["Q1", "P3"], provenance(input_sha256="c" * 64))
    code, output, _ = run(capsys, "merge", folder, tmp_path / "t", "-o", tmp_path / "all", "--json")
    assert code == 0 and json.loads(output)["num_duplicates"] == 1
    assert EmbeddingStore.open(tmp_path / "all").ids == (*IDS, "Q1", "P3")
    code, _, errors = run(capsys, "merge", folder, tmp_path / "t", "-o", tmp_path / "no", "--duplicates", "refuse")
    assert code == 2 and "protein 'P3' is in" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "nowhere"], "no such folder"),
        (["verify", "file"], "a file, not an embedding store"),
        (["info", "empty"], "not an embedding store, or one not finished"),
        (["export", "s", "out.csv"], "unknown ending '.csv'"),
        (["export", "s", "file.npz", "--ids", "nowhere"], "cannot read nowhere"),
        (["export", "nowhere", "out.h5"], "no such folder"),
        (["export", "s", "s"], "exists already"),
        (["merge", "-o", "out"], "no store to merge"),
        (["merge", "s", "s", "-o", "out"], "given twice"),
        (["merge", "s", "-o", "no/where/out"], "does not exist; create it first"),
        (["merge", "s", "-o", "s"], "exists already"),
        (["verfy", "s"], 'Did you mean "verify"'),
        (["verify"], "requires an argument"),
    ],
)
def test_a_mistake_gives_one_line_and_changes_nothing(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    code, output, errors = run(capsys, *arguments)
    assert (code, output) == (2, "")
    assert errors.startswith("error: ") and message in errors and errors.count("\n") == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["empty", "file", "s"]


def test_an_output_that_another_process_writes_is_left_to_it(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sole_writer(tmp_path / "out.npz"), sole_writer(tmp_path / "all"):
        assert "is writing it; wait for it" in run(capsys, "export", folder, tmp_path / "out.npz")[2]
        assert "is writing it; wait for it" in run(capsys, "merge", folder, "-o", tmp_path / "all")[2]
