"""The packages of the extra `judge`, or one line on how to get them."""

from importlib.util import find_spec

from openankh.errors import UserError

PACKAGES = ("pyhmmer", "parasail", "matplotlib")


def require_judging() -> None:
    """Raise UserError where one of them is missing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f'judging designs needs {" and ".join(missing)}; run: pip install "openankh[judge]"')
