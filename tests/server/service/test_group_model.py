"""Groups on a real database, against a naive model: members as a dimension; CLOUD-2 and CLOUD-8 for each, LIC-3 for all."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from keypeg import names
from keypeg.errors import KeypegError
from keypeg_server.domain.account import AccountKind
from keypeg_server.domain.cloud_session import CloudMode, CloudState
from keypeg_server.domain.license import License
from keypeg_server.domain.location import member_of
from keypeg_server.service.activations import ActivationView
from keypeg_server.service.cloud_of import Whose
from keypeg_server.service.store import Page
from tests.server.service.group_model import Group, Person, Shared
from tests.server.service.office import CLOUD, KEY, PUBLISHER, Office

ALL = Page("", 1_000)
DEVICES = st.sampled_from("ab")
KEYS = st.sampled_from(["k1", "k2"])
MOST = 5  # licenses of a group
CROWD = 4  # members

groups = itertools.count(1)


class Machine(RuleBasedStateMachine):
    """One group of an office that all runs share."""

    office: ClassVar[Office]
    loop: ClassVar[asyncio.AbstractEventLoop]

    def __init__(self) -> None:
        super().__init__()
        self.account = f"g{next(groups)}"
        self.model = Group()
        self.licenses: dict[str, License] = {}
        self.on_keys: dict[tuple[str, str], ActivationView] = {}
        self.run(self.office.account(self.account, AccountKind.GROUP))
        for key in ("k1", "k2"):
            self.run(self.office.key_place(key, account=self.account))
        for _ in range(2):
            self.join()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def same(self, work: Coroutine[Any, Any, Any], wanted: str) -> Any:
        """Do it, and compare how it ended with the model."""
        self.office.clock.now += timedelta(seconds=1)  # who came first is told by the time
        try:
            result, ended = self.run(work), "ok"
        except KeypegError as error:
            result, ended = None, error.reason.name
        assert ended == wanted
        return result

    def one(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.model.people)))

    def some(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.licenses)))

    @precondition(lambda self: len(self.model.people) < CROWD)
    @rule()
    def join(self) -> None:
        caller = self.run(self.office.user(f"m{next(groups)}", self.account))
        _, member = names.USER.parse(caller.user)
        self.model.people[member] = Person(member)

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
        wanted = self.model.deposit(Shared(name, product, count, cloud_capable))
        self.office.clock.now += timedelta(seconds=1)
        work = self.office.license(
            f"publishers/acme/products/{product}",
            account=self.account,
            activation_count=count,
            allowed_locations=frozenset({CLOUD, KEY} if cloud_capable else {KEY}),
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

    @precondition(lambda self: self.licenses)
    @rule(data=st.data(), key=KEYS)
    def put_on_key(self, data: st.DataObject, key: str) -> None:
        name = self.some(data)
        wanted = self.model.put_on_key(name, key)
        view = self.same(self.office.activate(self.licenses[name], key), wanted)
        if view is not None:
            self.on_keys[name, key] = view

    @precondition(lambda self: self.on_keys)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        name, key = data.draw(st.sampled_from(sorted(self.on_keys)))
        wanted = self.model.give_back(name, key)
        self.same(self.office.give_back(self.on_keys.pop((name, key))), wanted)

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


def check(examples: int, steps: int) -> None:
    with TemporaryDirectory() as folder:
        loop = asyncio.new_event_loop()
        office = Office(Path(folder))
        try:
            loop.run_until_complete(office.furnish())
            loop.run_until_complete(office.product("eq"))
            Machine.office, Machine.loop = office, loop
            case = Machine.TestCase
            case.settings = settings(
                max_examples=examples, stateful_step_count=steps, deadline=None
            )
            case().runTest()
        finally:
            office.close()
            loop.close()


@pytest.mark.behaviour("CLOUD-19")
@pytest.mark.behaviour("LIC-3")
def test_whatever_members_do_the_server_and_the_model_agree() -> None:
    check(5, 15)


@pytest.mark.long
def test_whatever_members_do_the_server_and_the_model_agree_for_longer() -> None:
    check(10, 30)
