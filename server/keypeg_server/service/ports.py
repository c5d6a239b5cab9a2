"""What sessions and pools need from others, as the few methods that they call.

Promises: only Protocols and the values that cross them.

Leaves to others: the rules of licenses, keys and accounts (this room's other modules) and the disk (storage).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from keypeg.v1.borrow_pb2 import BorrowDocument
from keypeg.v1.document_pb2 import Envelope, Grant
from keypeg.versions import Release
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.license_life import Access

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """The time; see clock.py."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; grows, also while the computer sleeps."""
        ...

    def wall(self) -> datetime:
        """The date and time, aware, in UTC."""
        ...

    def wall_us(self) -> int:
        """The same, in microseconds since 1970."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """The computer that an app runs on, as `open` says it."""

    id: str
    host_name: str


@dataclass(frozen=True, slots=True)
class AppInfo:
    """The app that asks, as `open` says it."""

    name: str
    version: str
    sdk: str
    process_id: int
    release_us: int | None = None  # when this version was released; None when it does not say

    @property
    def release(self) -> Release:
        """What licenses for some versions are asked about."""
        us = self.release_us
        return Release(self.version, None if us is None else _EPOCH + timedelta(microseconds=us))


@dataclass(frozen=True, slots=True)
class SiteLicense:
    """The license document by which a site gives seats."""

    envelope: Envelope
    publisher: str  # name
    generation: int
    site_key: str  # id of the key that it names: that of grants by it
    signed_by: str  # id of the publisher's key

    @property
    def keys(self) -> str:
        """Both ids: `site_key.signed_by`."""
        return f"{self.site_key}.{self.signed_by}"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Entitlement:
    """What lets a session run."""

    account: str
    publisher: str
    product: str  # what was asked for
    products: tuple[str, ...]  # everything that the license opens
    features: tuple[str, ...]
    license: str
    activation: str
    location: str
    location_kind: int  # a value of LocationKind
    valid_for: timedelta  # of one grant
    seat_required: bool
    pools: tuple[str, ...]  # names; that of the product first
    delegation: Envelope
    site_license: SiteLicense | None  # for sites
    sold_as: str = ""  # the product that the license is of: a bundle, or what was asked for
    borrowing: Access = Access.MEMBERS  # who of the account may take seats offline
    ends_at: datetime | None = None  # of the license's term, which no grant outlives


class Entitlements(Protocol):
    """Decides whether an app may run, and by what."""

    async def admit(
        self,
        caller: Caller,
        device: DeviceInfo,
        app: AppInfo | None,
        product: str,
        kinds: tuple[int, ...],
        pools: tuple[str, ...] = (),
    ) -> Entitlement:
        """What lets this app run; raises the refusal that says what would help when nothing does.

        `app` is None where its version was looked at before, and is not known any more.
        `kinds` are the kinds of location that the app takes, in its order; empty for any. Of `pools` it has
        seats: as long as the license of one of them serves, it is that one.
        """
        ...


class GrantSigner(Protocol):
    """Signs what an app verifies."""

    def sign_grant(self, publisher: str, grant: Grant, site: SiteLicense | None) -> Envelope:
        """Sealed by the publisher's delegated key (cloud), or by the site key that the license names (site)."""
        ...

    def delegated(self, publisher: str, site: SiteLicense | None) -> Envelope:
        """The publisher's (name) newest delegation; for seats the newest by which their license is believed."""
        ...


class BorrowSigner(Protocol):
    """Signs what a computer takes offline."""

    def sign_borrow(self, document: BorrowDocument, site: SiteLicense) -> Envelope:
        """Sealed by the site key that the license names."""
        ...


class SeatPools(Protocol):
    """What the owner of activations needs from the pools in memory (implemented by pools.Engine)."""

    async def retire(self, pools: Sequence[str]) -> None:
        """Give out no more seats of these pools, for their rows are about to be deleted.

        PoolRule, with an explanation of who is in the way, when anyone holds or waits; then nothing changed.
        Follow with PoolRemoved after the commit, or with `restore` when it failed.
        """
        ...

    def restore(self, pools: Sequence[str]) -> None:
        """Give out seats of retired pools again."""
        ...
