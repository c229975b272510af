"""Parts and what became of them as rows of Arrow tables, in which Ray Data carries them between machines."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from openankh.fasta import Record
from openankh.fleet.job import Failed
from openankh.fleet.landing import Incidents, Landed
from openankh.fleet.parts import Part
from openankh.store.shard import ShardEntry, id_to_bytes

if TYPE_CHECKING:
    import pyarrow as pa


def row_of_part(part: Part) -> "pa.Table":
    """One row with all records of a part; descriptions stay behind."""
    return _row(
        part.number,
        part.first,
        [id_to_bytes(record.id) for record in part.records],
        [record.sequence.encode() for record in part.records],
        [record.line for record in part.records],
        "",
    )


def row_of_failure(failed: Failed) -> "pa.Table":
    """In the place of parts that could not be read."""
    return _row(-1, -1, [], [], [], json.dumps(asdict(failed)))


def part_of_row(table: "pa.Table") -> Part | Failed:
    """What the only row of a table holds."""
    (row,) = table.to_pylist()
    if row["failure"]:
        return Failed(**json.loads(row["failure"]))
    records = (
        Record(name.decode("utf-8", "surrogatepass"), "", sequence.decode(), line)
        for name, sequence, line in zip(row["ids"], row["sequences"], row["lines"], strict=True)
    )
    return Part(row["number"], row["first"], tuple(records))


def row_of_outcome(outcome: Landed | Failed) -> "pa.Table":
    """One row that says what became of a part."""
    import pyarrow as pa

    kind = "landed" if isinstance(outcome, Landed) else "failed"
    return pa.table({"kind": [kind], "content": [json.dumps(asdict(outcome))]})


def outcome_of_row(kind: str, content: str) -> Landed | Failed:
    """What a row says became of a part."""
    facts = json.loads(content)
    if kind == "failed":
        return Failed(**facts)
    entry, incidents = ShardEntry(**facts["entry"]), Incidents(**facts["incidents"])
    return Landed(facts["number"], facts["first"], entry, facts["name"], incidents)


def _row(
    number: int, first: int, ids: list[bytes], sequences: list[bytes], lines: list[int], failure: str
) -> "pa.Table":
    import pyarrow as pa

    binaries, numbers = pa.list_(pa.large_binary()), pa.list_(pa.int64())
    schema = pa.schema(
        {
            "number": pa.int64(),
            "first": pa.int64(),
            "ids": binaries,
            "sequences": binaries,
            "lines": numbers,
            "failure": pa.string(),
        }
    )
    columns = [[number], [first], [ids], [sequences], [lines], [failure]]
    return pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema)
