"""The files the demo writes, all in one folder."""

from dataclasses import dataclass
from pathlib import Path

from openankh.errors import UserError


@dataclass(frozen=True)
class Outputs:
    """The demo's folder and the files in it."""

    folder: Path

    @classmethod
    def into(cls, folder: Path) -> "Outputs":
        """The files in a folder, which is made where it is missing; UserError where it cannot be."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {folder}: cannot be made ({error.strerror}); name another folder") from None
        return cls(folder)

    @property
    def embeddings(self) -> Path:
        return self.folder / "embeddings.h5"

    @property
    def picture(self) -> Path:
        return self.folder / "map.png"

    @property
    def table(self) -> Path:
        return self.folder / "neighbours.csv"

    def described(self, width: int) -> dict[Path, str]:
        """Each file and what it holds; `width` numbers a protein."""
        return {
            self.embeddings: f"one vector of {width} numbers a protein, by its accession: the mean of its residues",
            self.picture: "all proteins laid out in the plane, coloured by family",
            self.table: "each protein with its nearest neighbour",
        }
