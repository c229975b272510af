"""The tasks that come with the package, by name, and a user's own by its file."""

from difflib import get_close_matches
from functools import cache
from pathlib import Path

from openankh.errors import UserError
from openankh.tasks.task import Task, read_task

_FOLDER = Path(__file__).parent / "definitions"


@cache
def task_names() -> tuple[str, ...]:
    """The names of the tasks that come with the package, in alphabetical order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def find_task(name_or_file: str | Path) -> Task:
    """The task of this name, or of this TOML file; UserError naming the nearest name."""
    name = str(name_or_file)
    if name in task_names():
        return read_task(_FOLDER / f"{name}.toml")
    if name.endswith(".toml"):
        return read_task(Path(name))
    near = get_close_matches(name, task_names(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(task_names())}"
    raise UserError(f"task {name!r}: no such task; {hint}")


def all_tasks() -> tuple[Task, ...]:
    """Every task that comes with the package."""
    return tuple(map(find_task, task_names()))
