"""How keypeg's own programs write what they log: on standard error, an event in lower case, and fields.

Promises: one line an event, JSON when standard error is no terminal; what other libraries log comes out the same way.
Nothing shows the variables of a traceback.

Leaves to others: what is logged, and what of it is blanked (each program's own logs). Apps need none of this:
structlog, which it takes, comes with the server and with the bridge.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import Processor


def configure(
    level: str,
    form: str,
    *,
    chatty: Sequence[str],
    first: Sequence[Processor] = (),
    last: Sequence[Processor] = (),
) -> None:
    """Set up logging for the process: `level` and `form` are settings `logs.level` and `logs.format`.

    Of `chatty` libraries only warnings are written. `first` and `last` stand around the processors that all have.
    """
    import structlog

    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    before: list[Processor] = [
        *first,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *last,
    ]
    rendering: list[Processor] = (
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
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in chatty:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
