"""One protein of a table, as it is written there."""

from dataclasses import dataclass

from openankh.decompression import printable


@dataclass(frozen=True)
class Row:
    """One protein of a table: where it stands, what it is, and its label as written."""

    table: str
    line: int
    id: str
    sequence: str
    label: str
    masks: tuple[str, ...] = ()
    chain: str = ""

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        name = f" ({printable(self.id)})" if self.id != str(self.line) else ""
        return f"{self.table}, line {self.line}{name}"
