"""`openankh serve` says in one line what keeps it from beginning, and what to do."""

import asyncio
import importlib.util
from pathlib import Path

import pytest

from openankh import cli

pytest.importorskip("fastapi")

from openankh.serve import server
from openankh.serve.protocol import protocol_class
from openankh.serve.settings import Limits, Settings

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that servers would have begun with."""
    found: list[Settings] = []
    monkeypatch.setattr(server, "run", lambda settings, *_, **__: found.append(settings))
    monkeypatch.delenv("OPENANKH_TOKEN", raising=False)
    return found


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["serve", *words]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1
    return line


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--host", "0.0.0.0"], "token"),
        (["--port", "70000"], "65535"),
        (["--predictor", "folder"], "NAME=PATH"),
        (["--predictor", "=x"], "NAME=PATH"),
        (["--against", "a=x", "--against", "a=y"], "named twice"),
        (["--labels", "a=x"], "no --against of that name"),
        (["--token-file", "missing"], "cannot be read"),
        (["--predictr", "a=b"], "--predictr"),
    ],
)
def test_mistakes_are_one_line(
    begun: list[Settings], capsys: pytest.CaptureFixture[str], words: list[str], part: str
) -> None:
    assert part in refusal(capsys, *words)
    assert not begun


@pytest.mark.parametrize("content", ["", "two words of it", "pass1"])
def test_a_file_that_holds_no_token_is_refused(
    begun: list[Settings], capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "token").write_text(content)
    line = refusal(capsys, "--token-file", str(tmp_path / "token"))
    assert "token" in line and (not content or content not in line)


def test_the_token_comes_from_a_file_or_the_environment_and_never_from_the_command_line(
    begun: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    assert cli.main(["serve", "--host", "0.0.0.0", "--token-file", str(tmp_path / "token")]) == 0
    monkeypatch.setenv("OPENANKH_TOKEN", TOKEN)
    assert cli.main(["serve", "--host", "::"]) == 0
    assert [settings.token for settings in begun] == [TOKEN, TOKEN]


def test_options_reach_the_settings(begun: list[Settings]) -> None:
    words = "--port 0 --max-proteins 7 --max-residues 8 --max-waiting 9 --per-client 3 --threads 2 --max-tokens 99"
    assert cli.main(["serve", *words.split(), "--against", "a=x", "--labels", "a=y", "--predictor", "b=z"]) == 0
    (settings,) = begun
    limits = settings.limits
    assert (limits.proteins, limits.residues, limits.waiting_residues, limits.per_client) == (7, 8, 9, 3)
    assert (settings.port, settings.threads, settings.batch_tokens) == (0, 2, 99)
    assert settings.searched[0].labels == Path("y") and settings.predictors[0].folder == Path("z")


def test_a_missing_extra_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "uvicorn" else find(name, *rest)
    )
    assert 'pip install "openankh[serve]"' in refusal(capsys)


def test_a_client_that_does_not_read_is_cut() -> None:
    class Transport:
        num_aborted = 0

        def abort(self) -> None:
            self.num_aborted += 1

        def is_closing(self) -> bool:
            return False

        def pause_reading(self) -> None:
            pass

    async def run(seconds: float, *, reads: bool) -> int:
        import uvicorn
        from uvicorn.protocols.http.flow_control import FlowControl
        from uvicorn.server import ServerState

        kind = protocol_class(Limits(send_seconds=seconds))
        protocol = kind(uvicorn.Config(lambda: None, log_config=None), ServerState(), {})  # type: ignore[arg-type]  # pyright: ignore
        transport = Transport()
        protocol.transport, protocol.flow = transport, FlowControl(transport)  # type: ignore[assignment, arg-type]  # pyright: ignore
        protocol.pause_writing()
        if reads:
            protocol.resume_writing()
        for _ in range(5):
            await asyncio.sleep(seconds)
        return transport.num_aborted

    assert asyncio.run(run(0.01, reads=False)) == 1
    assert asyncio.run(run(0.01, reads=True)) == 0
