"""`openankh models`: the models that can be named."""

from openankh.cli import report
from openankh.cli.options import Json


def models(*, json: Json = False) -> None:
    """The models that can be named with -m, with size, licence and whether they are here.

    A model on the hub is fetched when it is first used; any folder with a model can be named too.
    """
    from openankh.catalogue import listings

    report.table(listings(), as_json=json)
