"""Pictures of predictions as PNG files: one file of one protein, or a folder with a file for each.

Files of a folder are named by the proteins' places; `pictures.csv` in it tells which protein each shows.
"""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from openankh.errors import UserError
from openankh.files import atomic_file, atomic_folder
from openankh.tasks.artifact import Artifact
from openankh.tasks.pictures import contact_picture, tracks
from openankh.tasks.predicting import Prediction
from openankh.tasks.target_space import Classes

INDEX = "pictures.csv"
_DPI = 130
_BEYOND_LATIN = "\u0250"


class PictureWriter(Protocol):
    """What draws predictions, one after the other."""

    def write(self, prediction: Prediction) -> None:
        """Draw one protein's."""
        ...


def is_folder_of_pictures(name: str) -> bool:
    """Whether a user named a folder rather than one file."""
    return Path(name).suffix.lower() != ".png"


def check_pictures(name: str, artifact: Artifact, overwrite: bool) -> Path:
    """The file or folder a user named; UserError where nothing can be drawn, or something else stands there."""
    path = Path(name)
    if artifact.config.unit == "protein":
        raise UserError(f"--plot {name}: residues and contacts are drawn, not what is said of a whole protein")
    if path.suffix.lower() in (".jpg", ".jpeg", ".svg", ".pdf", ".gif", ".tif", ".tiff", ".webp"):
        raise UserError(f"--plot {name}: pictures are PNG; name a file that ends in .png, or a folder")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError('pictures need matplotlib; run: pip install "openankh[plots]", or leave --plot out') from None
    _require_free(path, name, overwrite)
    return path


@contextmanager
def drawing_pictures(path: Path, artifact: Artifact) -> Iterator[PictureWriter]:
    """Draw predictions into a file or folder that appears when the block ends well."""
    if path.suffix.lower() == ".png":
        with atomic_file(path) as file:
            yield _OnePicture(artifact, file)
        return
    with atomic_folder(path) as folder:
        writer = _FolderOfPictures(artifact, folder)
        yield writer
        writer.finish()


class _OnePicture:
    """The picture of one protein; UserError where it is too long."""

    def __init__(self, artifact: Artifact, file: BinaryIO) -> None:
        self._artifact, self._file = artifact, file

    def write(self, prediction: Prediction) -> None:
        most = _most_residues(self._artifact)
        if len(prediction.record.sequence) > most:
            length = len(prediction.record.sequence)
            raise UserError(f"--plot: draws proteins of up to {most:,} residues, not of {length:,}")
        _draw(self._artifact, prediction, self._file)


class _FolderOfPictures:
    """A picture of each protein that is not too long, and the list of all."""

    def __init__(self, artifact: Artifact, folder: Path) -> None:
        self._artifact, self._folder = artifact, folder
        self._rows: list[tuple[str, str]] = []

    def write(self, prediction: Prediction) -> None:
        name = ""
        if len(prediction.record.sequence) <= _most_residues(self._artifact):
            name = f"{len(self._rows) + 1:05d}.png"
            with open(self._folder / name, "wb") as file:
                _draw(self._artifact, prediction, file)
        self._rows.append((name, prediction.record.id))

    def finish(self) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("file", "id"), *self._rows])
        (self._folder / INDEX).write_text(text.getvalue(), encoding="utf-8")


def _draw(artifact: Artifact, prediction: Prediction, file: BinaryIO) -> None:
    from matplotlib.figure import Figure

    figure = Figure(dpi=_DPI, layout="constrained")
    title, shares = _title(artifact, prediction), prediction.probabilities
    assert shares is not None
    if artifact.config.unit == "pair":
        contact_picture.draw_contacts(figure, title, shares)
    else:
        assert isinstance(artifact.space, Classes) and isinstance(prediction.values, tuple)
        sequence, names = prediction.record.sequence, artifact.space.names
        tracks.draw_tracks(figure, title, sequence, prediction.values, shares, names)
    figure.savefig(file, format="png")


def _title(artifact: Artifact, prediction: Prediction) -> str:
    """Id and what is shown, in letters that the font has; a dollar sign would begin a formula."""
    name = "".join(
        letter if letter.isprintable() and letter < _BEYOND_LATIN and letter != "$" else "?"
        for letter in prediction.record.id
    )
    return f"{name[:80]}: {artifact.origin.title}, {artifact.preprocessing.model.rpartition('/')[2][:60]}"


def _most_residues(artifact: Artifact) -> int:
    return contact_picture.MOST_RESIDUES if artifact.config.unit == "pair" else tracks.MOST_RESIDUES


def _require_free(path: Path, name: str, overwrite: bool) -> None:
    """Refuse what stands there, unless it is what such a command wrote and may be replaced."""
    if not path.absolute().parent.is_dir():
        raise UserError(f"cannot write {name}: the folder {path.absolute().parent} does not exist; create it first")
    if path.suffix.lower() == ".png":
        if path.is_dir() or (path.exists() and not overwrite):
            raise UserError(f"{name}: exists already; choose another name or add --overwrite")
        return
    if path.is_file():
        raise UserError(f"--plot {name}: a file that is no PNG; name a file that ends in .png, or a folder")
    present = {each.name for each in path.iterdir()} if path.is_dir() else set()
    if present and (INDEX not in present or any(not each.endswith(".png") for each in present - {INDEX})):
        raise UserError(f"--plot {name}: a folder that holds other things; choose a new one")
    if present and not overwrite:
        raise UserError(f"{name}: exists already; choose another name or add --overwrite")
