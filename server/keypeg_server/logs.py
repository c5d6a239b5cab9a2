"""Structured logs on standard error: an event in lower case, and fields.

Promises: one line an event, JSON when standard error is no terminal; what other libraries log comes out
the same way; fields whose name says that they are secret are blanked, whatever put them there.

Leaves to others: not to log secrets in the first place.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

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
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        blank_secrets,
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,  # others show variables: secrets
            )
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("alembic", "asyncio", "sqlalchemy"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
