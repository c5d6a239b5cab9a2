"""What there is to see of an account of the table of commands, in the words of the model.

Promises: `clouds` and `facts` are the model's when all is as in the model; `broken` holds the rows of the database
against CLOUD-2, CLOUD-8 and LIC-3, whatever the model says.

Leaves to others: the account (cloud_stage.py), the outcomes (test_cloud_pairs.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from keypeg_server.domain.account import AccountKind
from keypeg_server.domain.capacity import activations_at, us
from keypeg_server.domain.cloud_session import CloudMode, CloudSession, CloudState
from keypeg_server.domain.license import Activation, License, LicenseState
from keypeg_server.domain.location import LocationKind
from keypeg_server.service.store import Page, Unit
from tests.server.service.cloud_stage import Stage

ALL: Final = Page("", 100)


@dataclass(frozen=True)
class Sight:
    """All of an account, as its rows are."""

    names: dict[str, str]  # of licenses, by id
    sessions: dict[str, CloudSession]  # by who in a group, else under no name
    suspended: tuple[str, ...]
    gone: tuple[str, ...]
    licenses: Sequence[License]
    activations: Sequence[Activation]
    lost: tuple[str, ...]
    now: datetime

    @classmethod
    async def of(cls, stage: Stage) -> Sight:
        return await stage.office.store.read(lambda unit: cls._read(stage, unit))

    @classmethod
    def _read(cls, stage: Stage, unit: Unit) -> Sight:
        account = unit.accounts.account(stage.account)
        assert account is not None
        users = {user.id for user in unit.accounts.list_users(stage.account, ALL)}
        there = [who for who, id in stage.people.items() if id in users]
        in_group = account.kind is AccountKind.GROUP
        sessions = {
            who: unit.places.cloud_session(stage.account, stage.people.get(who, ""))
            for who in (there if in_group else [""])
        }
        places = unit.places.list_locations(stage.account, ALL)
        licenses = unit.licenses.list_licenses(stage.account)
        return cls(
            _called(licenses),
            sessions,
            tuple(who for who, one in sessions.items() if one.suspended),
            tuple(set(stage.people) - set(there)),
            licenses,
            unit.licenses.list_activations(stage.account),
            tuple(one.id for one in places if one.lost_time),
            stage.office.clock.wall(),
        )

    def clouds(self) -> list[str]:
        """Cloud sessions with what is in the cloud."""
        lines = []
        for who, session in self.sessions.items():
            there = [self.names[one.license] for one in self._in(session)]
            device = session.holder.host_name if session.holder else "closed"
            mode = session.mode.name.lower()
            lines.append(f"{who} {device} {mode}: {' '.join(sorted(there)) or '-'}".strip())
        return lines

    def facts(self) -> set[str]:
        """What is anywhere but in clouds, and of licenses what is not as they are sold."""
        said = {f"{who} suspended" for who in self.suspended}
        said |= {f"{who} gone" for who in self.gone}
        said |= {f"{key} lost" for key in self.lost}
        said |= {self.names[one.id] for one in self.licenses}
        for one in self.activations:
            if one.location_kind is not LocationKind.CLOUD:
                said.add(f"{self.names[one.license]} on {one.location}")
        for license in self.licenses:
            more = activations_at(license.capacities, us(self.now))
            said |= {
                f"{self.names[license.id]} {what}"
                for what, is_so in (
                    (license.state.name.lower(), license.state is not LicenseState.ACTIVE),
                    ("waits", license.waits_for),
                    (f"x{license.activation_count}", license.activation_count > 1),
                    (f"+{more}", more),
                    ("on keys only", LocationKind.CLOUD not in license.allowed_locations),
                )
                if is_so
            }
        return said

    def broken(self) -> list[str]:
        """What is not as CLOUD-2, LIC-3 and CLOUD-8 say."""
        clouds = {session.place for session in self.sessions.values()}
        wrong = [
            f"{session.name} is {session.state.name} and held by {session.holder}"
            for session in self.sessions.values()
            if (session.state is CloudState.OPEN) != (session.holder is not None)
        ]
        for one in self.activations:
            if one.location_kind is LocationKind.CLOUD and one.location not in clouds:
                wrong.append(f"{one.name} is in a cloud of nobody")
        for license in self.licenses:
            name = self.names[license.id]
            own = [one for one in self.activations if one.license == license.id]
            most = license.activation_count + activations_at(license.capacities, us(self.now))
            if len(own) > most:
                wrong.append(f"{name} is used {len(own)} times of {most}")
            if len({one.location for one in own}) < len(own):
                wrong.append(f"{name} is twice at one place")
            usable = license.state_at(self.now) is LicenseState.ACTIVE and not license.waits_for
            if usable and len(own) < most and LocationKind.CLOUD in license.allowed_locations:
                wrong += [f"{name} is free beside {cloud}" for cloud in self._wanting(license)]
        return wrong

    def _wanting(self, free: License) -> list[str]:
        """Open, automatic clouds that have no copy of a license."""
        copies = {one.id for one in self.licenses if one.product == free.product}
        return [
            session.name
            for session in self.sessions.values()
            if (session.state, session.mode) == (CloudState.OPEN, CloudMode.AUTOMATIC)
            and not copies & {one.license for one in self._in(session)}
        ]

    def _in(self, session: CloudSession) -> list[Activation]:
        return [one for one in self.activations if one.location == session.place]


def _called(licenses: Iterable[License]) -> dict[str, str]:
    """Names by id: that of the product, and of its copies in their order `daw`, `daw2`."""
    products: Counter[str] = Counter()
    called = {}
    for license in licenses:
        name = license.product.rpartition("/")[2]
        products[name] += 1
        called[license.id] = name if products[name] == 1 else f"{name}{products[name]}"
    return called
