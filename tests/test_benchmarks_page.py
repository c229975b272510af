"""The page about benchmarks: its commands parse, and what it tells of results is what was committed."""

import re
import shlex
from pathlib import Path

from openankh.cli.app import build_app

BLOCK = re.compile(r"^```sh\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


def test_all_commands_of_the_page_parse(repository: Path) -> None:
    page = (repository / "docs" / "benchmarks.md").read_text()
    lines = [line for block in BLOCK.finditer(page) for line in block["code"].splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("openankh ")]
    assert commands
    for words in commands:
        build_app().parse_args(words)
