"""The administration's use cases on a real database, with a clock that is set by hand.

Promises: everything below the services is what the server uses; only time, and the pools in memory, are
stand-ins, and the pools' stand-in refuses as the real ones do.

Leaves to others: the wire (tests/server/rpc), the pools (test_pools.py).
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from keypeg import fingerprint
from keypeg.document import Ed25519Signer
from keypeg.errors import PoolRule
from keypeg_server.clock import to_us
from keypeg_server.domain.account import Account, AccountKind
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.domain.cloud_session import CloudMode, Holder
from keypeg_server.domain.events import Event
from keypeg_server.domain.license import License, LicenseState, LicenseType
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.domain.product import Product, Publisher
from keypeg_server.service.accounts import AccountService, NewUser
from keypeg_server.service.activations import ActivationService, ActivationView
from keypeg_server.service.api_keys import ApiKeys
from keypeg_server.service.argon2id import Cost
from keypeg_server.service.capacities import CapacityService
from keypeg_server.service.catalog import CatalogService
from keypeg_server.service.cloud import CloudService, CloudView
from keypeg_server.service.cloud_groups import CloudGroups
from keypeg_server.service.cloud_of import Whose
from keypeg_server.service.device_sign_ins import DeviceSignIns
from keypeg_server.service.entitlements import AccountEntitlements
from keypeg_server.service.events import EventHub
from keypeg_server.service.key_checks import KeyChecks
from keypeg_server.service.key_losses import KeyLosses
from keypeg_server.service.licenses import LicenseService, LicenseView
from keypeg_server.service.life_parts import LifeParts
from keypeg_server.service.locations import LocationService
from keypeg_server.service.passwords import Passwords
from keypeg_server.service.people import PeopleService
from keypeg_server.service.placing import Placing
from keypeg_server.service.second_factors import SecondFactors
from keypeg_server.service.sign_ins import SignIns
from keypeg_server.service.signing import PublisherKeys, Signing, delegate
from keypeg_server.service.site_documents import SiteDocuments
from keypeg_server.service.site_keys import SiteKeys
from keypeg_server.service.store import Page, Request, Unit
from keypeg_server.service.token_texts import TokenTexts
from keypeg_server.service.tokens import Lifetimes, Tokens
from keypeg_server.service.wrapping import AesGcmWrapping
from keypeg_server.storage.unit import SqlStore
from tests.server.databases import open_in

T = TypeVar("T")
CLOUD, KEY, HOST, SITE = LocationKind
START = datetime(2026, 11, 1, 9, tzinfo=UTC)
FAST = Cost(memory_kib=64, iterations=1, lanes=1)
PASSWORD = "correct horse battery"
DAW = "publishers/acme/products/daw"


PARTS: Final = {"machine_id": "0f1e2d3c", "board": "B-77", "disk": "WD-12"}
SALT: Final = bytes(range(fingerprint.SALT_BYTES))


class Nowhere:
    """Checks no password: each is checked like other work."""

    async def matches(self, password: str, kept: str, patience: float) -> bool | None:
        return None

    async def derived(self, password: str, cost: Cost, patience: float) -> str | None:
        return None

    async def close(self) -> None:
        pass


class HandClock:
    """Time that stands until it is set."""

    def __init__(self) -> None:
        self.now = START
        self.ahead = timedelta(0)  # how far the high-water mark is before the date

    def monotonic(self) -> float:
        return (self.now - START).total_seconds()

    def wall(self) -> datetime:
        return self.now

    def date_us(self) -> int:
        return to_us(self.now - self.ahead)

    def wall_us(self) -> int:
        return to_us(self.wall())

    def served_us(self) -> int:
        return round(self.monotonic() * 1e6)


class SomePools:
    """Pools of which some are in use."""

    def __init__(self) -> None:
        self.in_use: set[str] = set()
        self.retired: set[str] = set()

    async def retire(self, pools: Sequence[str]) -> None:
        if self.in_use & set(pools):
            raise PoolRule("Seats are held.", rule="in_use")
        self.retired |= set(pools)

    def restore(self, pools: Sequence[str]) -> None:
        self.retired -= set(pools)


PUBLISHER: Final = Caller("accounts/-/users/p", "p", None, Role.PUBLISHER, "t")
"""Who may do everything."""


class Office:
    """The use cases, and short ways to call them."""

    all: Final = Page("", 1_000)

    def __init__(self, folder: Path, **options: Any) -> None:
        self.clock = HandClock()
        self.events: list[Event] = []
        self.database = open_in(folder)
        self.hub = EventHub()
        self.store = SqlStore(self.database, self.clock, self._publish)
        self.pools = SomePools()
        self.root, self.signer, self.site = (Ed25519Signer.generate() for _ in range(3))
        self.delegation = delegate(
            self.root, "publishers/acme", self.signer.public_key, 1, self.clock.now
        )
        self.signing = Signing(
            {"acme": PublisherKeys(self.signer, self.delegation)}, SiteKeys([self.site])
        )
        numbers = itertools.count(1)
        new_id = lambda: f"{next(numbers):032x}"  # noqa: E731 - sorts by time, as real ids do
        self.placing = placing = Placing(self.signing, new_id)
        self.tokens = Tokens(
            self.store,
            self.clock,
            Lifetimes(timedelta(minutes=15), timedelta(hours=12)),
            TokenTexts(b"t" * 32, ""),
        )
        self.passwords = Passwords(
            FAST, self.clock, Nowhere(), at_once=1, waiting=options.get("waiting", 100)
        )
        parts = LifeParts(self.store, self.clock, new_id, self.signing, placing)
        self.changes, self.life = parts.changes, parts.use_cases
        self.groups = CloudGroups(self.store, self.clock, placing, self.changes)
        self.accounts = AccountService(self.store, self.clock, new_id, self.passwords, self.groups)
        wrapping = AesGcmWrapping.of_master(b"m" * 32)
        self.factors = SecondFactors(self.store, self.clock, wrapping, self.clock.date_us)
        self.sign_ins = SignIns(
            self.store, self.clock, new_id, self.passwords, self.tokens, self.factors
        )
        self.devices = DeviceSignIns(self.store, self.clock, self.sign_ins)
        self.people = PeopleService(self.store, self.clock, new_id, self.passwords)
        self.keys = ApiKeys(self.store, self.clock, new_id)
        self.catalog = CatalogService(self.store, self.clock)
        self.licenses = LicenseService(self.store, self.clock, new_id, placing)
        self.documents = SiteDocuments(self.store, self.clock, self.signing, placing)
        self.losses = KeyLosses(self.store, self.clock, self.signing, new_id, self.changes)
        self.checks = KeyChecks(self.store, self.clock, self.signing)
        self.activations = ActivationService(
            self.store,
            self.clock,
            placing,
            self.signing,
            self.pools,
            parts.deactivations,
            self.changes,
        )
        self.capacities = CapacityService(self.store, self.clock, new_id, placing, self.changes)
        self.cloud = CloudService(self.store, self.clock, placing, self.changes)
        self.locations = LocationService(
            self.store,
            self.clock,
            new_id,
            b"m" * 32,
            allow_emulated=options.get("allow_emulated", False),
            roots=options.get("roots"),
        )
        self.held: dict[str, int] = {}
        self.entitlements = AccountEntitlements(
            self.store,
            self.clock,
            self.signing,
            timedelta(seconds=60),
            lambda pool: self.held.get(pool, 0),
            placing,
            self.changes,
            self.documents,
        )

    def _publish(self, event: Event) -> None:
        self.events.append(event)
        self.hub.publish(event)

    async def close(self) -> None:
        await self.passwords.close()
        self.database.close()

    # Requests: what `once` answers is kept in a list, in the order of execution.

    def request(self, done: list[T], id: str = "", body: bytes = b"") -> Request[T]:
        def answer(result: T) -> bytes:
            done.append(result)
            return b"done"

        return Request("someone", id or str(uuid.uuid4()), body, answer)

    # People.

    async def furnish(self) -> None:
        """A publisher, a product, an account."""
        publisher = Publisher(
            "acme",
            "Acme",
            self.root.public_key.key,
            self.delegation.SerializeToString(),
            self.clock.now,
        )
        await self.store.write(lambda unit: unit.catalog.add_publisher(publisher))
        await self.product("daw")
        await self.account("studio")

    async def account(self, id: str, kind: AccountKind = AccountKind.PERSONAL) -> None:
        done: list[Account] = []
        name = id.capitalize()
        await self.accounts.create_account(self.request(done), PUBLISHER, id, name, kind)

    async def user(self, login: str, account: str = "studio", role: Role = Role.MEMBER) -> Caller:
        new = NewUser(account, login, login.capitalize(), role, PASSWORD)
        user = await self.accounts.add_first_user(new)
        return Caller(user.name, login, f"accounts/{account}", role, "t")

    # What they own.

    async def product(self, id: str, *bundle: str, **fields: Any) -> Product:
        right: dict[str, Any] = {
            "publisher": "acme",
            "id": id,
            "display_name": id.upper(),
            "bundle_products": tuple(f"publishers/acme/products/{one}" for one in bundle),
            "allowed_locations": frozenset(LocationKind),
            "offline_grace": timedelta(seconds=180),
            "unplug_grace": timedelta(seconds=30),
            "minimum_app_version": "",
            "features": (),
            "create_time": START,
        }
        done: list[Product] = []
        await self.catalog.create_product(self.request(done), Product(**{**right, **fields}))
        return done[0]

    async def license(self, product: str = DAW, **fields: Any) -> License:
        right: dict[str, Any] = {
            "account": "studio",
            "id": "",
            "product": product,
            "type": LicenseType.PERPETUAL,
            "state": LicenseState.ACTIVE,
            "allowed_locations": frozenset(),
            "activation_count": 1,
            "seat_count": 0,
            "features": (),
            "deposit_time": START,
            "expire_time": None,
            "term_days": 0,
            "first_activate_time": None,
            "maintenance_end_time": None,
            "external_reference": "",
        }
        done: list[LicenseView] = []
        await self.licenses.create_license(self.request(done), License(**{**right, **fields}))
        return done[0].license

    async def activate(self, license: License, location: str) -> ActivationView:
        """On a key: with that at hand."""
        done: list[ActivationView] = []
        await self.at_hand(location, account=license.account)
        await self.activations.create_activation(
            self.request(done), license.account, license.id, location
        )
        return done[0]

    async def take_back(self, view: ActivationView) -> None:
        one = view.activation
        await self.activations.delete_activation(self.request([]), one.account, one.license, one.id)

    async def open_cloud(
        self,
        device: str,
        *,
        account: str = "studio",
        member: str = "",
        keep_elsewhere: bool = False,
    ) -> CloudView:
        done: list[CloudView] = []
        await self.cloud.open(
            self.request(done),
            Whose(account, member),
            Holder(f"device-{device}", device),
            "accounts/studio/users/anna",
            keep_elsewhere=keep_elsewhere,
        )
        return done[0]

    async def close_cloud(
        self, device: str = "a", *, account: str = "studio", member: str = ""
    ) -> CloudView:
        done: list[CloudView] = []
        asker = Holder(f"device-{device}", device)
        whose = Whose(account, member)
        await self.cloud.close(self.request(done), whose, asker, f"accounts/{account}/users/anna")
        return done[0]

    async def set_mode(
        self, mode: CloudMode, *, account: str = "studio", member: str = ""
    ) -> CloudView:
        done: list[CloudView] = []
        await self.cloud.set_mode(self.request(done), Whose(account, member), mode)
        return done[0]

    async def choose(
        self,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        *,
        account: str = "studio",
        member: str = "",
    ) -> CloudView:
        """Licenses are ids."""
        done: list[CloudView] = []
        await self.cloud.choose(self.request(done), Whose(account, member), add, remove)
        return done[0]

    async def cloud_of(self, account: str = "studio", member: str = "") -> CloudView:
        return await self.cloud.get(Whose(account, member))

    async def at_hand(self, location: str, *, account: str = "studio") -> None:
        """Somebody has a key plugged in, and was let to write to it."""

        def authorize(unit: Unit) -> None:
            place = unit.places.location(account, location)
            if place is not None and place.kind is KEY:
                now = self.clock.wall()
                ends = now + timedelta(minutes=10)
                unit.places.add_enrollment(account, place.card_id, os.urandom(32), ends, now)

        await self.store.write(authorize)

    async def key_place(self, id: str = "k1", *, account: str = "studio") -> None:
        """A key that is enrolled."""
        place = Location(account, id, KEY, id, create_time=START, card_id=uuid.uuid4().hex)
        await self.store.write(lambda unit: unit.places.add_location(place))

    async def computer(
        self, device: str = "device-1", *, salt: bytes = SALT, account: str = "studio"
    ) -> Location:
        """A computer that has just said what it is."""
        made = fingerprint.make(PARTS, salt).SerializeToString()
        host = Location(account, "", LocationKind.HOST, "desk-1", device=device, fingerprint=made)
        done: list[Location] = []
        await self.locations.create_host_location(self.request(done), host)
        return done[0]

    async def give_back(self, view: ActivationView) -> None:
        """What a receipt of a key does."""
        one = view.activation

        def change(unit: Unit) -> None:
            license = unit.licenses.license(one.account, one.license)
            assert license is not None
            self.placing.take_back(unit, license, one)
            self.placing.license_freed(unit, one.account, self.clock.wall())

        await self.store.change(change)
