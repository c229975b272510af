"""`openankh benchmark` as a stranger uses it: the list, quick trials, stopping and going on, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fit_samples import sequences, structure
from model_folders import TINY, random_model
from openankh import cli
from openankh.benchmarking import campaign, measuring
from openankh.benchmarking.listing import task_lines
from openankh.benchmarking.published_rows import published_columns, published_source
from openankh.checkpoint import Provenance, save_model
from openankh.config import ModelConfig
from openankh.tasks.data_folder import DataFolder
from openankh.tasks.loading import load_task
from openankh.tasks.named_tasks import find_task, task_names
from openankh.vocab import ankh_vocab
from task_samples import write_csv

RESIDUES = """
title = "Letters"
unit = "residue"
target = "classes"
metrics = ["accuracy", "mcc"]
citation = "made up"
[[sources]]
file = "letters.csv"
label = "label"
split_column = "split"
splits = { train = "train", valid = "valid", test = "test" }
"""
CONTACTS = """
title = "Equal letters"
unit = "pair"
target = "contacts"
metrics = ["precision_at_L/5"]
citation = "made up"
[[sources]]
file = "chains.csv"
id = "id"
split_column = "split"
splits = { train = "train", valid = "valid", test = "test" }
[coordinates]
file = "chains.npz"
"""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, two tasks and their data."""
    folder = tmp_path_factory.mktemp("workshop")
    save_model(random_model(ModelConfig(**vars(TINY))), ankh_vocab(), folder / "tiny", Provenance("tiny"))
    (folder / "letters.toml").write_text(RESIDUES)
    (folder / "chains.toml").write_text(CONTACTS)
    found = sequences(36, shortest=20, longest=40)
    splits = ["train"] * 20 + ["valid"] * 8 + ["test"] * 8
    labels = ["".join("-" if each < 0 else "CEH"[each] for each in structure(sequence)) for sequence in found]
    write_csv(folder / "letters.csv", ("sequence", "label", "split"), list(zip(found, labels, splits, strict=True)))
    ids = [f"c{number}" for number in range(len(found))]
    write_csv(folder / "chains.csv", ("id", "sequence", "split"), list(zip(ids, found, splits, strict=True)))
    xyz = [np.array([[120 * "ACDEFGHIKLMNPQRSTVWY".index(each)] * 3 for each in text], np.int16) for text in found]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in found])])
    np.savez(folder / "chains.npz", ca_x10=np.concatenate(xyz), offsets=offsets, ids=np.array(ids))
    _write_domains(folder / "annotation_transfer")
    return folder


def _write_domains(folder: Path) -> None:
    for seed, (name, num) in enumerate({"lookup_s20": 30, "val200": 6, "test219": 6}.items()):
        rows = [(f"{name}{at}", text, f"{at % 2 + 1}.10.5.{at % 3}") for at, text in enumerate(sequences(num, seed))]
        write_csv(folder / f"{name}.csv.gz", ("id", "sequence", "cath"), rows)


class Stranger:
    """The command, with a folder of its own for results."""

    def __init__(self, workshop: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.workshop, self.out, self._capsys = workshop, out, capsys

    def benchmark(self, *options: str, task: str = "letters") -> tuple[int, str, str]:
        tasks = () if "--tasks" in options else ("--tasks", str(self.workshop / f"{task}.toml"))
        models = () if "-m" in options else ("-m", str(self.workshop / "tiny"))
        heads = () if "--heads" in options else ("--heads", "linear")
        epochs = () if "--epochs" in options else ("--epochs", "1")
        words = [
            "benchmark",
            *tasks,
            *models,
            *heads,
            "--data",
            str(self.workshop),
            "-o",
            str(self.out),
            *epochs,
        ]
        words += ["--cache", str(self.workshop / "cache"), "--device", "cpu", "--precision", "fp32", *options]
        code = cli.main(words if "--seeds" in options else [*words, "--seeds", "1"])
        shown = self._capsys.readouterr()
        return code, shown.out, shown.err

    def error(self, *options: str) -> str:
        code, _, err = self.benchmark(*options)
        assert code == 2 and len([line for line in err.splitlines() if line.startswith("error: ")]) == 1, err
        return err.splitlines()[-1]

    def rows(self) -> list[dict[str, Any]]:
        tables = json.loads((self.out / "benchmark.json").read_text())["tables"]
        return [row for table in tables for row in table["rows"]]


@pytest.fixture
def stranger(workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Stranger:
    return Stranger(workshop, tmp_path / "out", capsys)


def test_a_table_its_numbers_and_a_plot_come_out(stranger: Stranger) -> None:
    code, out, err = stranger.benchmark("--seeds", "2")
    assert code == 0 and "left" in err, err
    kinds = [(row["kind"], tuple(row["seeds"])) for row in stranger.rows()]
    assert kinds == [("model", (0, 1)), ("random", (0, 1)), *[("baseline", (0, 1))] * 3, ("shuffled", (0, 1))]
    for row in stranger.rows():
        assert (
            row["low"] <= row["value"] <= row["high"] and row["num"] == 8 and set(row["figures"]) == {"accuracy", "mcc"}
        )
    page = (stranger.out / "benchmark.md").read_text()
    assert "openankh benchmark --tasks" in page and "--seeds 2" in page and "torch" in page
    assert (stranger.out / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert "one-hot of 15 residues" in out


def test_what_is_finished_is_not_measured_again_and_more_may_come(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger.benchmark("--no-plot")
    measured = []
    original = measuring.head_cell

    def counted(key: Any, *rest: Any) -> Any:
        measured.append((key.kind, key.seed))
        return original(key, *rest)

    monkeypatch.setattr(campaign, "head_cell", counted)
    assert stranger.benchmark("--no-plot")[0] == 0 and not measured
    assert stranger.benchmark("--no-plot", "--seeds", "2")[0] == 0
    assert {seed for _, seed in measured} == {1}
    assert stranger.benchmark("--no-plot", "--no-resume", "--baselines", "none", "--no-shuffled")[0] == 0
    assert measured[-1] == ("model", 0)


def test_a_killed_benchmark_gives_what_one_in_one_go_gives(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = measuring.head_cell, []

    def killed(key: Any, *rest: Any) -> Any:
        calls.append(key)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(key, *rest)

    monkeypatch.setattr(campaign, "head_cell", killed)
    assert stranger.benchmark("--no-plot")[0] == 130
    assert len(list((stranger.out / "cells").glob("*/*.json"))) == 3
    assert stranger.benchmark("--no-plot")[0] == 0
    first = stranger.rows()
    assert stranger.benchmark("--no-plot", "--no-resume")[0] == 0
    again = stranger.rows()
    for row in (*first, *again):
        del row["row_seconds"], row["training_seconds"]
    assert first == again


def test_a_quick_trial_is_marked(stranger: Stranger) -> None:
    code, _, err = stranger.benchmark("--limit", "6", "--train-limit", "letters.toml=5", "--no-plot")
    assert code == 0 and "train 5, valid 6, test 6" in err
    page = (stranger.out / "benchmark.md").read_text()
    assert "a quick trial: at most 6 proteins" in page and "at most 5 proteins" in page and "(≤ 6)" in page


def test_another_limit_than_that_of_what_is_finished_is_refused(stranger: Stranger) -> None:
    stranger.benchmark("--limit", "6", "--no-plot", "--baselines", "none", "--no-shuffled")
    assert "with --limit 6, not none" in stranger.error("--no-plot")
    assert "with --epochs 1, not 2" in stranger.error("--no-plot", "--limit", "6", "--epochs", "2")


def test_contacts_are_learned_from_rows_and_from_attention_maps(stranger: Stranger) -> None:
    options = ("--heads", "linear,attention,light-attention", "--no-plot")
    code, _, err = stranger.benchmark(*options, task="chains")
    assert code == 0 and "light-attention left out" in err, err
    found = {(row["kind"], row["head"]): row for row in stranger.rows()}
    heads = {head for _, head in found}
    assert heads == {"linear", "attention", "none"}
    assert found["model", "attention"]["figures"]["L/1 all"] > 0
    assert found["baseline", "none"]["who"] == "distance along the chain"
    assert ("shuffled", "attention") in found and ("baseline", "attention") not in found


def test_annotation_transfer_is_measured_beside_its_controls(stranger: Stranger) -> None:
    code, _, _ = stranger.benchmark("--tasks", "annotation-transfer", "--no-plot", "--limit", "20")
    assert code == 0
    rows = stranger.rows()
    assert [row["kind"] for row in rows] == ["model", "random", *["baseline"] * 3]
    assert all(set(row["figures"]) == {"C", "A", "T", "H"} for row in rows)
    assert [each["metric"] for each in rows[0]["comparisons"]] == ["C", "A", "T", "H"]
    assert "published" in (stranger.out / "benchmark.md").read_text()


def test_json_is_the_whole_result(stranger: Stranger) -> None:
    code, out, _ = stranger.benchmark("--json", "--no-plot", "--baselines", "composition", "--no-shuffled")
    assert code == 0
    assert json.loads(out) == json.loads((stranger.out / "benchmark.json").read_text())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tasks", "solubilty"), "did you mean solubility"),
        (("--heads", "linear,cnn"), "not one of linear, mlp"),
        (("--baselines", "blast"), "not one of one-hot"),
        (("--heads", "light-attention"), "none is for each residue"),
        (("--seeds", "0"), "seeds is 0"),
        (("--limit", "few"), "--limit"),
        (("-m", "no-such-model"), "no-such-model"),
        (("--tasks", "fold"), "scope203_40.csv.gz: no such file"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(stranger: Stranger, options: tuple[str, ...], words: str) -> None:
    assert words in stranger.error(*options)


def test_no_folder_for_results_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["benchmark"]) == 2
    assert "give one with -o" in capsys.readouterr().err


def test_the_list_names_every_task_and_imports_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["benchmark", "--list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [line["task"] for line in found] == list(task_names())
    assert all(line["unit"] and line["metrics"] and line["sizes"] and line["source"] for line in found)
    assert cli.main(["benchmark", "--list"]) == 0
    assert "1,194 classes" in capsys.readouterr().out
    code = (
        "import sys; from openankh import cli; code = cli.main(['benchmark', '--list'])\n"
        "assert not code and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_published_figures_belong_to_tasks_and_metrics_that_there_are() -> None:
    assert "2301.06568" in published_source()
    columns = [each for name in task_names() for each in published_columns(name)]
    assert len(columns) == 17
    of_large = {each.column: each.values["Ankh large"] for each in columns}
    assert of_large["Q3 CB513"] == 88.5 and of_large["localisation"] == 83.0 and of_large["EAT, H"] == 70


@pytest.mark.parametrize("task", ["paratope", "solubility", "secondary-structure-q8", "localisation-multi"])
def test_sizes_told_are_those_of_the_data(task: str, shared_data: Path) -> None:
    (line,) = [each for each in task_lines(shared_data) if each.task == task]
    found = load_task(find_task(task), DataFolder(shared_data))
    assert dict(line.sizes) == {name: len(part) for name, part in found.splits.items()}
    assert line.residues == sum(part.num_residues for part in found.splits.values()) and line.is_here


def test_tasks_without_data_are_left_out_of_all_and_told(stranger: Stranger) -> None:
    options = ("--tasks", "all", "--no-plot", "--limit", "12", "--baselines", "none", "--no-shuffled")
    code, _, err = stranger.benchmark(*options)
    assert code == 0 and "fold: left out, fold/scope203_40.csv.gz is not there" in err
    assert {row["head"] for row in stranger.rows()} == {"nearest"}


def test_heads_may_have_epochs_of_their_own_in_one_folder(stranger: Stranger) -> None:
    options = ("--no-plot", "--baselines", "none", "--no-shuffled", "--limit", "6")
    assert stranger.benchmark(*options)[0] == 0
    assert stranger.benchmark(*options, "--heads", "mlp", "--epochs", "2")[0] == 0
    assert "at most 1 epochs of linear, 2 epochs of mlp" in (stranger.out / "benchmark.md").read_text()


def test_no_protein_is_embedded_twice_for_two_heads(stranger: Stranger, tmp_path: Path) -> None:
    (stranger.workshop / "kinds.toml").write_text(
        RESIDUES.replace('unit = "residue"', 'unit = "protein"').replace("letters.csv", "kinds.csv")
    )
    found = sequences(30, seed=5, shortest=20, longest=30)
    splits = ["train"] * 20 + ["valid"] * 5 + ["test"] * 5
    rows = [(text, "AB"[at % 2], split) for at, (text, split) in enumerate(zip(found, splits, strict=True))]
    write_csv(stranger.workshop / "kinds.csv", ("sequence", "label", "split"), rows)
    cache = tmp_path / "cache"
    words = ["benchmark", "--tasks", str(stranger.workshop / "kinds.toml"), "-m", str(stranger.workshop / "tiny")]
    words += ["--heads", "linear,convbert", "--seeds", "1", "--data", str(stranger.workshop), "--no-plot"]
    words += ["--baselines", "composition", "-o", str(stranger.out), "--epochs", "1", "--cache", str(cache)]
    assert cli.main([*words, "--device", "cpu"]) == 0
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1
    assert {row["head"] for row in stranger.rows()} == {"linear", "convbert"}
