"""`openankh design report` as its user meets it: a folder, one line of what came of it, one line for a mistake."""

import json
import re
import shlex
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("pyhmmer")
pytest.importorskip("parasail")
pytest.importorskip("matplotlib")

from openankh import cli


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A family, designs of two kinds."""
    random = Random(0)
    ancestor = [random.choice("ACDEFGHIKLMNPQRSTVWY") for _ in range(70)]

    def fasta(num: int) -> str:
        rows = ("".join(each if random.random() < 0.7 else random.choice("ACDEFGHIKLMNPQRSTVWY") for each in ancestor)
                for _ in range(num))  # fmt: skip
        return "".join(f">P{number}\n{row}\n" for number, row in enumerate(rows))

    (tmp_path / "family.fasta").write_text(fasta(60))
    (tmp_path / "designs.fasta").write_text(fasta(12))
    (tmp_path / "strange.csv").write_text("id,sequence\n" + "".join(f"s{n},{'MKV' * (5 + n)}\n" for n in range(8)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_report_is_a_folder_and_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "design report designs.fasta --family family.fasta --control plain=strange.csv -o report --json"
    assert cli.main(words.split()) == 0
    told = capsys.readouterr()
    assert "report.html: accepted at E <= 1e-10: designs 100.0 %, plain 0.0 %" in told.err
    facts = json.loads(told.out)
    assert [each["name"] for each in facts["sets"]] == ["designs", "plain", "natural, held out", "shuffled"]
    assert facts["sets"][0]["accepted"]["value"] == 1
    assert sorted(path.name for path in (folder / "report").iterdir()) == [
        "family.hmm",
        "proteins.csv",
        "report.html",
        "report.json",
    ]


def test_several_sets_stand_side_by_side_under_their_names(folder: Path) -> None:
    words = "design report t1=designs.fasta t2=strange.csv --family family.fasta -o report --accept 1e-5 --quiet"
    assert cli.main(words.split()) == 0
    facts = json.loads((folder / "report" / "report.json").read_text())
    assert [(each["name"], each["kind"]) for each in facts["sets"][:2]] == [("t1", "designs"), ("t2", "designs")]
    assert facts["accept"] == 1e-5


def test_what_stands_there_is_replaced_only_when_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["design", "report", "designs.fasta", "--family", "family.fasta", "-o", "report", "--quiet"]
    assert cli.main(words) == 0
    assert cli.main(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main([*words, "--overwrite"]) == 0


BAD = [
    ("designs.fasta --family none.fasta -o report", "none.fasta"),
    ("none.fasta --family family.fasta -o report", "none.fasta"),
    ("designs.fasta designs.fasta --family family.fasta -o report", "two sets are named 'designs'"),
    ("designs.fasta --family strange.csv -o report", "give at least 20"),
    ("designs.fasta --family family.fasta -o nowhere/report", "does not exist; create it"),
    ("designs.fasta --family family.fasta -o family.fasta", "exists already"),
    ("designs.fasta --family family.fasta -o report --accept 0", "accept"),
    ("--family family.fasta -o report", "at least one file of designs"),
    ("=designs.fasta --family family.fasta -o report", "NAME=FILE"),
]


@pytest.mark.parametrize(("words", "told"), BAD)
@pytest.mark.usefixtures("folder")
def test_a_mistake_is_one_line_and_nothing_is_written(
    words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["design", "report", *words.split(), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and told in error
    assert not Path("report").exists()


def test_the_page_about_judging_shows_commands_and_python_that_run(
    folder: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (repository / "docs" / "judging.md").read_text()
    for name in ("designs_t1.fasta", "designs_t2.fasta", "unadapted.fasta"):
        (folder / name).write_text((folder / "designs.fasta").read_text())
    rows = [line for line in (folder / "family.fasta").read_text().split("\n") if line and not line.startswith(">")]
    (folder / "family.csv").write_text("\n".join(["sequence", *rows, ""]))
    (shell,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in shell.splitlines():
        assert cli.main([*shlex.split(line)[1:], "--overwrite", "--quiet"]) == 0, line
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "docs/judging.md", "exec"), {})
    assert "designs 12 1.0" in capsys.readouterr().out
