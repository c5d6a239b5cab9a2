"""What a key may answer instead of doing what it was asked. One class per thing that a caller decides differently about.

Errors of the way to the key (unplugged, too slow) are `transport.errors`, and pass through drivers unchanged.
"""

from __future__ import annotations

from keypeg_bridge.wire.apdu import meaning


class KeyDriverError(Exception):
    """A key refused. `status_word` is the card's own number where it gave one, None otherwise."""

    def __init__(self, text: str, *, status_word: int | None = None) -> None:
        words = (
            "" if status_word is None else f" (status {status_word:04X}: {meaning(status_word)})"
        )
        super().__init__(text + words)
        self.status_word = status_word

    @property
    def meaning(self) -> str | None:
        """The status word in words."""
        return None if self.status_word is None else meaning(self.status_word)


class AuthorizationFailed(KeyDriverError):
    """The management key's answer was wrong or late, or there was none before a write."""


class StorageFull(KeyDriverError):
    """The data does not fit: into one object, or into the key."""


class ObjectMissing(KeyDriverError):
    """The key does not know this object, and cannot hold it."""


class KeyMissing(KeyDriverError):
    """The key has no identity key yet: it is not enrolled."""


class NotSupported(KeyDriverError):
    """This key cannot do it at all, or not without a PIN or a touch."""


class TouchWanted(NotSupported):
    """It wants a touch for what it should do silently."""


class NotTouched(KeyDriverError):
    """It waited for a touch, and nobody came, or it was refused."""


class CounterFell(KeyDriverError):
    """It counts no higher than it was seen to: there is a copy of it, or it was put back to an older state."""

    def __init__(self, seen: int, told: int) -> None:
        super().__init__(
            f"The key counts {told}, and {seen} was seen of it before: there is a copy of it, or it was put"
            " back. Report it to whoever gave you its licenses, and enroll another one."
        )
        self.seen = seen
        self.told = told


class MalformedReply(KeyDriverError):
    """The key's answer breaks the rules of its protocol."""
