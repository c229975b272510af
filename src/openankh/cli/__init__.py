"""The command line: `main` runs a verb and turns whatever happens into a line and an exit code."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from openankh.cli import report
from openankh.errors import UserError

USER_ERROR, UNEXPECTED, INTERRUPTED, BROKEN_PIPE = 2, 1, 130, 141
OUTPUTS = ("-o", "--out", "--output")
QUIET = ("-q", "--quiet")
_NO_BARS = "HF_HUB_DISABLE_PROGRESS_BARS"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `openankh ARGUMENTS` (default: those of the process) and return its exit code."""
    arguments, debug = _without_debug(sys.argv[1:] if arguments is None else arguments)
    try:
        with _notes_from_below(quiet=any(word in QUIET for word in arguments)):
            code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): no complaint, and none either when Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        line, code = _verdict(error)
        report.error(line)
        return code


def _verdict(error: BaseException) -> tuple[str, int]:
    """The one line and the exit code for what stopped a verb."""
    if isinstance(error, UserError):
        return str(error), USER_ERROR
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    return f"unexpected {type(error).__name__}: {error}; run again with --debug to see where", UNEXPECTED


def _run(arguments: list[str]) -> int:
    from cyclopts import CycloptsError

    from openankh.cli.app import build_app

    try:
        result = build_app()(_with_standard_input(arguments))
    except CycloptsError as error:
        path = " ".join(["openankh", *(error.command_chain or ())])
        raise UserError(f"{' '.join(str(error).split())} See `{path} --help`.") from error
    return result if isinstance(result, int) else 0


class _Notes(logging.Handler):
    """Shows what the package logs (the licence of weights, what is being fetched) as notes on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        report.note(record.getMessage())


@contextmanager
def _notes_from_below(quiet: bool) -> Iterator[None]:
    log, handler = logging.getLogger("openankh"), logging.NullHandler() if quiet else _Notes()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    if hides_bars := quiet and _NO_BARS not in os.environ:  # the hub's library draws them for downloads
        os.environ[_NO_BARS] = "1"
    try:
        yield
    finally:
        if hides_bars:
            del os.environ[_NO_BARS]
        log.removeHandler(handler)
        log.setLevel(level)


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Take `--debug` out from anywhere before a `--`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return [*kept, *arguments[end:]], len(kept) != end


def _with_standard_input(arguments: list[str]) -> list[str]:
    """Spell a lone `-` so that the parser takes it for a value; not where an output is named, which `-` cannot be."""
    from openankh.cli.options import STANDARD_INPUT

    end = arguments.index("--") if "--" in arguments else len(arguments)
    pairs = zip(["", *arguments], arguments[:end], strict=False)
    return [STANDARD_INPUT if word == "-" and before not in OUTPUTS else word for before, word in pairs] + arguments[
        end:
    ]
