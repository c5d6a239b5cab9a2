"""Groups on a real database, against a naive model: members as a dimension; CLOUD-2 and CLOUD-8 for each, LIC-3 for all."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from keypeg import names
from keypeg_server.domain.account import AccountKind
from keypeg_server.domain.cloud_session import CloudMode, CloudState
from keypeg_server.domain.location import member_of
from keypeg_server.service.cloud_of import Whose
from tests.server.service.account_model import Account, Owned
from tests.server.service.office import CLOUD, KEY, PUBLISHER
from tests.server.service.office_machine import ALL, OfficeMachine, numbers

DEVICES = st.sampled_from("ab")
MOST = 5  # licenses of a group
CROWD = 4  # members


class Machine(OfficeMachine):
    """One group of an office that all runs share."""

    pace = timedelta(seconds=1)  # who came first is told by the time
    model: Account

    def __init__(self) -> None:
        super().__init__(AccountKind.GROUP)
        self.model = Account(group=True)
        for _ in range(2):
            self.join()

    def one(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.model.people)))

    @precondition(lambda self: len(self.model.people) < CROWD)
    @rule()
    def join(self) -> None:
        caller = self.run(self.office.user(f"m{next(numbers)}", self.account))
        _, member = names.USER.parse(caller.user)
        self.model.join(member)

    @precondition(lambda self: len(self.model.people) > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        member = self.one(data)
        work = self.office.accounts.delete_user(
            self.office.request([]), PUBLISHER, self.account, member
        )
        self.same(work, self.model.remove(member))

    @rule(data=st.data(), device=DEVICES)
    def open(self, data: st.DataObject, device: str) -> None:
        member = self.one(data)
        work = self.office.open_cloud(device, account=self.account, member=member)
        self.same(work, self.model.open(member, device))

    @rule(data=st.data(), device=DEVICES)
    def close(self, data: st.DataObject, device: str) -> None:
        member = self.one(data)
        work = self.office.close_cloud(device, account=self.account, member=member)
        self.same(work, self.model.close(member))

    @rule(data=st.data(), automatic=st.booleans())
    def set_mode(self, data: st.DataObject, automatic: bool) -> None:
        member = self.one(data)
        mode = CloudMode.AUTOMATIC if automatic else CloudMode.MANAGED
        work = self.office.set_mode(mode, account=self.account, member=member)
        self.same(work, self.model.set_mode(member, automatic=automatic))

    @rule(data=st.data(), suspend=st.booleans())
    def end(self, data: st.DataObject, suspend: bool) -> None:
        member = self.one(data)
        work = self.office.groups.end(
            self.office.request([]), Whose(self.account, member), "why", suspend=suspend
        )
        self.same(work, self.model.end(member, suspend=suspend))

    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        member = self.one(data)
        work = self.office.groups.resume(self.office.request([]), Whose(self.account, member))
        self.same(work, self.model.resume(member))

    @precondition(lambda self: len(self.licenses) < MOST)
    @rule(
        product=st.sampled_from(["daw", "eq"]),
        count=st.integers(1, 3),
        cloud_capable=st.sampled_from([True, True, False]),
    )
    def deposit(self, product: str, count: int, cloud_capable: bool) -> None:
        name = f"l{len(self.licenses)}"
        kinds = frozenset({CLOUD, KEY} if cloud_capable else {KEY})
        words = frozenset(kind.name.lower() for kind in kinds)
        wanted = self.model.deposit(Owned(name, product, count, words))
        self.office.clock.now += timedelta(seconds=1)
        work = self.office.license(
            f"publishers/acme/products/{product}",
            account=self.account,
            activation_count=count,
            allowed_locations=kinds,
        )
        self.licenses[name] = self.same(work, wanted)

    @precondition(lambda self: self.licenses)
    @rule(data=st.data(), put=st.booleans())
    def choose(self, data: st.DataObject, put: bool) -> None:
        member, name = self.one(data), self.some(data)
        chosen = {"add" if put else "remove": [self.licenses[name].id]}
        work = self.office.choose(account=self.account, member=member, **chosen)
        model = self.model.put_in if put else self.model.take_out
        self.same(work, model(member, name))

    @invariant()
    def every_member_sees_what_the_model_says(self) -> None:
        names_of = {license.name: name for name, license in self.licenses.items()}
        for member in self.model.people:
            view = self.run(self.office.cloud_of(self.account, member))
            session = view.session
            assert (session.state is CloudState.OPEN) == (session.holder is not None)
            there = sorted(names_of[one.rsplit("/activations/", 1)[0]] for one in view.activations)
            device = session.holder.host_name if session.holder else "closed"
            shown = f"{device} {session.mode.name.lower()}: {' '.join(there) or '-'}"
            assert shown == self.model.shown(member)

    @invariant()
    def no_license_is_used_too_often_or_left_free(self) -> None:
        """LIC-3 for the group, CLOUD-8 for each member, told by the rows alone."""
        rows = self.run(self.office.activations.list_activations(self.account, None, ALL))
        open_automatic = set()
        for member in self.model.people:
            session = self.run(self.office.cloud_of(self.account, member)).session
            if (session.state, session.mode) == (CloudState.OPEN, CloudMode.AUTOMATIC):
                open_automatic.add(member)
        holders = {member_of(one.location) for one in rows} - {""}
        assert holders <= set(self.model.people), "who is gone has nothing"
        for license in self.licenses.values():
            own = [one for one in rows if one.license == license.id]
            assert len(own) <= license.activation_count
            assert len({one.location for one in own}) == len(own)
            copies = {one.id for one in self.licenses.values() if one.product == license.product}
            for member in open_automatic if CLOUD in license.allowed_locations else ():
                theirs = [
                    one
                    for one in rows
                    if one.license in copies and member_of(one.location) == member
                ]
                assert len(theirs) <= 1, "of copies, one"
                free = len(own) < license.activation_count
                assert not free or theirs, "nothing free beside an open cloud"


@pytest.mark.behaviour("CLOUD-19")
@pytest.mark.behaviour("LIC-3")
def test_whatever_members_do_the_server_and_the_model_agree() -> None:
    Machine.check(5, 15)


@pytest.mark.long
def test_whatever_members_do_the_server_and_the_model_agree_for_longer() -> None:
    Machine.check(10, 30)
