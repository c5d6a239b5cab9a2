"""Tests of storage run on both kinds of database."""

from __future__ import annotations

from tests.server.databases import empty, place, postgres

__all__ = ["empty", "place", "postgres"]
