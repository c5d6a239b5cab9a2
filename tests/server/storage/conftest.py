"""Tests of storage run on both kinds of database."""

from __future__ import annotations

from tests.server.databases import empty, empty_postgres, place, postgres

__all__ = ["empty", "empty_postgres", "place", "postgres"]
