"""A client of `openankh serve`, with nothing but the standard library and numpy: `Client(url).embed([...])`."""

from openankh.client.client import Client
from openankh.client.connection import ServerError

__all__ = ["Client", "ServerError"]
