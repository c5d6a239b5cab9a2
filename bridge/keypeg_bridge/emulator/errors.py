"""What can go wrong before the emulated key serves, each with a sentence for the person who started it."""

from __future__ import annotations


class EmulatorError(Exception):
    """The emulated key cannot start or go on; the text says what, which, and what to do next."""
