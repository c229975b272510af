"""What the hub's library raised, as one line that says what to do."""

import errno
import os
from collections.abc import Iterator

from openankh.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def refusal(repository: str, revision: str | None, error: Exception, begun: bool = False) -> UserError:
    """The UserError for whatever kept a model from being fetched; `begun` where the hub had answered before."""
    what = f"{repository}@{revision}" if revision else repository
    return UserError(f"model {what}: cannot be fetched: {_remedy(repository, revision, error, begun)}")


def _remedy(repository: str, revision: str | None, error: Exception, begun: bool) -> str:
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{repository}"
    if isinstance(error, errors.GatedRepoError):
        return f"its authors ask for consent; accept their terms at {page} and log in (hf auth login, or HF_TOKEN)"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no revision {revision!r}; name {repository}@main for the newest, or see {page}/commits/main"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"no folder has this name, and {constants.ENDPOINT} no such model, or not for you; "
            "check the spelling, or log in (hf auth login)"
        )
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"it has no config.json, so it is no model that transformers could open; see {page}/tree/main"
    return _local_remedy(error) or _network_remedy(error, begun)


def _local_remedy(error: Exception) -> str:
    """For a disk that is full or cannot be written to; "" for anything else."""
    for cause in _causes(error):
        code = getattr(cause, "errno", None)
        full = next((code for code in _FULL if os.strerror(code) in str(cause)), None)
        if code in _FULL or full:
            reason = os.strerror(code or full or errno.ENOSPC).lower()
            return f"{reason}{_at(cause)}; free some space or set HF_HOME to another disk, and run it again"
        if isinstance(cause, PermissionError) or code == errno.EROFS:
            reason = os.strerror(code or errno.EACCES).lower()
            return f"{reason}{_at(cause)}; set HF_HOME to a folder that you can write to"
    return ""


def _at(error: BaseException) -> str:
    filename = getattr(error, "filename", None)
    return f": {filename}" if filename else ""


def _network_remedy(error: Exception, begun: bool) -> str:
    statuses = [getattr(getattr(cause, "response", None), "status_code", None) for cause in _causes(error)]
    status = next((status for status in statuses if isinstance(status, int) and status >= 400), None)
    if status == 401:
        return "the hub does not accept your token; log in anew (hf auth login), or unset HF_TOKEN"
    if status == 403:
        return "the hub refuses it to you (403); check the rights of your token (hf auth whoami)"
    if status == 429 or (status or 0) >= 500:
        return f"the hub answers {status}; try again in some minutes"
    reason = f"({type(error).__name__}: {' '.join(str(error).split())[:100]})"
    if begun:
        return f"the connection broke off; run the same command again, files that arrived whole are kept {reason}"
    return f"the hub could not be reached; check the network, or copy the model's folder here and name it {reason}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from, the outermost first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__
