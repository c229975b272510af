"""Scripts for bare GPU machines, rehearsed tiny and on a CPU."""

import subprocess
import sys
from pathlib import Path


def rehearsed(script: Path, folder: Path) -> str:
    """What a rehearsal writes. In a process of its own: compiling layers leaves settings behind."""
    out = folder / script.with_suffix(".md").name
    command = [sys.executable, str(script), "--rehearse", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = out.read_text()
    assert set(text.splitlines()) <= set(done.stdout.splitlines()) | {""}
    return text
