"""Where a license may live.

Promises: the four kinds with the numbers of the contract, and the two places that every account has from
the start.

Leaves to others: which license may live where (license.py).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from keypeg import names


class LocationKind(enum.IntEnum):
    """keypeg.v1.LocationKind, but for its zero."""

    CLOUD = 1
    KEY = 2
    HOST = 3
    SITE = 4


CLOUD_ID: Final = "cloud"  # of an account that is no group; a member's begins with it
SITE_ID: Final = "site"

# What every account has: its cloud, and the seats that this server shares.
BUILT_IN: Final[Mapping[str, LocationKind]] = MappingProxyType(
    {CLOUD_ID: LocationKind.CLOUD, SITE_ID: LocationKind.SITE}
)


def cloud_id(member: str) -> str:
    """The cloud of a member (user id) of a group; of the account where there is none."""
    return f"{CLOUD_ID}-{member}" if member else CLOUD_ID


def member_of(location: str) -> str:
    """The member (user id) whose cloud a location (id) is; empty for every other place."""
    return location.removeprefix(f"{CLOUD_ID}-") if location.startswith(f"{CLOUD_ID}-") else ""


@dataclass(frozen=True)
class Location:
    """A place of an account; what is only known of keys, or of hosts, is empty for others."""

    account: str  # id
    id: str
    kind: LocationKind
    display_name: str
    create_time: datetime | None = None  # None for what is built in
    serial: str = ""
    model: str = ""
    emulated: bool = False
    card_id: str = ""  # 32 hexadecimal characters
    key_algorithm: int = 0  # keypeg.v1.KeyAlgorithm; 0 when there is no key
    public_key: bytes = b""
    lost_time: datetime | None = None  # when it was reported lost
    lost_reason: str = ""
    suspect_time: datetime | None = None  # when old contents or a copy were seen last
    device: str = ""  # id of the device that a host is
    fingerprint: bytes = b""  # of a host: HostFingerprint, serialized

    @property
    def name(self) -> str:
        return names.LOCATION.build(self.account, self.id)

    @property
    def hand_id(self) -> str:
        """By what is kept that somebody is at this place: the card of a key; for a computer, what no card is called."""
        return self.card_id if self.kind is LocationKind.KEY else f"host/{self.id}"


def words(kinds: Iterable[int]) -> str:
    """Kinds for a sentence or metadata: `cloud, key`, in the order of their numbers."""
    return ", ".join(LocationKind(kind).name.lower() for kind in sorted(kinds))
