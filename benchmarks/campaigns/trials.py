"""What a campaign checks after every kill and every full disk, and the table that it leaves."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

Contents = Mapping[str, str]


@dataclass
class Tally:
    """Counts of one campaign by name, in the order they were first met, and every failure in words."""

    counts: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a count."""
        self.counts[name] = self.counts.get(name, 0) + amount

    def check(self, holds: bool, what: str) -> None:
        """Note a failure where something does not hold."""
        if not holds:
            line = " ".join(what.split())[:300]
            self.failures.append(line)
            print(f"FAILURE: {line}", flush=True)


@dataclass(frozen=True)
class Campaign:
    """The result of one campaign: what was done, in a sentence, and its counts."""

    title: str
    what: str
    tally: Tally

    def as_markdown(self) -> str:
        """A section of the result table."""
        rows = [f"| {name} | {count:,} |" for name, count in self.tally.counts.items()]
        rows.append(f"| **failures** | **{len(self.tally.failures)}** |")
        failures = [f"\n- {failure}" for failure in self.tally.failures[:20]]
        return (
            "\n".join([f"## {self.title}\n\n{self.what}\n\n| | count |\n|---|---:|", *rows]) + "\n" + "".join(failures)
        )


@contextmanager
def trial_folder(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder for one trial."""
    with tempfile.TemporaryDirectory(dir=parent, prefix="trial-") as name:
        yield Path(name).resolve()


def contents(path: Path) -> Contents:
    """The SHA-256 of every file below a folder, or of the one file, by its name; nothing where nothing stands."""
    if path.is_file():
        return {"": hashlib.sha256(path.read_bytes()).hexdigest()}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def others(folder: Path, target: Path) -> list[str]:
    """Names beside the target, its lock left aside: that of a killed process stays until the next one takes it."""
    return sorted(entry.name for entry in folder.iterdir() if entry.name not in (target.name, f".{target.name}.lock"))


def acknowledged(target: Path) -> Sequence[Mapping[str, object]]:
    """The shards that the journal of an unfinished store acknowledges."""
    journal = target.with_name(f"{target.name}.partial") / "journal.jsonl"
    if not journal.is_file():
        return []
    lines = journal.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines[1:]]


def check_acknowledged(tally: Tally, target: Path, whole: Contents, num_before: int) -> int:
    """Check that every acknowledged shard is there, byte for byte as in an undisturbed run, and none was lost."""
    shards = acknowledged(target)
    partial = target.with_name(f"{target.name}.partial")
    tally.check(len(shards) >= num_before, f"{num_before} shards were acknowledged, now {len(shards)}")
    for shard in shards:
        path = partial / str(shard["name"])
        found = contents(path).get("") if path.is_file() else None
        tally.check(found == whole[path.name], f"acknowledged {path.name} is {found}")
        tally.count("acknowledged shards checked")
    return len(shards)
