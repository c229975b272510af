"""Names become folders: bundled, local, or published and fetched from the hub (a stand-in for it: no network here)."""

import errno
import fnmatch
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file

from model_folders import TINY, logits, random_model
from openankh import model_names
from openankh.checkpoint import Provenance, load_model, resolve, save_model
from openankh.errors import UserError
from openankh.hub import cached, fetch
from openankh.published import BUNDLED, PUBLISHED
from openankh.vocab import ANKH

MODEL = PUBLISHED[0]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache in the place of the user's, and a hub that nobody answers for."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub holds: a model in shards, other software's files, and no openankh.json."""
    folder = tmp_path_factory.mktemp("hub") / "model"
    save_model(random_model(), ANKH, folder, Provenance(), max_shard_bytes=9_000)
    (folder / "openankh.json").unlink()
    (folder / "tf_model.h5").write_bytes(b"not ours")
    (folder / "README.md").write_text("a card")
    return folder


class Hub:
    """Stands in for the download half of `snapshot_download`: copies what the patterns allow into the cache."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache
        self.failure: Exception | None = None
        self.requests: list[tuple[str, str | None]] = []

    def snapshot_download(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        allow_patterns: list[str],
    ) -> str:
        storage = self.cache / f"models--{repo_id.replace('/', '--')}"
        snapshot = storage / "snapshots" / COMMIT
        if local_files_only:
            return REAL_DOWNLOAD(repo_id, revision=revision, local_files_only=True, allow_patterns=allow_patterns)
        self.requests.append((repo_id, revision))
        if self.failure:
            raise self.failure
        snapshot.mkdir(parents=True, exist_ok=True)
        (storage / "refs").mkdir(exist_ok=True)
        (storage / "refs" / (revision or "main")).write_text(COMMIT)
        for path in self.folder.iterdir():
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, snapshot / path.name)
        return str(snapshot)


REAL_DOWNLOAD: Callable[..., str] = huggingface_hub.snapshot_download


@pytest.fixture
def hub(published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    stand_in = Hub(published, cache)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", stand_in.snapshot_download)
    return stand_in


def as_pickle(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    tensors = {name: tensor for shard in target.glob("*.safetensors") for name, tensor in load_file(shard).items()}
    torch.save(tensors, target / "pytorch_model.bin")
    for path in [*target.glob("*.safetensors"), target / "model.safetensors.index.json"]:
        path.unlink()
    return target


def test_a_published_model_is_fetched_once_and_then_found_here(hub: Hub):
    assert cached(MODEL) is None
    folder = resolve("ankh-base")
    assert hub.requests == [("ElnaggarLab/ankh-base", None)]
    assert torch.equal(logits(load_model(folder).model), logits(random_model()))
    assert resolve("ElnaggarLab/ankh-base") == folder == cached(MODEL)
    assert len(hub.requests) == 1


def test_only_what_is_needed_is_fetched(hub: Hub):
    names = {path.name for path in resolve("ankh-base").iterdir()}
    assert "config.json" in names and "model-00001-of-00006.safetensors" in names
    assert not names & {"tf_model.h5", "README.md", "pytorch_model.bin"}


def test_an_interrupted_download_is_taken_up_again(hub: Hub):
    folder = resolve("ankh-base")
    (folder / "model-00002-of-00006.safetensors").unlink()
    assert cached(MODEL) is None
    assert load_model(resolve("ankh-base")).model.config == TINY
    assert len(hub.requests) == 2


def test_a_revision_is_passed_on_and_kept_apart(hub: Hub):
    resolve("ankh-base")
    resolve("ankh-base", revision="v2")
    assert hub.requests == [("ElnaggarLab/ankh-base", None), ("ElnaggarLab/ankh-base", "v2")]
    resolve("ankh-base", revision="v2")
    assert len(hub.requests) == 2


def test_a_model_published_as_a_pickle_is_fetched_only_when_that_is_trusted(hub: Hub, tmp_path: Path):
    hub.folder = as_pickle(hub.folder, tmp_path / "pickled")
    with pytest.raises(UserError, match=r"published as a pickle only.*trust_pickle=True, --trust-pickle"):
        resolve("ankh-base")
    assert not list(hub.cache.rglob("*.bin"))
    folder = resolve("ankh-base", trust_pickle=True)
    assert torch.equal(logits(load_model(folder, trust_pickle=True).model), logits(random_model()))
    requests = len(hub.requests)
    assert resolve("ankh-base", trust_pickle=True) == folder and len(hub.requests) == requests


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_a_published_folder_that_is_no_model_is_refused(hub: Hub, tmp_path: Path, missing: str):
    shutil.copytree(hub.folder, tmp_path / "broken")
    (tmp_path / "broken" / missing).unlink()
    hub.folder = tmp_path / "broken"
    with pytest.raises(UserError, match="lacks a config or a tokenizer"):
        fetch(MODEL)


def refused(kind: type[Exception]) -> Exception:
    """An error of the hub's library, without the answer of a server that it is usually made from."""
    return kind.__new__(kind)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (
            refused(GatedRepoError),
            "accept its terms at https://huggingface.co/ElnaggarLab/ankh-base",
        ),
        (refused(RevisionNotFoundError), "it has no revision 'v9'"),
        (refused(RepositoryNotFoundError), "the hub does not know it"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/cache/blob"),
            "no space left on device: /cache/blob; free space",
        ),
        (
            LocalEntryNotFoundError("no\nnetwork"),
            "could not be reached; check the network.*LocalEntryNotFoundError: no network",
        ),
        (ConnectionError("refused"), "could not be reached"),
        (TimeoutError(), "could not be reached"),
        (RuntimeError("anything else"), r"\(RuntimeError: anything else\)"),
    ],
)
def test_a_failed_download_is_one_line_with_what_to_do(hub: Hub, failure: Exception, message: str):
    hub.failure = failure
    with pytest.raises(UserError, match=message) as raised:
        resolve("ankh-base", revision="v9")
    assert str(raised.value).startswith("model ankh-base: cannot fetch ElnaggarLab/ankh-base: ")
    assert "\n" not in str(raised.value) and raised.value.__cause__ is failure


def test_offline_a_cached_model_is_found_and_another_refused_with_the_reason(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    folder = resolve("ankh-base")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve("ankh-base") == folder
    monkeypatch.setattr(huggingface_hub, "snapshot_download", REAL_DOWNLOAD)
    with pytest.raises(UserError, match="not on this machine and HF_HUB_OFFLINE is set"):
        resolve("ankh3-large")


# Names


def test_a_folder_is_itself_even_when_it_has_a_published_name(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ankh-base").mkdir()
    assert resolve("ankh-base") == Path("ankh-base")
    assert resolve(tmp_path) == tmp_path
    assert hub.requests == []


def test_the_bundled_name_is_the_folder_in_the_package_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / BUNDLED).mkdir()
    (tmp_path / "package" / BUNDLED).mkdir(parents=True)
    monkeypatch.setattr(model_names, "_BUNDLED_FOLDER", tmp_path / "package")
    assert resolve(BUNDLED) == tmp_path / "package" / BUNDLED
    monkeypatch.setattr(model_names, "_BUNDLED_FOLDER", tmp_path / "nothing")
    with pytest.raises(UserError, match="not part of this installation"):
        resolve(BUNDLED)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ankh-bas", "did you mean ankh-base"),
        ("ANKH3-XL", "did you mean ankh3-xl"),
        ("zzz", "known names: openankh-nano, ankh-base"),
        ("x" * 5000, "no such name or folder"),
        ("", "no such name or folder"),
        ("no/such/folder", "no such name or folder"),
        ("a\0b", "no such name or folder"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(name: str, message: str):
    with pytest.raises(UserError, match=message):
        resolve(name)


def test_a_file_is_no_model(tmp_path: Path):
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(UserError, match="a file; name the folder"):
        resolve(tmp_path / "model.safetensors")
