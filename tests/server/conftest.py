"""What tests of the server share: a PostgreSQL that was started for them is ended with them."""

from __future__ import annotations

from tests.server.databases import _server_ends

__all__ = ["_server_ends"]
