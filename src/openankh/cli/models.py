"""`openankh models`: the models that can be named."""

from openankh.cli import report
from openankh.cli.options import Json


def models(*, json: Json = False) -> None:
    """The models that can be named with -m, with size, licence, commit and whether they are here.

    A model on the hub is fetched when it is first used. Any other of the hub can be named as ORGANISATION/NAME, and any
    folder with a model by its path; @REVISION behind a name of the hub asks for a branch, tag or commit.
    """
    from dataclasses import replace

    from openankh.catalogue import listings

    rows = listings()
    report.table(
        rows if json else [replace(row, revision=row.revision and row.revision[:12]) for row in rows], as_json=json
    )
