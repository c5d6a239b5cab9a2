"""What the administration's use cases need from storage: one unit of work, and repositories in it.

Promises: `write` runs a change in one transaction and publishes its events after the commit, whatever
becomes of the caller; `once` does so at most once for a request id and gives the first answer again;
`read` sees one consistent state.

Leaves to others: how it is kept (storage/), and the rules (domain/). Repositories are called within a unit
of work only, in its thread, and do not await.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from keypeg_server.domain.account import Account, PublisherPeople, User
from keypeg_server.domain.cloud_session import CloudSession
from keypeg_server.domain.events import Event
from keypeg_server.domain.license import Activation, License
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.domain.product import Product, Publisher
from keypeg_server.domain.rights import Role
from keypeg_server.service.certificate_ports import Certificates
from keypeg_server.service.change_ports import Changes
from keypeg_server.service.credential_ports import Credentials
from keypeg_server.service.key_ports import Keys
from keypeg_server.service.people_ports import People
from keypeg_server.service.provider_ports import IdentityRepository
from keypeg_server.service.sign_in_ports import Factors, Passkeys, SignInRepository

T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    """Which part of a list is asked for: what comes after an id, and how much."""

    after: str  # empty for the first
    limit: int


@dataclass(frozen=True)
class Request(Generic[T]):
    """A mutation that may come again: who asks, under which id, with which body, and its answer's bytes."""

    caller: str
    id: str
    body: bytes
    answer: Callable[[T], bytes]


@dataclass(frozen=True)
class Credential:
    """A user, with what the password is checked against."""

    user: User
    password: str  # PHC string

    def __repr__(self) -> str:
        return f"Credential({self.user!r})"


@dataclass(frozen=True)
class NewPool:
    """Seats to be shared: the pool of one activation and product."""

    id: str
    account: str  # name
    product: str  # name
    activation: str  # name
    seat_count: int
    features: tuple[tuple[str, int], ...]  # those that are counted by themselves
    create_time: datetime


class StaleDocument(NamedTuple):
    """A license document that other keys sign by now."""

    keys: str  # SiteLicense.keys
    id: str  # of the activation
    account: str  # id


class Catalog(Protocol):
    """Publishers and products."""

    def publisher(self, id: str) -> Publisher | None: ...
    def add_publisher(self, publisher: Publisher) -> None: ...
    def update_delegation(self, publisher: str, delegation: bytes) -> None: ...
    def signing_keys(self, publisher: str) -> dict[str, str]:
        """Keys that came after the first, by id; each wrapped, or where it is."""
        ...

    def keep_signing_key(self, publisher: str, id: str, text: str) -> None: ...
    def site_keys(self) -> dict[str, str]:
        """The keys of this server as a site, by id, each as site_keys.text_of; none while there is but the first."""
        ...

    def keep_site_key(self, id: str, text: str) -> None: ...
    def publishers(self) -> list[Publisher]:
        """All of this server: few."""
        ...

    def product(self, publisher: str, id: str) -> Product | None: ...
    def products(self, wanted: Sequence[str]) -> dict[str, Product]:
        """Those of these names that there are."""
        ...

    def list_products(self, publisher: str, page: Page) -> list[Product]: ...
    def add_product(self, product: Product) -> None: ...
    def update_switches(self, product: Product) -> None: ...


class Accounts(Protocol):
    """Accounts and users. What is added must not be there; look first."""

    def account(self, id: str) -> Account | None: ...
    def add_account(self, account: Account) -> None: ...
    def update_account(self, account: Account) -> None:
        """What may be changed of it: its kind, and whether its people need a second factor."""
        ...

    def publisher_people(self) -> PublisherPeople: ...
    def update_publisher_people(self, people: PublisherPeople) -> None: ...
    def list_accounts(self, page: Page, reseller: str | None = None) -> list[Account]:
        """All, or those that a reseller (user id) acts for."""
        ...

    def user(self, account: str, id: str) -> User | None: ...
    def list_users(self, account: str, page: Page) -> list[User]: ...
    def role_count(self, account: str, role: Role) -> int:
        """How many users of an account (id; NO_ACCOUNT for those of none) have a role."""
        ...

    def credential(self, login: str) -> Credential | None: ...
    def add_user(self, credential: Credential) -> None: ...
    def delete_user(self, user: User) -> None:
        """With all sign-ins."""
        ...


class Licenses(Protocol):
    """Licenses and their activations."""

    def license(self, account: str, id: str) -> License | None: ...
    def list_licenses(self, account: str, page: Page | None = None) -> list[License]:
        """Oldest first; all when no page is given."""
        ...

    def add_license(self, license: License) -> None: ...
    def update_license(self, license: License) -> None: ...
    def plan_capacities(self, license: License, next_change: int | None) -> None:
        """The license with its temporary capacities, and when (us) one begins or ends next."""
        ...

    def licenses_with_plans(self) -> list[tuple[License, int]]:
        """Of all accounts those with temporary capacity that begins or ends some day, and when next (us)."""
        ...

    def activation(self, account: str, license: str, id: str) -> Activation | None: ...
    def list_activations(
        self,
        account: str,
        license: str | None = None,
        page: Page | None = None,
        kind: LocationKind | None = None,
    ) -> list[Activation]:
        """Of an account or of one license, on each kind of location or on one, oldest first.

        All when no page is given.
        """
        ...

    def names_in_cloud(self, account: str, place: str) -> tuple[str, ...]:
        """The names of an account's activations in a cloud (id of the location), oldest first."""
        ...

    def used_counts(self, account: str, licenses: Sequence[str]) -> dict[str, int]:
        """How many activations each of these licenses has; those with none are left out."""
        ...

    def stale_documents(
        self, fine: frozenset[str], after: tuple[str, str], limit: int
    ) -> list[StaleDocument]:
        """Documents of activations at sites that are by other keys (SiteLicense.keys) than `fine`.

        In the order of keys and ids, of which `after` is the last that was seen.
        """
        ...

    def still_stale(self, fine: frozenset[str], ids: Sequence[str]) -> list[Activation]:
        """Those of these activations whose documents are."""
        ...

    def add_activation(self, activation: Activation) -> None: ...
    def update_activation(self, activation: Activation) -> None:
        """Its location, generation, document and return nonce."""
        ...

    def delete_activation(self, activation: Activation) -> None:
        """With its pools."""
        ...

    def add_pool(self, pool: NewPool) -> None: ...


class Places(Protocol):
    """Locations, the enrollment of keys, and cloud sessions."""

    def location(self, account: str, id: str) -> Location | None: ...
    def list_locations(self, account: str, page: Page) -> list[Location]: ...
    def key_location(self, account: str, card_id: str) -> Location | None:
        """The one of a card that was not reported lost."""
        ...

    def host_location(self, account: str, device: str) -> Location | None:
        """The computer with this device id."""
        ...

    def host_count(self, account: str) -> int:
        """How many computers are locations."""
        ...

    def add_location(self, location: Location) -> None: ...
    def update_location(self, location: Location) -> None: ...
    def add_enrollment(
        self, account: str, hand_id: str, digest: bytes, expire_time: datetime, now: datetime
    ) -> None:
        """Remember an enrollment nonce, and forget those that have ended by now."""
        ...

    def at_hand(self, account: str, hand_id: str, now: datetime) -> bool:
        """Whether somebody who is at this place (Location.hand_id) was given an enrollment nonce that has not ended."""
        ...

    def leave_hand(self, account: str, hand_id: str) -> None:
        """Nobody is at this place any more, as far as is known."""
        ...

    def take_enrollment(self, account: str, card_id: str, digest: bytes) -> datetime | None:
        """When an enrollment nonce ends; it is used up by this."""
        ...

    def cloud_session(self, account: str, member: str = "") -> CloudSession:
        """Of an account that is there; in a group, that of a member (user id) who is there."""
        ...

    def find_cloud_session(self, account: str, member: str = "") -> CloudSession | None:
        """As above; None when there is none. `member` says nothing where the account is no group."""
        ...

    def list_cloud_sessions(self, account: str, page: Page | None = None) -> list[CloudSession]:
        """The one of an account; of a group those of its members who have used it, by id."""
        ...

    def save_cloud_session(self, session: CloudSession) -> None: ...
    def delete_cloud_session(self, session: CloudSession) -> None:
        """With its location, where nothing is any more; the one of an account stays."""
        ...


class Unit(Protocol):
    """One unit of work."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def accounts(self) -> Accounts: ...
    @property
    def licenses(self) -> Licenses: ...
    @property
    def places(self) -> Places: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def people(self) -> People: ...
    @property
    def sign_ins(self) -> SignInRepository: ...
    @property
    def factors(self) -> Factors: ...
    @property
    def identities(self) -> IdentityRepository: ...
    @property
    def passkeys(self) -> Passkeys: ...
    @property
    def changes(self) -> Changes: ...
    @property
    def credentials(self) -> Credentials: ...
    @property
    def certificates(self) -> Certificates: ...

    def publish(self, event: Event) -> None:
        """Tell everyone, once this unit is committed."""
        ...

    def record(self, parent: str, event: str, **said: Any) -> None:
        """Record it in the log of an account or publisher (name), with this unit; docs/log.md has the events."""
        ...


class Store(Protocol):
    """Units of work."""

    @property
    def generation(self) -> int:
        """Another one with every `once` and `change`: what was read under the same one is still what is there.

        Events of a change are published before its generation is seen; `write` does not count, for what
        it changes (tokens, passwords, nonces, documents that say the same) says nothing of what an account has.
        """
        ...

    def outdate(self) -> None:
        """Let what was read before not pass for what is there."""
        ...

    async def read(self, look: Callable[[Unit], T]) -> T:
        """Look at one consistent state."""
        ...

    async def write(self, change: Callable[[Unit], T]) -> T:
        """Change something; all of it or, when it raises, nothing."""
        ...

    async def change(self, change: Callable[[Unit], T]) -> T:
        """As `write`, of what an account has, where no request asked for it."""
        ...

    async def once(self, request: Request[T], change: Callable[[Unit], T]) -> bytes:
        """Change something, unless this request has done so before; its first answer either way."""
        ...
