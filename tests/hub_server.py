"""A hub on this machine: the endpoints of the Hugging Face hub that fetching a model asks, over real HTTP."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
from huggingface_hub import constants

from openankh.published import published_model

LARGE = (".safetensors", ".bin", ".h5", ".model")
"""What the hub keeps apart from a repository, under its SHA-256."""


class Hub:
    """Repositories by name, each with folders by commit and commits by branch or tag; and what to do wrong.

    `asked` lists (method, path) of all requests, `sent` the bytes of each file's content that were sent.
    """

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, Path]] = {}
        self.refs: dict[str, dict[str, str]] = {}
        self.gated: set[str] = set()
        self.status: int | None = None
        self.cut_off: dict[str, int] = {}
        self.corrupted: set[str] = set()
        self.sizes: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []
        self.sent: dict[str, int] = {}
        self.reached = threading.Event()
        self.url = ""

    def add(self, repository: str, folder: Path, *refs: str) -> str:
        """Put a folder there as a new commit, to which the refs (default: main) then point; returns the commit.

        The first commit of a published model is the one that its name alone means.
        """
        folders = self.folders.setdefault(repository, {})
        commit = hashlib.sha1(f"{repository} {len(folders)}".encode()).hexdigest()
        if not folders and (published := published_model(repository)) and published.revision:
            commit = published.revision
        folders[commit] = folder
        self.refs.setdefault(repository, {}).update(dict.fromkeys(refs or ("main",), commit))
        return commit

    def folder(self, repository: str, revision: str) -> tuple[str, Path] | None:
        commit = self.refs[repository].get(revision, revision)
        folder = self.folders[repository].get(commit)
        return (commit, folder) if folder else None

    @property
    def fetched(self) -> set[str]:
        """The names of the files of which content was asked."""
        return set(self.sent)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve the hub at `hub.url` for as long as the block lasts."""

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def only_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub as the only one that this process knows, and an empty cache in the place of the user's."""
    with serving(Hub()) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between two attempts
        yield hub
        huggingface_hub.close_session()


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        hub = self.served
        hub.asked.append((self.command, path))
        if hub.status is not None:
            return self._send(hub.status, b"")
        if path.startswith("/large/"):
            _, _, repository, commit, name = path.split("/", 4)
            return self._send_content(name, hub.folders[repository.replace("--", "/")][commit] / name, {})
        parts = path.removeprefix("/api/models").strip("/").split("/")
        repository = "/".join(parts[:2])
        if repository not in hub.folders:
            return self._send(401, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        action, revision, name = (*parts[2:3], "revision")[0], "/".join(parts[3:]) or "main", ""
        if action == "resolve":
            revision, _, name = revision.rpartition("/")
        if (found := hub.folder(repository, revision)) is None:
            return self._send(404, b'{"error": "Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"})
        if action == "resolve":
            return self._resolve(repository, *found, name)
        return self._describe(repository, *found, as_tree=action == "tree")

    def _describe(self, repository: str, commit: str, folder: Path, as_tree: bool) -> None:
        files = [(path.name, self.served.sizes.get(path.name, path.stat().st_size), path) for path in folder.iterdir()]
        entries = []
        for name, size, path in sorted(files):
            large = {"size": size, "pointerSize": 134, "sha256" if not as_tree else "oid": _sha256(path)}
            entry: dict[str, Any] = {"size": size, **({"lfs": large} if name.endswith(LARGE) else {})}
            if as_tree:
                entries.append({"type": "file", "path": name, "oid": _sha1(path), **entry})
            else:
                entries.append({"rfilename": name, "blobId": _sha1(path), **entry})
        info = {"id": repository, "modelId": repository, "sha": commit, "tags": [], "private": False}
        content: Any = entries if as_tree else {**info, "gated": False, "downloads": 0, "siblings": entries}
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _resolve(self, repository: str, commit: str, folder: Path, name: str) -> None:
        headers = {"X-Repo-Commit": commit}
        if repository in self.served.gated:
            return self._send(403, b"{}", {**headers, "X-Error-Code": "GatedRepo"})
        path = folder / name
        if not path.is_file():
            return self._send(404, b"{}", {**headers, "X-Error-Code": "EntryNotFound"})
        if not name.endswith(LARGE):
            return self._send_content(name, path, {**headers, "ETag": f'"{_sha1(path)}"'})
        headers |= {"X-Linked-Etag": f'"{_sha256(path)}"', "X-Linked-Size": str(path.stat().st_size)}
        elsewhere = self.served.url.replace("127.0.0.1", "localhost")
        where = f"{elsewhere}/large/{repository.replace('/', '--')}/{commit}/{name}"
        self._send(302, b"", {**headers, "Location": where})

    def _send_content(self, name: str, path: Path, headers: dict[str, str]) -> None:
        content = path.read_bytes()
        if self.command == "HEAD":
            return self._send(200, content, headers)
        if name in self.served.corrupted:
            content = content[:-1] + bytes([content[-1] ^ 1])
        end = self.served.cut_off.get(name)
        self.served.sent[name] = self.served.sent.get(name, 0) + len(content[:end])
        self._send(200, content, headers, end)

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None, end: int | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:end])
        if end is not None:  # the connection breaks off
            self.wfile.flush()
            self.served.reached.set()
            self.close_connection = True


def laid_out(cache: Path, repository: str, folder: Path, commit: str, names: set[str]) -> Path:
    """A cache as the hub's library lays it out, with some of a folder's files: blobs, links to them, and a ref."""
    storage = cache / f"models--{repository.replace('/', '--')}"
    snapshot = storage / "snapshots" / commit
    for part in (storage / "blobs", storage / "refs", snapshot):
        part.mkdir(parents=True)
    (storage / "refs" / "main").write_text(commit)
    for number, name in enumerate(sorted(names)):
        shutil.copy(folder / name, storage / "blobs" / f"{number:040}")
        (snapshot / name).symlink_to(f"../../blobs/{number:040}")
    return snapshot


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sha1(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
