"""The routes of the API, one file a concern; `ROUTERS` are all of them."""
