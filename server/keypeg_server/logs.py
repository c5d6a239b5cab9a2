"""What the server logs: structured, on standard error, and nothing secret.

Promises: fields whose name says that they are secret are blanked, whatever put them there.

Leaves to others: how it is written (keypeg.log_output), and not to log secrets in the first place.
"""

from __future__ import annotations

from typing import Final

import structlog
from structlog.typing import EventDict, WrappedLogger

from keypeg import log_output

SECRET_FIELDS: Final = ("password", "token", "secret", "private", "ticket", "mac", "authorization")
BLANK: Final = "(blanked)"


def blank_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank every field whose name speaks of a secret."""
    for name in event:
        if any(word in name.lower().split("_") for word in SECRET_FIELDS):
            event[name] = BLANK
    return event


def configure(level: str, form: str) -> None:
    """Set up logging for the process: `level` and `form` are settings `logs.level` and `logs.format`."""
    log_output.configure(
        level,
        form,
        chatty=("alembic", "asyncio", "sqlalchemy"),
        first=(structlog.contextvars.merge_contextvars,),
        last=(blank_secrets,),
    )
