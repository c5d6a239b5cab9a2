"""What has happened, for whoever must react to it; published after the commit, never before.

Promises: immutable facts by resource name.

Leaves to others: who listens (service/events.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from keypeg_server.domain.record import Entry


@dataclass(frozen=True, slots=True)
class CloudSessionMoved:
    """The account's cloud session was opened on another device."""

    account: str  # `accounts/{account}`
    from_device: str  # device id; what ran there under the cloud session must stop
    to_device: str
    to_host_name: str
    member: str = ""  # name of whose it is in a group; empty elsewhere


@dataclass(frozen=True, slots=True)
class CloudSessionClosed:
    """The account's cloud session is held by nobody."""

    account: str
    device: str = ""  # of who closed it
    host_name: str = ""
    member: str = ""  # as above
    why: str = ""  # what the administrator who closed it says


@dataclass(frozen=True, slots=True)
class CloudModeChanged:
    """The account's cloud session has another mode."""

    account: str
    member: str = ""  # as above


@dataclass(frozen=True, slots=True)
class MemberCutOff:
    """A member of a group was removed, or may use its cloud no more."""

    account: str
    member: str  # name
    suspended: str = ""  # why, where they stay in the account; empty: removed


@dataclass(frozen=True, slots=True)
class LicenseAdded:
    """The account can use a license that it could not use before."""

    account: str
    license: str  # `accounts/{account}/licenses/{license}`
    products: tuple[str, ...]  # every product that it opens
    member: str = ""  # name of the only one of a group who can; empty for everyone


@dataclass(frozen=True, slots=True)
class LicenseChanged:
    """A license is another than before: its state, term, features or activations."""

    account: str
    license: str
    products: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LicenseRemoved:
    """A license, or an activation of it, can no longer be used."""

    account: str
    license: str
    products: tuple[str, ...]
    activation: str = ""  # the only one; empty for all


@dataclass(frozen=True, slots=True)
class CapacityPlanned:
    """The temporary capacity of a license is another than before, or some of it began or ended."""

    account: str
    license: str


@dataclass(frozen=True, slots=True)
class PoolCreated:
    """There is a new pool; its row is on disk."""

    pool: str  # `pools/{pool}`


@dataclass(frozen=True, slots=True)
class PoolRemoved:
    """A retired pool is gone from the disk."""

    pool: str


@dataclass(frozen=True, slots=True)
class UserRemoved:
    """A user may no longer use anything."""

    user: str  # `accounts/{account}/users/{user}`


@dataclass(frozen=True, slots=True)
class UserChanged:
    """A user has another role, or a reseller acts for other accounts."""

    user: str  # name


@dataclass(frozen=True, slots=True)
class ApiKeyChanged:
    """An API key was revoked, or ends at another time; sessions that it opened end by TokenRevoked."""

    key: str  # id


@dataclass(frozen=True, slots=True)
class TokenRevoked:
    """A sign-in was ended."""

    token: str  # id


@dataclass(frozen=True, slots=True)
class SecondFactorsChanged:
    """Users have, or need, other second factors than before: what their tokens are good for may be another."""

    account: str  # `accounts/{account}`
    user: str = ""  # name; empty for all of the account


@dataclass(frozen=True, slots=True)
class CredentialEnded:
    """Who signed in with a credential was cut off."""

    credential: str  # `accounts/{account}/credentials/{credential}`
    device: str = ""  # id; empty for all


@dataclass(frozen=True, slots=True)
class CatalogChanged:
    """A publisher's products are others than before."""

    publisher: str  # `publishers/{publisher}`


@dataclass(frozen=True, slots=True)
class AccountAbandoned:
    """This server serves an account no more: what is remembered of it may be wrong from now on."""

    account: str


@dataclass(frozen=True, slots=True)
class LogRecorded:
    """Records are in the log; those of seats that are taken and given back are told otherwise (storage/committer.py)."""

    entries: tuple[Entry, ...]
    numbers: tuple[int, ...]  # of each in its log


Event = (
    AccountAbandoned
    | ApiKeyChanged
    | CatalogChanged
    | CloudModeChanged
    | CloudSessionMoved
    | CloudSessionClosed
    | CredentialEnded
    | LicenseAdded
    | LicenseChanged
    | CapacityPlanned
    | LicenseRemoved
    | LogRecorded
    | MemberCutOff
    | PoolCreated
    | PoolRemoved
    | SecondFactorsChanged
    | TokenRevoked
    | UserChanged
    | UserRemoved
)
