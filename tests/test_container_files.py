"""The Dockerfile and the compose example: what a linter would say of them, for there is no engine to run them here."""

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from openankh.cli.app import build_app

yaml = pytest.importorskip("yaml")

KNOWN = {"FROM", "RUN", "ARG", "WORKDIR", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD", "ENV", "LABEL"}
SERVICE_KEYS = {
    "build", "cap_drop", "command", "mem_limit", "ports", "read_only", "restart", "secrets", "security_opt",
    "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, its continued lines joined."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The words of the exec form."""
        return json.loads(self.rest)


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "docker"


@pytest.fixture(scope="module")
def instructions(folder: Path) -> list[Instruction]:
    lines = [line for line in (folder / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def named(instructions: list[Instruction], name: str) -> list[Instruction]:
    return [each for each in instructions if each.name == name]


def test_only_known_instructions_are_used_and_the_base_has_a_version(instructions: list[Instruction]) -> None:
    assert {each.name for each in instructions} <= KNOWN
    assert instructions[0].name == "FROM"
    image, _, tag = instructions[0].rest.partition(":")
    assert image == "python" and re.match(r"3\.1[1-3]-", tag)


def test_packages_of_the_system_leave_nothing_behind(instructions: list[Instruction]) -> None:
    for run in named(instructions, "RUN"):
        if "apt-get install" in run.rest:
            assert "--no-install-recommends" in run.rest and "--yes" in run.rest
            assert "apt-get update" in run.rest and "rm -rf /var/lib/apt/lists/*" in run.rest
        if "pip install" in run.rest:
            assert "--no-cache-dir" in run.rest and "--constraint constraints.txt" in run.rest
        assert "sudo" not in run.rest and "curl" not in run.rest and " cd " not in run.rest


def test_everything_copied_is_there_and_let_through(
    instructions: list[Instruction], repository: Path, folder: Path
) -> None:
    ignored = (folder / "Dockerfile.dockerignore").read_text().split()
    for copy in named(instructions, "COPY"):
        *sources, _ = copy.rest.split()
        for source in sources:
            assert (repository / source).exists() and f"!{source}" in ignored
    assert ignored[0] == "*"


def test_the_extra_that_is_installed_exists(instructions: list[Instruction], repository: Path) -> None:
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (installed,) = re.findall(r'"\.\[([a-z,]+)\]"', " ".join(run.rest for run in named(instructions, "RUN")))
    assert set(installed.split(",")) <= set(extras)


def test_it_runs_as_nobody_special_with_a_health_check_and_words_in_exec_form(instructions: list[Instruction]) -> None:
    names = [each.name for each in instructions]
    assert named(instructions, "USER")[-1].rest not in ("root", "0")
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert named(instructions, "HEALTHCHECK")[0].rest.endswith("]")
    (entry,), (command,) = named(instructions, "ENTRYPOINT"), named(instructions, "CMD")
    assert entry.words == ["openankh", "serve"]
    build_app().parse_args([*entry.words[1:], *command.words])


def test_nothing_secret_is_in_the_files(folder: Path) -> None:
    for path in folder.iterdir():
        assert not re.search(r"(?i)(password|token|secret)\s*[=:]\s*['\"]?[A-Za-z0-9+/]{16,}", path.read_text())


def test_the_compose_example_is_well_formed_and_its_command_parses(folder: Path) -> None:
    content = yaml.safe_load((folder / "compose.yaml").read_text())
    assert set(content) == {"services", "secrets", "volumes"}
    (service,) = content["services"].values()
    assert set(service) <= SERVICE_KEYS
    assert (folder / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert set(service["secrets"]) <= set(content["secrets"])
    assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(content["volumes"])
    assert service["cap_drop"] == ["ALL"] and service["read_only"]
    build_app().parse_args(["serve", *service["command"]])
    assert "--token-file" in service["command"]
