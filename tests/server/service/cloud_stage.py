"""The world in which commands meet: an account of the office with licenses in all states, on a real database.

Promises: each method is one command of the contract, asked for by who would ask for it; all that a command needs to
know (ids, receipts of keys) was there before, so that each is one change of the store.

Leaves to others: the commands of the table (cloud_commands.py), what there is to see then (cloud_sight.py).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from keypeg import names, receipts
from keypeg.v1.document_pb2 import KEY_ALGORITHM_ECDSA_P256, Envelope, PublicKey
from keypeg.v1.key_contents_pb2 import KeyContents, Receipt
from keypeg_server.domain.account import AccountKind
from keypeg_server.domain.capacity import Capacity, us
from keypeg_server.domain.cloud_session import CloudMode, Holder
from keypeg_server.domain.license import License
from keypeg_server.domain.license_change import ChangeKind, Edit
from keypeg_server.domain.license_life import Who
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.service.capacities import CapacityView
from keypeg_server.service.cloud_of import Whose
from keypeg_server.service.deactivations import Deactivation
from keypeg_server.service.license_life import Asked, Lived
from keypeg_server.service.store import Request, Unit
from tests.server.service.office import PUBLISHER, Office
from tests.server.service.test_locations import Card

HOUR: Final = timedelta(hours=1)
PEOPLE: Final = ("ann", "bea")
OWNED: Final = {"daw": 1, "eq": 1, "dsp": 1, "amp": 2, "syn": 1, "old": 1}  # activations of each
ON_KEYS: Final = {"dsp": "k1", "amp": "k3", "syn": "k4"}
KEYS: Final = ("k1", "k2", "k3", "k4")


class NothingLent:
    """Of pools."""

    def check_removal(self, license: str, left: Sequence[Capacity], now_us: int) -> None:
        pass


@dataclass
class Stage:
    """An account with what the commands are about."""

    office: Office
    account: str
    hour: datetime  # when what is planned is due
    people: dict[str, str] = field(default_factory=dict)  # ids, by what they are called
    licenses: dict[str, License] = field(default_factory=dict)
    placed: dict[str, str] = field(default_factory=dict)  # ids of activations, by license
    receipts: dict[str, Envelope] = field(default_factory=dict)  # of keys, by license
    change: str = ""  # id of what amp waits with, for its key to be reached
    capacity: str = ""  # id of what syn has for an hour

    @classmethod
    async def made(cls, office: Office, account: str, kind: AccountKind) -> Stage:
        """`dsp` is to leave its key, `amp` is moved from its key to the cloud, `syn` may be in two places for an
        hour, `eq` is to be suspended then, and `old` is."""
        await office.account(account, kind)
        made = cls(office, account, office.clock.now + HOUR)
        for one in PEOPLE:
            made.people[one] = names.USER.parse((await office.user(one, account)).user)[1]
        cards = {key: Card() for key in KEYS}
        await office.store.write(lambda unit: made._put_keys(unit, cards))
        for name, count in OWNED.items():
            made.licenses[name] = await made.deposit(name, count)
        for name, key in ON_KEYS.items():
            await made.activate(name, key)
        await made.remember(*ON_KEYS)
        await made.command("old", ChangeKind.SUSPEND)
        await made.command("eq", ChangeKind.SUSPEND, made.hour)
        made.capacity = (await made.add_capacity("syn", HOUR)).capacity.id
        made.receipts["dsp"] = made._receipt(cards["k1"], await made._begun("dsp"))
        moved = await made.move("amp", "cloud")
        assert moved.change is not None
        made.change = moved.change.id
        begun = await office.life.begin_change(account, made.licenses["amp"].id, made.change)
        made.receipts["amp"] = made._receipt(cards["k3"], begun)
        return made

    async def remember(self, *licenses: str) -> None:
        """The activations that the commands are about are those of now."""
        found = await self.office.store.read(
            lambda unit: unit.licenses.list_activations(self.account)
        )
        for name in licenses:
            there = [one.id for one in found if one.license == self.licenses[name].id]
            self.placed[name] = there[0] if there else "none"

    # Of a cloud session.

    async def open(self, who: str, device: str, *, keep: bool = False) -> None:
        holder = Holder(f"device-{device}", device)
        user = self._user(who)
        await self.office.cloud.open(
            self._request(), self._own(who), holder, user, keep_elsewhere=keep
        )

    async def close(self, who: str, device: str) -> None:
        holder = Holder(f"device-{device}", device)
        user = self._user(who)
        await self.office.cloud.close(self._request(), self._own(who), holder, user)

    async def set_mode(self, who: str, mode: CloudMode) -> None:
        await self.office.cloud.set_mode(self._request(), self._own(who), mode)

    async def choose(self, who: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        added, removed = ([self.licenses[one].id for one in some] for some in (add, remove))
        await self.office.cloud.choose(self._request(), self._own(who), added, removed, Who.MEMBER)

    async def end(self, who: str, *, suspend: bool = False) -> None:
        whose = Whose(self.account, self.people[who])
        await self.office.groups.end(self._request(), whose, "leave", suspend=suspend)

    async def resume(self, who: str) -> None:
        whose = Whose(self.account, self.people[who])
        await self.office.groups.resume(self._request(), whose)

    # Of the account.

    async def set_kind(self, kind: AccountKind) -> None:
        await self.office.groups.set_kind(self._request(), self.account, kind)

    async def delete_user(self, who: str) -> None:
        member = self.people[who]
        await self.office.accounts.delete_user(self._request(), PUBLISHER, self.account, member)

    async def deposit(self, product: str, count: int = 1) -> License:
        product = f"publishers/acme/products/{product}"
        return await self.office.license(product, account=self.account, activation_count=count)

    async def lose(self, key: str) -> None:
        await self.office.losses.report(self._request(), self.account, key, "in a train")

    # Of activations.

    async def activate(self, name: str, location: str) -> None:
        license, ann = self.licenses[name].id, self._user("ann")
        await self.office.activations.create_activation(
            self._request(), self.account, license, location, ann, Who.MEMBER
        )

    async def delete(self, name: str) -> None:
        license, receipt = self.licenses[name].id, self.receipts.get(name)
        await self.office.activations.delete_activation(
            self._request(), self.account, license, self.placed[name], receipt, Who.ADMIN
        )

    async def move(self, name: str, target: str, when: datetime | None = None) -> Lived:
        """`bea` is her cloud."""
        place = f"cloud-{self.people[target]}" if target in self.people else target
        what = (name, self.placed[name], place, None)
        return await self._lived(self.office.life.move, *what, when=when)

    async def recover(self, name: str) -> Lived:
        return await self._lived(self.office.life.recover, name, self.placed[name])

    # Of licenses.

    async def command(self, name: str, kind: ChangeKind, when: datetime | None = None) -> Lived:
        return await self._lived(self.office.life.command, name, kind, when=when)

    async def edit(self, name: str, edit: Edit) -> Lived:
        return await self._lived(self.office.life.edit, name, edit)

    async def reach(self, name: str) -> Lived:
        receipt = self.receipts[name]
        return await self._lived(self.office.life.apply_change, name, self.change, receipt)

    async def cancel(self, name: str) -> Lived:
        return await self._lived(self.office.life.cancel_change, name, self.change)

    async def add_capacity(self, name: str, time: timedelta) -> CapacityView:
        """One more activation, from now on."""
        now = self.office.clock.now
        new = Capacity("", 0, 1, us(now), us(now + time))
        done: list[CapacityView] = []
        license = self.licenses[name].id
        await self.office.capacities.add(self.office.request(done), self.account, license, new)
        return done[0]

    async def remove_capacity(self, name: str) -> None:
        license = self.licenses[name].id
        await self.office.capacities.remove(
            self._request(), self.account, license, self.capacity, NothingLent()
        )

    async def an_hour(self) -> None:
        """It passes, and the server does what is due."""
        self.office.clock.now = self.hour
        await self.office.changes.apply_due(lambda _: True)
        await self.office.capacities.settle(self.account, self.licenses["syn"].id)

    # Inside.

    def _request(self) -> Request[Any]:
        return self.office.request([])

    def _user(self, who: str) -> str:
        return names.USER.build(self.account, self.people[who])

    def _own(self, who: str) -> Whose:
        """Their own in a group, and that of the account elsewhere."""
        return Whose(self.account, asker=self.people[who])

    async def _lived(self, command: Any, name: str, *what: Any, when: Any = None) -> Lived:
        """By the publisher, for ann."""
        license, ann = self.licenses[name].id, self._user("ann")
        asked = Asked(self.account, license, Who.PUBLISHER, ann, "because", when)
        done: list[Lived] = []
        await command(self.office.request(done), asked, *what)
        return done[0]

    def _put_keys(self, unit: Unit, cards: dict[str, Card]) -> None:
        """All are plugged in, for all that happens here."""
        now = self.office.clock.wall()
        for id, card in cards.items():
            place = Location(
                self.account,
                id,
                LocationKind.KEY,
                id,
                create_time=now,
                card_id=uuid.uuid4().hex,
                key_algorithm=KEY_ALGORITHM_ECDSA_P256,
                public_key=card.point,
            )
            unit.places.add_location(place)
            digest = uuid.uuid4().bytes
            unit.places.add_enrollment(self.account, place.card_id, digest, now + 9 * HOUR, now)

    async def _begun(self, name: str) -> Deactivation:
        done: list[Deactivation] = []
        license, id = self.licenses[name].id, self.placed[name]
        await self.office.activations.begin_deactivation(
            self.office.request(done), self.account, license, id, Who.ADMIN
        )
        return done[0]

    def _receipt(self, card: Card, begun: Deactivation) -> Envelope:
        """What the key signs once the license is gone from it."""
        contents = begun.statement.contents
        assert contents is not None
        payload = Receipt(
            activation=begun.activation.name,
            generation=begun.activation.generation,
            location=begun.activation.location_name,
            nonce=begun.nonce,
            contents_version=KeyContents.FromString(contents.payload).version,
        ).SerializeToString()
        key = PublicKey(algorithm=KEY_ALGORITHM_ECDSA_P256, key=card.point)
        return receipts.sealed(payload, key, card.sign(receipts.challenge_of(payload)))
