"""`openankh finetune` and `openankh predict` as a stranger uses them, with good and with bad input."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fit_samples import sequences, structure
from model_folders import TINY, random_model
from openankh import cli
from openankh.checkpoint import Provenance, save_model
from openankh.config import ModelConfig
from openankh.fasta import FastaReader
from openankh.vocab import ankh_vocab
from task_samples import write_csv, write_data

FASTA = ">P1 first\nMKTAYIAKQRQISFVKSHFSRQLEERLG\n>a/b\nMKV\n>P1 again\nACDEFGHIKLMNPQRSTVWYX\n"
LENGTHS = [28, 3, 21]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("ankh", "other")):
        save_model(random_model(ModelConfig(**vars(TINY)), seed), ankh_vocab(), folder / name, Provenance(name))
    return folder


class Stranger:
    """Both commands, in a folder of its own."""

    def __init__(self, folder: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.models, self._capsys = folder, models, capsys
        (folder / "in.fasta").write_text(FASTA)

    def finetune(self, task: Path | str, *options: str, out: str = "made") -> tuple[int, str, str]:
        model = () if "-m" in options else ("-m", str(self.models / "ankh"))
        epochs = () if "--epochs" in options else ("--epochs", "1")
        words = ["finetune", str(task), "-o", str(self.folder / out), *model, *epochs, *options]
        return self._run([*words, "--cache", str(self.folder / "cache"), "--precision", "fp32", "--device", "cpu"])

    def predict(self, output: str, *options: str, artifact: str = "made") -> tuple[int, str, str]:
        words = ["predict", str(self.folder / artifact), str(self.folder / "in.fasta")]
        return self._run([*words, "-o", str(self.folder / output), "--device", "cpu", *options])

    def error(self, found: tuple[int, str, str]) -> str:
        code, _, err = found
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert code == 2 and len(lines) == 1 and err.rstrip().endswith(lines[0]), err
        return lines[0]

    def rows(self, name: str) -> list[dict[str, str]]:
        with open(self.folder / name, encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _run(self, words: Sequence[str]) -> tuple[int, str, str]:
        code = cli.main(words)
        shown = self._capsys.readouterr()
        return code, shown.out, shown.err


@pytest.fixture
def stranger(tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> Stranger:
    return Stranger(tmp_path, models, capsys)


def class_table(folder: Path, num: int = 30) -> Path:
    rows = [(f"p{n}", sequence, "AB"[n % 2]) for n, sequence in enumerate(sequences(num, shortest=20, longest=40))]
    return write_csv(folder / "own.csv", ("id", "sequence", "label"), rows)


def residue_table(folder: Path) -> Path:
    found = sequences(24, shortest=20, longest=40)
    labels = ["".join("-" if each < 0 else "CEH"[each] for each in structure(sequence)) for sequence in found]
    splits = ["train"] * 16 + ["valid"] * 4 + ["test"] * 4
    return write_csv(folder / "own.csv", ("sequence", "label", "split"), list(zip(found, labels, splits, strict=True)))


def test_a_table_of_classes_becomes_an_artifact_that_predicts(stranger: Stranger, tmp_path: Path) -> None:
    code, out, err = stranger.finetune(class_table(tmp_path), "--head", "linear")
    assert code == 0 and "read back, the same logits bit for bit" in err and "labels: classes" in err
    assert "test accuracy" in out
    assert stranger.predict("out.csv")[0] == 0
    rows = stranger.rows("out.csv")
    assert [row["id"] for row in rows] == ["P1", "a/b", "P1"]
    assert list(rows[0]) == ["id", "prediction", "p_A", "p_B"]
    for row in rows:
        shares = {name: float(row[f"p_{name}"]) for name in "AB"}
        assert sum(shares.values()) == pytest.approx(1, abs=2e-4) and row["prediction"] == max(shares, key=shares.get)  # type: ignore[arg-type]  # pyright: ignore


def test_residues_are_predicted_into_every_format(stranger: Stranger, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    assert stranger.finetune(residue_table(tmp_path))[0] == 0
    for name in ("out.csv", "out.fasta", "out.parquet"):
        assert stranger.predict(name)[0] == 0
    rows = stranger.rows("out.csv")
    assert len(rows) == sum(LENGTHS) and list(rows[0])[:4] == ["id", "position", "residue", "prediction"]
    records = list(FastaReader(tmp_path / "out.fasta"))
    assert [len(record.sequence) for record in records] == LENGTHS
    assert "".join(record.sequence for record in records) == "".join(row["prediction"] for row in rows)
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert table["prediction"] == [row["prediction"] for row in rows]
    np.testing.assert_allclose(table["p_C"], [float(row["p_C"]) for row in rows], atol=1e-4)


def test_numbers_and_labels_are_predicted(stranger: Stranger, tmp_path: Path) -> None:
    found = sequences(30, shortest=20, longest=40)
    numbers = write_csv(tmp_path / "own.csv", ("sequence", "label"), [(each, n / 7) for n, each in enumerate(found)])
    assert stranger.finetune(numbers, "--head", "mlp")[0] == 0
    assert stranger.predict("out.tsv")[0] == 0 and stranger.predict("out.fasta")[0] == 0
    lines = (tmp_path / "out.tsv").read_text().splitlines()
    assert lines[0] == "id\tprediction" and np.isfinite(float(lines[1].split("\t")[1]))
    labels = [(each, ("a|b", "a", "b")[n % 3]) for n, each in enumerate(found)]
    table = write_csv(tmp_path / "own.csv", ("sequence", "label"), labels)
    assert stranger.finetune(table, "--head", "linear", "--kind", "labels", "--overwrite")[0] == 0
    assert stranger.predict("out.csv")[0] == 0
    assert list(stranger.rows("out.csv")[0]) == ["id", "prediction", "p_a", "p_b"]


def test_a_named_task_is_learned_from_a_folder_of_data(stranger: Stranger, tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    code, out, _ = stranger.finetune(
        "contact-ca", "--data", str(tmp_path / "data"), "--json", "--seed", "0", "--seed", "1"
    )
    told = json.loads(out)
    assert code == 0 and set(told["valid_by_seed"]) == {"0", "1"} and "L/5 all" in told["metrics"]["valid"]
    assert stranger.predict("out.csv", "--least", "0")[0] == 0
    rows = stranger.rows("out.csv")
    assert {row["id"] for row in rows} == {"P1"}  # of three residues no pair is six apart
    assert all(int(row["j"]) - int(row["i"]) >= 6 for row in rows)
    assert "pairs of residues do not fit FASTA" in stranger.error(stranger.predict("out.fasta"))


def test_rows_are_computed_once_for_all_heads(stranger: Stranger, tmp_path: Path) -> None:
    table = residue_table(tmp_path)
    stranger.finetune(table, "--head", "linear")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}
    stranger.finetune(table, "--head", "mlp", out="other")
    assert before and before == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.safetensors")}


def test_names_of_several_words_stay_in_one_header(stranger: Stranger, tmp_path: Path) -> None:
    rows = [(sequence, ("cell\nwall", "the inside")[n % 2]) for n, sequence in enumerate(sequences(30, shortest=20))]
    assert stranger.finetune(write_csv(tmp_path / "own.csv", ("sequence", "label"), rows), "--head", "linear")[0] == 0
    assert stranger.predict("out.fasta")[0] == 0 and stranger.predict("out.csv")[0] == 0
    records = list(FastaReader(tmp_path / "out.fasta"))
    assert [len(record.sequence) for record in records] == LENGTHS
    assert all(record.description.split()[0] in ("prediction=cell_wall", "prediction=the_inside") for record in records)


def test_lora_is_trained_and_predicts(stranger: Stranger, tmp_path: Path) -> None:
    table = class_table(tmp_path)
    code, _, err = stranger.finetune(table, "--head", "linear", "--lora", "4", "--lora-targets", "q, v")
    assert code == 0, err
    assert {path.name for path in (tmp_path / "made" / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert stranger.predict("out.csv")[0] == 0 and len(stranger.rows("out.csv")) == 3
    assert "choose among q, k, v, o" in stranger.error(
        stranger.finetune(table, "--lora", "4", "--lora-targets", "qv", "--overwrite")
    )
    assert "last layer" in stranger.error(stranger.finetune(table, "--lora", "4", "--layer", "1", "--overwrite"))


def test_wrong_tables_and_options_are_one_line(stranger: Stranger, tmp_path: Path) -> None:
    table = class_table(tmp_path)
    assert "no such file" in stranger.error(stranger.finetune(tmp_path / "none.csv"))
    assert "no such task" in stranger.error(stranger.finetune("secondary-struct"))
    assert "is for tasks by name" in stranger.error(stranger.finetune(table, "--data", str(tmp_path)))
    assert "at least 1" in stranger.error(stranger.finetune(table, "--epochs", "0"))
    assert "seed -1" in stranger.error(stranger.finetune(table, "--seed=-1"))
    assert "no column" in stranger.error(stranger.finetune(table, "--label", "place"))
    assert "for whole proteins" in stranger.error(
        stranger.finetune(residue_table(tmp_path), "--head", "light-attention")
    )
    rows = [(sequence, "A", "train") for sequence in sequences(5)] + [(sequences(1, 9)[0], "B", "test")]
    header = ("sequence", "label", "split")
    lonely = write_csv(tmp_path / "bad.csv", header, rows)
    assert "the only member of class B" in stranger.error(stranger.finetune(lonely)).replace("'", "")
    unlike = [(each, ("CEH" * 20)[: len(each) - (n == 3)], "train") for n, each in enumerate(sequences(8))]
    found = stranger.error(stranger.finetune(write_csv(tmp_path / "bad.csv", header, unlike), "--kind", "residues"))
    assert "line 5" in found and "residues and a label string of" in found
    unknown = [(each, "AB"[n % 2], "train") for n, each in enumerate(sequences(8))]
    unknown += [(each, "C", "test") for each in sequences(2, 8)]
    assert "unknown to train" in stranger.error(stranger.finetune(write_csv(tmp_path / "bad.csv", header, unknown)))
    assert not (tmp_path / "made").exists()


def test_an_artifact_and_model_that_do_not_match_are_one_line(stranger: Stranger, tmp_path: Path) -> None:
    table = class_table(tmp_path)
    assert stranger.finetune(table, "--head", "linear")[0] == 0
    other = str(stranger.models / "other")
    assert "not the one that" in stranger.error(stranger.predict("out.csv", "-m", other))
    assert stranger.predict("out.csv", "-m", str(stranger.models / "ankh"))[0] == 0
    assert "exists already" in stranger.error(stranger.predict("out.csv"))
    assert stranger.predict("out.csv", "--overwrite")[0] == 0
    assert "unknown ending" in stranger.error(stranger.predict("out.txt"))
    assert "no such artifact" in stranger.error(stranger.predict("new.csv", artifact="none"))
    assert "does not exist" in stranger.error(stranger.predict("none/new.csv"))
    assert "exists already" in stranger.error(stranger.finetune(table))
    assert "no artifact" in stranger.error(stranger.finetune(table, "--overwrite", out="in.fasta"))
    (tmp_path / "in.fasta").write_text(">bad\nMK7\n")
    assert "in.fasta" in stranger.error(stranger.predict("new.csv")) and not (tmp_path / "new.csv").exists()


def test_a_whole_encoder_is_trained_and_predicts(stranger: Stranger, tmp_path: Path) -> None:
    table = class_table(tmp_path)
    code, _, err = stranger.finetune(table, "--head", "linear", "--mode", "full", "--encoder-rate", "1e-4")
    assert code == 0 and "read back, the same logits bit for bit" in err
    assert (tmp_path / "made" / "encoder" / "model.safetensors").is_file()
    assert stranger.predict("out.csv")[0] == 0 and len(stranger.rows("out.csv")) == 3
    assert "leave -m out" in stranger.error(stranger.predict("new.csv", "-m", str(stranger.models / "ankh")))


def test_modes_that_do_not_go_together_are_one_line(stranger: Stranger, tmp_path: Path) -> None:
    table = class_table(tmp_path)
    for options, message in (
        (("--lora", "4", "--mode", "full"), "does not go with --mode full"),
        (("--encoder-rate", "1e-4"), "the encoder stays as it is"),
        (("--head", "attention", "--mode", "lora"), "leave --mode lora out"),
        (("--head", "attention"), "is for contacts"),
        (("--mode", "full", "--encoder-rate", "0"), "encoder_rate is 0"),
    ):
        assert message in stranger.error(stranger.finetune(table, *options))
    assert not (tmp_path / "made").exists()


def test_contacts_are_learned_from_attention_maps_and_drawn(stranger: Stranger, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_data(tmp_path / "data")
    code, _, err = stranger.finetune("contact-ca", "--data", str(tmp_path / "data"), "--head", "attention")
    assert code == 0, err
    assert stranger.predict("out.csv", "--plot", str(tmp_path / "maps"))[0] == 0
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {
        "00001.png",
        "00002.png",
        "00003.png",
        "pictures.csv",
    }
    one = str(tmp_path / "one.png")
    assert "more than one protein" in stranger.error(stranger.predict("new.csv", "--plot", one))
    (tmp_path / "in.fasta").write_text(">P1\nMKTAYIAKQRQISFVK\n")
    assert stranger.predict("new.csv", "--plot", one, "--json")[0] == 0
    assert (tmp_path / "one.png").is_file() and (tmp_path / "new.csv").is_file()


def test_what_predict_lacks_is_told(stranger: Stranger, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["predict"], "no predictor named"),
        (["predict", "made"], "predicts what"),
        (["predict", "made", "in.fasta"], "nowhere to write"),
    ):
        assert cli.main(words) == 2
        assert message in capsys.readouterr().err
