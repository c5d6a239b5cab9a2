"""What a server that was restored from a backup must not do again: pure rules.

A backup knows nothing of what happened after it. Whoever got a seat then may still believe in it, and has a
fencing number that the restored server would give out a second time.

Promises: `raised` gives a number above every one that was given after the backup, however often and from
whichever backup a server is restored; `holds_back_for` says how long seats stay where they are.

Leaves to others: carrying it out (storage/restored.py).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

# Above what one pool, activation or cloud session can have counted since the backup, at a million a second
# for eleven days; for a computer whose clock is behind that of the backup.
MARGIN: Final = 1_000_000_000_000

# The longest that anyone may believe in a seat after the last answer: the upper limits of the setting
# sessions.seat_grant and of the `ttl` of seats without a stream.
LONGEST_GRANT: Final = timedelta(hours=1)

# What people see in the place of an app that holds all seats.
APP: Final = "keypegd restore: seats may have been given after the backup"


def raised(number: int, now_us: int) -> int:
    """A number above `number` and above all that followed it; `now_us` is microseconds since 1970.

    It follows the clock, because two restores of the same backup would else count the same numbers twice. A
    number would come again only if more than one a microsecond had been given out in between.
    """
    return max(number + MARGIN, now_us)


def holds_back_for(stopped_for: timedelta) -> timedelta:
    """How long the restored server gives out no seat, when the earlier one stopped so long ago; zero for not
    at all."""
    return max(timedelta(0), LONGEST_GRANT - stopped_for)
