"""A folder as files of limited size, for ways that take small files alone; put together again, each byte checked.

A piece begins with one line of JSON (set, number, of, sha256 of all pieces together); the rest is its part of a tar.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

PIECE_BYTES = 15 << 20
_HEADER_BYTES = 4096


def cut(name: str, members: Mapping[str, Path], folder: Path, max_bytes: int = PIECE_BYTES) -> list[Path]:
    """Write files or folders, by the names they shall have, as pieces `NAME-00-of-03.piece`; earlier ones go."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for member, path in sorted(members.items()):
            tar.add(path, member)
    content = stream.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    size = max_bytes - _HEADER_BYTES
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{name}-*-of-*.piece"):
        old.unlink()
    paths = []
    for number, part in enumerate(parts):
        header = {"set": name, "number": number, "of": len(parts), "sha256": digest}
        paths.append(folder / f"{name}-{number:02}-of-{len(parts):02}.piece")
        paths[-1].write_bytes(json.dumps(header).encode() + b"\n" + part)
    return paths


def join(pieces: Iterable[Path], folder: Path) -> None:
    """Unpack a whole set of pieces, in any order; SystemExit when one is missing, foreign or damaged."""
    parts: dict[int, bytes] = {}
    headers = []
    for path in pieces:
        line, _, part = path.read_bytes().partition(b"\n")
        headers.append(json.loads(line))
        parts[headers[-1]["number"]] = part
    if not headers:
        raise SystemExit("no pieces given")
    if len({(header["set"], header["of"], header["sha256"]) for header in headers}) > 1:
        raise SystemExit("these pieces are of different sets; give those of one")
    if missing := sorted(set(range(headers[0]["of"])) - parts.keys()):
        raise SystemExit(f"piece {missing[0]} of {headers[0]['of']} is missing")
    content = b"".join(parts[number] for number in sorted(parts))
    if hashlib.sha256(content).hexdigest() != headers[0]["sha256"]:
        raise SystemExit("a piece is damaged: fetch them again")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(folder, filter="data")


def chosen(paths: Sequence[Path], numbers: str) -> list[Path]:
    """The pieces that a text such as `all`, `3` or `0-3` names."""
    if numbers == "all":
        return list(paths)
    if not (match := re.fullmatch(r"(\d+)(?:-(\d+))?", numbers)):
        raise SystemExit(f"{numbers}: give all, a number, or a range such as 0-3")
    return list(paths[int(match[1]) : int(match[2] or match[1]) + 1])
