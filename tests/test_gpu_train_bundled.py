"""Training a model to be bundled, in slices that travel as small pieces, on a machine with little installed."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from openankh.checkpoint import load_model
from training_samples import TINY, journal_without_timing

SAMPLE = Path(__file__).parent / "data" / "sample.fasta"


@pytest.fixture
def scripts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """gpu_train_bundled and pieces."""
    monkeypatch.syspath_prepend(repository / "benchmarks")
    return importlib.import_module("gpu_train_bundled"), importlib.import_module("pieces")


def train_arguments(work: Path, *more: str, slice_minutes: str = "1e-9") -> list[str]:
    """A run whose time is over after its first step, in slices of one step."""
    return [
        "train", str(SAMPLE), "--work", str(work), "--out", str(work / "out"), "--minutes", "1e-6",
        "--slice-minutes", slice_minutes, "--recipe", "micro", *more, "--settings", *TINY, "valid_every=1",
    ]  # fmt: skip


BARE = """
import sys
sys.path.insert(0, sys.argv[1])
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name in ("rich", "zstandard", "cyclopts", "huggingface_hub", "tensorboardX", "transformers", "h5py"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Bare())
import gpu_train_bundled
sys.exit(gpu_train_bundled.main(sys.argv[2:]))
"""


def test_a_run_goes_on_from_its_pieces_on_another_bare_machine(scripts, repository: Path, tmp_path: Path) -> None:
    bundled, pieces = scripts
    assert bundled.main(train_arguments(tmp_path / "one")) == 75
    out = tmp_path / "one" / "out"
    assert all(path.stat().st_size <= pieces.PIECE_BYTES for path in out.iterdir())
    arguments = train_arguments(tmp_path / "other", "--pieces", str(out), slice_minutes="10")
    command = [sys.executable, "-c", BARE, str(repository / "benchmarks"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "other" / "run"
    assert [line["step"] for line in journal_without_timing(run) if line["kind"] == "train"] == [1, 2]
    report = json.loads((tmp_path / "other" / "out" / "report.json").read_text())
    assert report["finished"] and report["step"] == 2
    assert all(result["num_residues"] > 0 for result in report["valid"].values())
    models = [str(path) for path in (tmp_path / "other" / "out").glob("model-*.piece")]
    assert bundled.main(["join", *models, "--out", str(tmp_path)]) == 0
    model = load_model(tmp_path / "model")
    assert model.provenance is not None and model.provenance.name == "openankh-nano"
    assert model.manifest is not None and model.manifest.dtype == "bfloat16"


def test_a_slice_before_the_first_validation_has_no_model_yet(scripts, tmp_path: Path) -> None:
    bundled, _ = scripts
    assert bundled.main([*train_arguments(tmp_path), "valid_every=100"]) == 75
    assert [path.name for path in (tmp_path / "out").glob("*.piece")] == ["state-00-of-01.piece"]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["valid"] is None
    assert bundled.main([*train_arguments(tmp_path, slice_minutes="10"), "valid_every=100"]) == 0
    (valid,) = json.loads((tmp_path / "out" / "report.json").read_text())["valid"].values()
    assert valid["perplexity"] > 0


def test_pieces_are_small_and_put_together_again_in_any_order(scripts, tmp_path: Path) -> None:
    _, pieces = scripts
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a").write_bytes(bytes(range(256)) * 200)
    (folder / "b").write_text("b")
    paths = pieces.cut("set", {"f": folder, "c": folder / "b"}, tmp_path / "pieces", max_bytes=20_000)
    assert len(paths) > 2 and all(path.stat().st_size <= 20_000 for path in paths)
    pieces.join(reversed(paths), tmp_path / "again")
    again = {p.relative_to(tmp_path / "again").as_posix() for p in (tmp_path / "again").rglob("*") if p.is_file()}
    assert again == {"c", "f/b", "f/inner/a"}
    assert (tmp_path / "again" / "f" / "inner" / "a").read_bytes() == (folder / "inner" / "a").read_bytes()
    assert [path.name for path in pieces.chosen(paths, "1-2")] == [path.name for path in paths[1:3]]


def test_a_set_that_is_not_whole_is_refused(scripts, tmp_path: Path) -> None:
    _, pieces = scripts
    (tmp_path / "a").write_bytes(bytes(60_000))
    paths = pieces.cut("set", {"a": tmp_path / "a"}, tmp_path / "pieces", max_bytes=20_000)
    with pytest.raises(SystemExit, match=f"piece 1 of {len(paths)} is missing"):
        pieces.join([paths[0], *paths[2:]], tmp_path / "again")
    content = bytearray(paths[2].read_bytes())
    content[-1] ^= 1
    paths[2].write_bytes(content)
    with pytest.raises(SystemExit, match="damaged"):
        pieces.join(paths, tmp_path / "again")
    assert not (tmp_path / "again").exists()
