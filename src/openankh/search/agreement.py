"""Whether the vectors of queries and of what is searched were made the same way, so that distances mean something."""

from collections.abc import Iterator

from openankh.errors import UserError
from openankh.search.vectors import layer_of
from openankh.store import Provenance

_OPTIONS = {"pool": "--pool", "prefix": "--prefix", "states": "--states"}


def require_comparable(
    queries: Provenance, searched: Provenance, layer: int | None, query_name: str, searched_name: str
) -> None:
    """Raise UserError naming the first field that keeps these vectors from being compared.

    `layer` is the one searched, None where each store holds but one.
    """
    if queries.model_sha256 != searched.model_sha256:
        raise UserError(
            f"{query_name}: made by another model ({queries.model}) than {searched_name} ({searched.model}); embed the "
            "queries with that model, or give them as FASTA"
        )
    for field in ("states", "pool", "prefix", "width"):
        here, there = getattr(queries, field), getattr(searched, field)
        if here != there:
            raise _differs(field, here, there, query_name, searched_name)
    wanted = layer_of(searched, layer, searched_name)
    found = layer_of(queries, wanted if wanted in queries.layers else None, query_name)
    if found != wanted:
        raise _differs("layer", found, wanted, query_name, searched_name)


def roundings(queries: Provenance, searched: Provenance) -> Iterator[tuple[str, str, str]]:
    """(field, of the queries, of what is searched) where the same numbers were rounded differently: no hindrance."""
    for field in ("precision", "dtype"):
        here, there = getattr(queries, field), getattr(searched, field)
        if here != there:
            yield field, here, there


def _differs(field: str, here: object, there: object, query_name: str, searched_name: str) -> UserError:
    option = _OPTIONS.get(field, f"--{field}")
    remedy = f"embed the queries with {option} {there or 'none'}, or give them as FASTA"
    return UserError(f"{query_name}: {field} is {here or 'none'}, but {there or 'none'} in {searched_name}; {remedy}")
