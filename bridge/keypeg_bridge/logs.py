"""What the bridge logs: structured, on standard error.

Promises: nothing secret is given to a logger in the first place.

Leaves to others: how it is written (keypeg.log_output).
"""

from __future__ import annotations

from keypeg import log_output


def configure(level: str, form: str) -> None:
    """Set up logging for the process, by the settings `logs.level` and `logs.format`."""
    log_output.configure(level, form, chatty=("asyncio", "usb"))
