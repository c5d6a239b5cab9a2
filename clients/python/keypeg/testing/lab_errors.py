"""What a laboratory could not do, in a sentence."""

from __future__ import annotations


class LabError(Exception):
    """The laboratory cannot start or go on; the text says what, which, and what to do next."""
