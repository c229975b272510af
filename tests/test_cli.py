"""The command line as a whole: help without torch, one line and an exit code for whatever goes wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import openankh
from openankh import cli
from openankh.cli import app, report
from openankh.errors import UserError


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let whatever verb is called raise this."""

    def raise_it(*_: object) -> None:
        raise error

    monkeypatch.setattr(app, "build_app", lambda: raise_it)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([verb, "--help"] for verb in app.VERBS)])
def test_help_and_version_never_import_torch_or_numpy(arguments: list[str]) -> None:
    code = "import sys; from openankh.cli import main; code = main(sys.argv[1:])\n" + (
        "heavy = sorted({'torch', 'numpy', 'transformers', 'huggingface_hub', 'h5py', 'pyarrow'} & set(sys.modules))\n"
        "assert not heavy, heavy\nsys.exit(code)"
    )
    done = run_python(code, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_help_of_a_verb_names_every_shared_option_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["embed", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--model", "--device", "--dtype", "--json", "--quiet"))


def test_python_m_openankh_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "openankh", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"openankh {openankh.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["embd", "x.fasta"], ["embd", "embed", "openankh --help"]),
        (["info", "--jsn", "x"], ["--jsn", "--json", "openankh info --help"]),
        (["info"], ["openankh info --help"]),
        (["embed", "x.fasta", "-o", "y.h5", "--modle", "z"], ["--modle", "--model"]),
        (["embed", "x.fasta", "-o", "y.h5", "--dtype", "fp8"], ["fp8", "fp32"]),
    ],
)
def test_a_mistyped_command_gets_one_line_with_the_nearest_name_and_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], parts: list[str]
) -> None:
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1
    assert all(part in shown.err for part in parts), shown.err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("line 3: no residues"), 2, "error: line 3: no residues\n"),
        (UserError("two\nlines and \x1b[31m red"), 2, "error: two lines and \\x1b[31m red\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (IndexError("a\nb"), 1, "error: unexpected IndexError: a b; run again with --debug to see where\n"),
    ],
)
def test_whatever_stops_a_verb_becomes_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    fail_with(monkeypatch, error)
    assert cli.main(["anything"]) == code
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("arguments", [["--debug", "info", "x"], ["info", "x", "--debug"]])
def test_debug_is_taken_anywhere_and_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    fail_with(monkeypatch, UserError("no"))
    assert cli.main(arguments) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown and shown.endswith("error: no\n")


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (["info", "-"], ["info", "<stdin>"]),
        (["embed", "-", "-o", "-"], ["embed", "<stdin>", "-o", "-"]),
        (["info", "--json", "-"], ["info", "--json", "<stdin>"]),
        (["info", "--", "-"], ["info", "--", "-"]),
    ],
)
def test_a_lone_dash_is_standard_input_and_never_an_output(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], seen: list[str]
) -> None:
    received: list[list[str]] = []
    monkeypatch.setattr(app, "build_app", lambda: received.append)
    assert cli.main(arguments) == 0
    assert received == [seen]


def test_standard_input_is_read_where_a_source_is_asked_for() -> None:
    code = "import sys; from openankh.cli import main; sys.exit(main(['info', '-', '--json']))"
    done = subprocess.run([sys.executable, "-c", code], input=">a\nMKV\n", capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["num_residues"] == 3


def test_debug_after_two_dashes_is_an_argument_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(app, "build_app", lambda: seen.append)
    assert cli.main(["--debug", "info", "--", "--debug"]) == 0
    assert seen == [["info", "--", "--debug"]]


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = (
        "import sys; from openankh import cli; from openankh.cli import app\n"
        "app.build_app = lambda: print\nsys.exit(cli.main(['anything']))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (process.returncode, process.stderr) == (141, b"")


@dataclass(frozen=True)
class Facts:
    num_proteins: int
    path: Path
    mean: float


def test_results_are_json_or_lines_of_the_same_facts(capsys: pytest.CaptureFixture[str]) -> None:
    facts = Facts(1_234, Path("a/b"), 0.5)
    report.result(facts, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"num_proteins": 1234, "path": "a/b", "mean": 0.5}
    report.result(facts, as_json=False)
    assert capsys.readouterr().out.splitlines() == ["num proteins  1,234", "path          a/b", "mean          0.5"]


def test_numbers_of_numpy_and_nested_values_become_json(capsys: pytest.CaptureFixture[str]) -> None:
    report.result({"a": np.float32(0.5), "b": (np.int64(3), None), "c": {"d": True}}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": [3, None], "c": {"d": True}}


def test_a_table_lines_its_columns_up_and_an_empty_one_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    report.table([{"id": "P1", "length": 12_345}, {"id": "longer", "length": 3}], as_json=False)
    assert capsys.readouterr().out.splitlines() == ["id      length", "P1      12,345", "longer  3"]
    report.table([], as_json=False)
    assert capsys.readouterr().out.strip() == ""


@pytest.mark.parametrize("show", [lambda text: report.result({"id": text}, as_json=False), report.error, report.note])
def test_text_from_a_file_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], show: Callable[[str], None]
) -> None:
    show("P1\x1b]0;owned\x07\x9b2J")
    shown = capsys.readouterr()
    assert not set("\x1b\x07\x9b") & set(shown.out + shown.err)


def test_progress_is_silent_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with report.progress("reading", 10, unit="MB") as bar:
        bar.advance()
        bar.reach(10, note="done")
    assert capsys.readouterr() == ("", "")
