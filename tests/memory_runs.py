"""A training run in a process of its own that tells how much its resident memory grew at the peak, as JSON.

python memory_runs.py CORPUS RUN CHANGE… where each change is a setting of the recipe micro.
"""

import json
import re
import sys
from pathlib import Path

from openankh.pretraining import training_run
from openankh.pretraining.progress import SilentProgress
from openankh.pretraining.recipes import recipe_named
from openankh.pretraining.run_options import RunOptions


def status(field: str) -> int:
    """Bytes of a field of this process's status, such as VmRSS."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def growth(corpus: Path, run: Path, changes: list[str]) -> dict[str, int]:
    """The peak of resident memory over that before, after a small run has loaded all that is loaded once."""
    training_run.pretrain(
        recipe_named("micro", ["total_steps=2", "checkpoint_every=1"]),
        RunOptions(corpus, run.with_name("warm-up")),
        SilentProgress(),
    )
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    training_run.pretrain(recipe_named("micro", changes), RunOptions(corpus, run), SilentProgress())
    return {"before": before, "peak": status("VmHWM") - before, "anonymous": status("RssAnon")}


if __name__ == "__main__":
    setattr(training_run, "measured_peak", lambda device, dtype: 1e11)  # noqa: B010
    print(json.dumps(growth(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])))
