"""Models of the Hugging Face hub: the cache on this machine first, then a download of the files that are needed."""

import logging
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from openankh import __version__
from openankh.config import ModelConfig
from openankh.errors import UserError
from openankh.files import free_bytes, sha256_of
from openankh.hub_errors import refusal
from openankh.json_file import read_json_object
from openankh.licence import MODEL_CARD
from openankh.published import published_model
from openankh.tokenizer_files import SPIECE_MODEL, TOKENIZER_FILES, TOKENIZER_JSON, read_vocab
from openankh.vocabulary_check import check_vocabulary
from openankh.weight_files import PICKLE, WHOLE, Part, chosen_weights, index_name, read_shard_index, weight_files

CONFIG = "config.json"
_SMALL_FILES = (CONFIG, "generation_config.json", "openankh.json", MODEL_CARD, *TOKENIZER_FILES)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LARGE_BYTES = 10 << 20
_TRUE = ("1", "ON", "YES", "TRUE")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """What the hub tells of a file: bytes and SHA-256, None where it tells none (of small files)."""

    size: int | None
    sha256: str | None


def fetch(
    repository: str,
    *,
    revision: str | None = None,
    part: Part = "all",
    trust_pickle: bool = False,
    offline: bool = False,
) -> Path:
    """The folder of a model (`ORGANISATION/NAME`) in the hub's cache, downloaded when it is not complete there.

    `revision` is a branch, tag or commit (None: the main branch). Of weights in shards only those that the part needs
    are fetched, pickles only with `trust_pickle` and where there is nothing else; `offline`, or HF_HUB_OFFLINE in the
    environment, fetches nothing. Raises UserError of one line that says what stands in the way and what to do.
    """
    if here := cached(repository, revision=revision, part=part, trust_pickle=trust_pickle):
        return here
    if offline or _is_offline():
        raise _not_here(repository, revision, trust_pickle)
    download = _Download(repository, revision or "main", part, trust_pickle)
    try:
        return download.folder()
    except UserError:
        raise
    except Exception as error:  # the hub's library raises its own, its transport's and the system's errors
        raise refusal(repository, revision, error, begun=download.begun) from error


def cached(
    repository: str, *, revision: str | None = None, part: Part = "all", trust_pickle: bool = False
) -> Path | None:
    """The folder of a model of which all is in the hub's cache on this machine, else None; asks no network."""
    folder = _snapshot(repository, revision)
    return folder if folder and _is_complete(folder, part, trust_pickle) else None


def origin(folder: Path) -> tuple[str, str] | None:
    """(repository, commit) of a folder in a cache of the hub, wherever the cache is; None for any other folder."""
    path = Path(os.path.abspath(folder))
    repository = path.parent.parent.name
    if path.parent.name != "snapshots" or not _COMMIT.fullmatch(path.name) or not repository.startswith("models--"):
        return None
    return repository.removeprefix("models--").replace("--", "/"), path.name


def _snapshot(repository: str, revision: str | None) -> Path | None:
    """The cached folder of a revision, which may lack files."""
    from huggingface_hub import try_to_load_from_cache

    try:
        config = try_to_load_from_cache(repository, CONFIG, revision=revision)
    except (OSError, ValueError):
        return None
    return Path(config).parent if isinstance(config, str) else None


def _is_complete(folder: Path, part: Part, trust_pickle: bool) -> bool:
    """Whether a snapshot has all that loading reads; the cache may hold parts, from us or from other software."""
    if not any((folder / name).is_file() for name in (TOKENIZER_JSON, SPIECE_MODEL)):
        return False
    try:
        if chosen_weights(folder) == PICKLE and not trust_pickle:
            return False
        return all((folder / name).is_file() for name in weight_files(folder, part))
    except UserError:
        return False


def _is_offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE


def _not_here(repository: str, revision: str | None, trust_pickle: bool) -> UserError:
    wanted = f"revision {revision}" if revision else "it"
    if (folder := _snapshot(repository, revision)) is None:
        known = cached_commits(repository)
        what = f"{wanted} is not on this machine" + (f", only {', '.join(known)}" if known else "")
    elif not trust_pickle and _is_complete(folder, "encoder", trust_pickle=True):
        what = (
            f"on this machine {wanted} is a pickle only, a kind of file that can carry code (--trust-pickle reads it)"
        )
    else:
        what = f"only a part of {wanted} is on this machine"
    return UserError(
        f"model {repository}: {what}, and --offline or HF_HUB_OFFLINE forbids to fetch it; "
        "run once without, or give the path of a folder that has the model"
    )


def cached_commits(repository: str) -> tuple[str, ...]:
    """The commits of a repository of which there is anything in the hub's cache on this machine."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "snapshots"
    return tuple(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ()


def cached_repositories() -> tuple[str, ...]:
    """The repositories of models of which there is anything in the hub's cache on this machine."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    names = sorted(path.name for path in folder.glob("models--*--*")) if folder.is_dir() else []
    return tuple(name.removeprefix("models--").replace("--", "/") for name in names)


class _Download:
    """The fetching of one revision: first what is small and tells what the model is, then the weights."""

    def __init__(self, repository: str, revision: str, part: Part, trust_pickle: bool) -> None:
        from huggingface_hub import HfApi

        self._api = HfApi(library_name="openankh", library_version=__version__)
        self._repository, self._revision = repository, revision
        self._part: Part = part
        self._trust_pickle = trust_pickle
        self.begun = False

    def folder(self) -> Path:
        """Fetch what is missing; the snapshot's folder in the cache."""
        commit, files = self._files(self._revision)
        self.begun = True
        # Named by the revision, so that the cache remembers which commit it stands for; all else is of that commit.
        with _bars(shown=False):
            config = self._api.hf_hub_download(self._repository, CONFIG, revision=self._revision)
        folder = Path(config).parent
        if folder.name != commit:  # the revision moved on in between
            _, files = self._files(folder.name)
        self._get(folder, [name for name in _SMALL_FILES if name in files], files)
        self._check_kind(folder)
        weights = self._weights(folder, files)
        self._get(folder, weights, files)
        if not _is_complete(folder, self._part, self._trust_pickle):
            raise UserError(f"model {self._repository}: its weights did not arrive whole; run the same command again")
        return folder

    def _files(self, revision: str) -> tuple[str | None, dict[str, RemoteFile]]:
        """The commit that a revision stands for, and its files."""
        info = self._api.model_info(self._repository, revision=revision, files_metadata=True)
        siblings = info.siblings or []
        return info.sha, {file.rfilename: RemoteFile(file.size, getattr(file.lfs, "sha256", None)) for file in siblings}

    def _check_kind(self, folder: Path) -> None:
        """Refuse a model that cannot be used before its weights are fetched."""
        if not any((folder / name).exists() for name in (TOKENIZER_JSON, SPIECE_MODEL)):
            raise UserError(
                f"model {self._repository}: has no tokenizer ({TOKENIZER_JSON} or {SPIECE_MODEL}) at commit "
                f"{folder.name}; try another revision ({self._repository}@REVISION)"
            )
        published = published_model(self._repository)
        try:
            config = read_json_object(folder / CONFIG)
            ModelConfig.from_hf(config)
            check_vocabulary(read_vocab(folder), config, folder, published.alphabet if published else None)
        except UserError as error:
            raise UserError(f"model {self._repository} cannot be used: {error}") from None

    def _weights(self, folder: Path, files: Mapping[str, RemoteFile]) -> list[str]:
        """The weight files that the part needs; of weights in shards the index is fetched to know."""
        kinds = (WHOLE, PICKLE)
        whole = next((kind for kind in kinds if kind in files or index_name(kind) in files), None)
        if whole is None:
            others = ", ".join(sorted(name for name in files if "." in name and not name.startswith("."))[:8])
            raise UserError(
                f"model {self._repository}: has no weights as {WHOLE} or {PICKLE}, only {others}; try another revision"
            )
        if whole == PICKLE and not self._trust_pickle:
            raise UserError(
                f"model {self._repository}: published as a pickle only, a kind of file that can carry code; "
                "if you trust who made it, ask for it by name (trust_pickle=True, --trust-pickle)"
            )
        if whole in files:
            return [whole]
        self._get(folder, [index_name(whole)], files)
        shards = read_shard_index(folder / index_name(whole)).files(self._part)
        if missing := [name for name in shards if name not in files]:
            raise UserError(f"model {self._repository}: {missing[0]} is in its index and not among its files")
        return list(shards)

    def _get(self, folder: Path, names: Collection[str], files: Mapping[str, RemoteFile]) -> None:
        """Fetch those of the files that are not in the cache, and check the hashes that the hub tells."""
        wanted = [name for name in names if not (folder / name).exists()]
        if not wanted:
            return
        num_bytes = sum(files[name].size or 0 for name in wanted)
        _check_room(self._repository, folder, num_bytes)
        is_large = num_bytes > _LARGE_BYTES
        if is_large:
            _LOG.info("fetching %s@%s: %s bytes into %s", self._repository, folder.name, f"{num_bytes:,}", folder)
        patterns = [escape(name) for name in wanted]
        with _bars(shown=is_large and sys.stderr.isatty()):
            self._api.snapshot_download(self._repository, revision=folder.name, allow_patterns=patterns)
        for name in wanted:
            self._check_hash(folder / name, files[name].sha256)

    def _check_hash(self, path: Path, sha256: str | None) -> None:
        if sha256 is None or not path.exists() or sha256_of(path) == sha256:
            return
        os.unlink(os.path.realpath(path))  # the cache's own copy, and then the name that points to it
        path.unlink(missing_ok=True)
        raise UserError(
            f"model {self._repository}: {path.name} arrived damaged (its SHA-256 is not the hub's) and was removed; "
            "run the same command again"
        )


@contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """The library's progress bars as they are, or none: it draws them into log files as well, and for small files."""
    from huggingface_hub import constants, utils

    change = not shown and constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not utils.are_progress_bars_disabled()
    if change:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if change:
            utils.enable_progress_bars()


def _check_room(repository: str, folder: Path, num_bytes: int) -> None:
    if (free := free_bytes(folder)) < num_bytes:
        raise UserError(
            f"model {repository}: needs {num_bytes:,} bytes in {folder}, which has {free:,} free; "
            "free some space or set HF_HOME to another disk"
        )
