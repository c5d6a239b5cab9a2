"""What a computer must not forget about borrowed seats: how late it is, what is newest, what was given up.

Promises: pure. Time never goes back past what was seen, unless a server has just said what time it is. A
borrow that was given up stays so, whatever is copied back beside this memory. Bounded: what has been over
for long is forgotten.

Leaves to others: the file (borrow_shelf), verification (proof, borrowed), and that who puts back an older
copy of the whole disk has put back its memory too.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.message import DecodeError

from keypeg.errors import DocumentMalformed
from keypeg.instants import instant
from keypeg.v1.borrow_pb2 import BorrowDocument
from keypeg.v1.document_pb2 import Delegation, Envelope

KEPT: Final = timedelta(days=400)  # after its end; longer than any document holds
MEMORY_SIZE: Final = 1 << 20  # bytes; 1,000 borrows take a fifth
_NONE: Final[Mapping[str, bytes]] = MappingProxyType({})


@dataclass(frozen=True)
class Known:
    """What is known of one borrow."""

    serial: int
    end: datetime
    is_given_up: bool = False


@dataclass(frozen=True)
class Memory:
    """What is known of all."""

    latest: datetime = datetime(1970, 1, 1, tzinfo=UTC)  # the latest time that was seen
    borrows: Mapping[str, Known] = field(default_factory=dict)
    generations: Mapping[str, int] = field(default_factory=dict)  # of publishers and activations
    delegations: Mapping[str, bytes] = field(default_factory=dict)  # the newest, by publisher

    def now(self, wall: datetime) -> datetime:
        """The time: the wall clock's, never before the latest that was seen."""
        return max(wall, self.latest)

    @property
    def seen(self) -> Mapping[str, int]:
        """The highest generation and serial, by name, as a verifier takes them."""
        return {**self.generations, **{name: one.serial for name, one in self.borrows.items()}}

    def is_given_up(self, borrow: str) -> bool:
        """Whether this computer has given the borrow up."""
        known = self.borrows.get(borrow)
        return known is not None and known.is_given_up

    def believed(self, publisher: str, delegation: Envelope) -> Envelope:
        """The newest delegation of a publisher (name) that is known here: this one, or one that was used.

        What was borrowed before its publisher's keys were replaced is believed by the delegation after it, as long as
        that names who signed it: the one before is superseded here.
        """
        known = self.delegations.get(publisher)
        if known is None:
            return delegation
        newest = Envelope.FromString(known)
        return newest if _generation(newest) > _generation(delegation) else delegation

    def used(
        self,
        now: datetime,
        generations: Mapping[str, int],
        delegations: Mapping[str, bytes] = _NONE,
    ) -> Memory:
        """A seat was in use at that time, by documents of these generations, believed by these delegations."""
        highest = {
            name: max(number, self.generations.get(name, 0)) for name, number in generations.items()
        }
        return replace(
            self,
            latest=self.now(now),
            generations={**self.generations, **highest},
            delegations={**self.delegations, **delegations},
        )._without_old()

    def received(self, document: BorrowDocument, wall: datetime) -> Memory:
        """A server has just sent this document, and with it what time it is, unless it is one of before."""
        now = instant(document.issue_time) if document.HasField("issue_time") else self.now(wall)
        known = self.borrows.get(document.borrow)
        if known is not None and document.serial <= known.serial:
            now = max(now, self.latest)
        return replace(self, latest=now)._with(document, is_given_up=False)

    def gave_up(self, document: BorrowDocument) -> Memory:
        """The borrow is over here, for good."""
        return self._with(document, is_given_up=True)

    def _with(self, document: BorrowDocument, *, is_given_up: bool) -> Memory:
        known = self.borrows.get(document.borrow)
        serial = max(document.serial, known.serial if known else 0)
        over = is_given_up or (known is not None and known.is_given_up)
        one = Known(serial, instant(document.expire_time), over)
        return replace(self, borrows={**self.borrows, document.borrow: one})._without_old()

    def _without_old(self) -> Memory:
        old = self.latest - KEPT
        return replace(
            self, borrows={name: one for name, one in self.borrows.items() if one.end > old}
        )

    # The file.

    def to_text(self) -> str:
        """The memory as JSON."""
        return json.dumps(
            {
                "latest": self.latest.isoformat(),
                "borrows": {
                    name: {
                        "serial": one.serial,
                        "end": one.end.isoformat(),
                        "given_up": one.is_given_up,
                    }
                    for name, one in self.borrows.items()
                },
                "generations": dict(self.generations),
                "delegations": {
                    name: base64.b64encode(one).decode() for name, one in self.delegations.items()
                },
            },
            indent=1,
        )

    @classmethod
    def from_text(cls, text: str) -> Memory:
        """The memory of a file; DocumentMalformed when it is none."""
        try:
            table = json.loads(text)
            return cls(
                latest=_time(table["latest"]),
                borrows={
                    str(name): Known(
                        _number(one["serial"]), _time(one["end"]), _yes(one["given_up"])
                    )
                    for name, one in table["borrows"].items()
                },
                generations={str(name): _number(n) for name, n in table["generations"].items()},
                delegations={  # none in files of older versions
                    str(name): _envelope(text)
                    for name, text in table.get("delegations", {}).items()
                },
            )
        except (
            DecodeError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            raise DocumentMalformed("This is no memory of borrowed seats.") from error


def _generation(envelope: Envelope) -> int:
    """As it claims; whoever uses it verifies it."""
    try:
        return Delegation.FromString(envelope.payload).generation
    except DecodeError:
        return 0


def _time(value: Any) -> datetime:
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError("a time without a zone")
    return found.astimezone(UTC)


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise ValueError("no number")
    return value


def _envelope(text: Any) -> bytes:
    found = base64.b64decode(text, validate=True)
    Envelope.FromString(found)
    return found


def _yes(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value
