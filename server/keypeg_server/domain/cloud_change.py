"""What happened to a cloud session: records of the log as facts (docs/log.md).

Promises: pure; what is no change of a cloud session, or can not be read, is None.

Leaves to others: reading records (service/cloud_watching.py), messages (rpc/encode.py).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from keypeg import names

from .cloud_session import CloudMode
from .location import member_of


class CloudChangeKind(enum.IntEnum):
    """keypeg.v1.CloudChangeKind."""

    UNSPECIFIED = 0
    OPENED = 1
    MOVED = 2
    CLOSED = 3
    MODE = 4
    ACTIVATED = 5
    FREED = 6


@dataclass(frozen=True, slots=True)
class CloudChange:
    """One thing that happened; what a kind does not tell is empty."""

    sequence: int  # in its account's log
    time_us: int
    kind: CloudChangeKind
    user: str = ""
    device: str = ""
    host_name: str = ""
    from_device: str = ""
    mode: CloudMode | None = None
    activation: str = ""
    product: str = ""
    member: str = ""  # name of whose it is in a group; empty elsewhere


_KINDS: Final[Mapping[str, CloudChangeKind]] = MappingProxyType(
    {
        "cloud_opened": CloudChangeKind.OPENED,
        "cloud_moved": CloudChangeKind.MOVED,
        "cloud_closed": CloudChangeKind.CLOSED,
        "cloud_mode": CloudChangeKind.MODE,
        "activation_created": CloudChangeKind.ACTIVATED,
        "activation_deleted": CloudChangeKind.FREED,
    }
)
_OF_ACTIVATIONS: Final = (CloudChangeKind.ACTIVATED, CloudChangeKind.FREED)
_CALLED: Final = MappingProxyType({mode.name.lower(): mode for mode in CloudMode})


def of_record(body: str | bytes, sequence: int) -> CloudChange | None:
    """The change that a record tells of."""
    try:
        said = json.loads(body)
        return _change(said, sequence) if isinstance(said, dict) else None
    except (ValueError, TypeError):
        return None


def _change(said: Mapping[str, Any], sequence: int) -> CloudChange | None:
    kind = _KINDS.get(str(said.get("event", "")))
    if kind is None or (kind in _OF_ACTIVATIONS and said.get("kind") != "cloud"):
        return None

    def text(name: str) -> str:
        return str(said.get(name) or "")

    return CloudChange(
        sequence=sequence,
        time_us=int(said.get("time") or 0),
        kind=kind,
        user=text("user") or text("by"),
        device=text("device"),
        host_name=text("host"),
        from_device=text("from_device"),
        mode=_CALLED.get(text("mode")),
        activation=text("activation"),
        product=text("product"),
        member=text("member") or _member_at(text("location")),
    )


def _member_at(location: str) -> str:
    if not names.LOCATION.matches(location):
        return ""
    account, id = names.LOCATION.parse(location)
    member = member_of(id)
    return names.USER.build(account, member) if member else ""
