"""Who may ask: the token, the name by which the server was called, and pages of other sites, which may not.

A page of any site can send requests to 127.0.0.1 from its reader's browser. So a server of this machine alone answers
only to names of this machine (else a name of the site's own could point here), and requests that a browser marks as
another site's are refused everywhere.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from openankh.serve.problems import Problem
from openankh.serve.routes.health import LIVE
from openankh.serve.settings import LOOPBACK, Settings

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="openankh", Basic realm="openankh", charset="UTF-8"'}
_FOREIGN = ("cross-site", "same-site")


class Access:
    """ASGI middleware that refuses who may not ask."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._digest = None if settings.token is None else _digest(settings.token)
        self._hosts = {*LOOPBACK, settings.host} if settings.is_local else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        problem = self._problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await problem.response()(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._hosts is not None and host_name(headers.get("host", "")) not in self._hosts:
            return Problem(421, "Host: this server answers to 127.0.0.1 and localhost alone")
        if is_foreign(headers) and scope["method"] not in ("GET", "HEAD"):
            return Problem(403, "a page of another site may not ask")
        if self._digest is not None and scope["path"] != LIVE and not self._is_known(headers.get("authorization", "")):
            return Problem(401, "a token is needed: Authorization: Bearer TOKEN", headers=_CHALLENGE)
        return None

    def _is_known(self, authorization: str) -> bool:
        """Compared by digests, in a time that tells nothing of the token, its length included."""
        assert self._digest is not None
        return hmac.compare_digest(_digest(told_token(authorization)), self._digest)


def told_token(authorization: str) -> str:
    """The token of `Bearer TOKEN`, or the password of `Basic …`, which browsers ask their users for; "" for others."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""


def host_name(host: str) -> str:
    """A `Host` header without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of another site asks."""
    if headers.get("sec-fetch-site", "") in _FOREIGN:
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:
        return True


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
