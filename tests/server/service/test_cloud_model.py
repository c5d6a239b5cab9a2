"""The cloud session and its licenses, on a real database, against a naive model; CLOUD-2, CLOUD-8, LIC-3 after every step."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from keypeg.errors import KeypegError
from keypeg_server.domain.cloud_session import CloudMode, CloudState
from keypeg_server.domain.license import Activation, License
from keypeg_server.domain.location import LocationKind
from keypeg_server.service.activations import ActivationView
from keypeg_server.service.store import Page
from tests.server.service.cloud_model import Model, Owned
from tests.server.service.office import CLOUD, KEY, Office

ALL = Page("", 1_000)
DEVICES = st.sampled_from("abc")
KEYS = st.sampled_from(["k1", "k2"])
PRODUCTS = ["daw", "eq"]
MOST = 6  # licenses of an account

accounts = itertools.count(1)


class Machine(RuleBasedStateMachine):
    """One account of an office that all runs share."""

    office: ClassVar[Office]
    loop: ClassVar[asyncio.AbstractEventLoop]

    def __init__(self) -> None:
        super().__init__()
        self.account = f"a{next(accounts)}"
        self.model = Model()
        self.licenses: dict[str, License] = {}
        self.on_keys: dict[tuple[str, str], ActivationView] = {}
        self.run(self.office.account(self.account))
        for key in ("k1", "k2"):
            self.run(self.office.key_place(key, account=self.account))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def same(self, work: Coroutine[Any, Any, Any], wanted: str) -> Any:
        """Do it, and compare how it ended with the model."""
        try:
            result, ended = self.run(work), "ok"
        except KeypegError as error:
            result, ended = None, error.reason.name
        assert ended == wanted
        return result

    # What there may be to do it with.

    def some(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.licenses)))

    @rule(device=DEVICES, keep=st.booleans())
    def open(self, device: str, keep: bool) -> None:
        work = self.office.open_cloud(device, account=self.account, keep_elsewhere=keep)
        self.same(work, self.model.open(device, keep=keep))

    @rule(device=DEVICES)
    def close(self, device: str) -> None:
        self.same(self.office.close_cloud(device, account=self.account), self.model.close())

    @rule(automatic=st.booleans())
    def set_mode(self, automatic: bool) -> None:
        mode = CloudMode.AUTOMATIC if automatic else CloudMode.MANAGED
        work = self.office.set_mode(mode, account=self.account)
        self.same(work, self.model.set_mode(automatic=automatic))

    @precondition(lambda self: len(self.licenses) < MOST)
    @rule(
        product=st.sampled_from(PRODUCTS),
        count=st.integers(1, 3),
        cloud_capable=st.sampled_from([True, True, False]),
    )
    def deposit(self, product: str, count: int, cloud_capable: bool) -> None:
        name = f"l{len(self.licenses)}"
        kinds = frozenset({CLOUD, KEY}) if cloud_capable else frozenset({KEY})
        wanted = self.model.deposit(Owned(name, product, count, cloud_capable))
        work = self.office.license(
            f"publishers/acme/products/{product}",
            account=self.account,
            activation_count=count,
            allowed_locations=kinds,
        )
        self.licenses[name] = self.same(work, wanted)

    @precondition(lambda self: self.licenses)
    @rule(data=st.data())
    def put_in(self, data: st.DataObject) -> None:
        name = self.some(data)
        work = self.office.choose(add=[self.licenses[name].id], account=self.account)
        self.same(work, self.model.put_in(name))

    @precondition(lambda self: self.licenses)
    @rule(data=st.data())
    def activate_in_cloud(self, data: st.DataObject) -> None:
        name = self.some(data)
        work = self.office.activate(self.licenses[name], "cloud")
        self.same(work, self.model.activate_in_cloud(name))

    @precondition(lambda self: self.licenses)
    @rule(data=st.data())
    def take_out(self, data: st.DataObject) -> None:
        name = self.some(data)
        work = self.office.choose(remove=[self.licenses[name].id], account=self.account)
        self.same(work, self.model.take_out(name))

    @precondition(lambda self: any(one.in_cloud for one in self.model.owned))
    @rule(data=st.data())
    def delete_from_cloud(self, data: st.DataObject) -> None:
        there = [one.name for one in self.model.owned if one.in_cloud]
        name = data.draw(st.sampled_from(there))
        (activation,) = (
            one
            for one in self.activations()
            if one.location_kind is LocationKind.CLOUD and one.license == self.licenses[name].id
        )
        work = self.office.activations.delete_activation(
            self.office.request([]), self.account, activation.license, activation.id
        )
        self.same(work, self.model.take_out(name))

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

    def activations(self) -> list[Activation]:
        found = self.run(self.office.activations.list_activations(self.account, None, ALL))
        assert isinstance(found, list)
        return found

    @invariant()
    def one_device_has_it(self) -> None:
        """CLOUD-2, and all that can be seen is as in the model."""
        view = self.run(self.office.cloud_of(self.account))
        session = view.session
        assert (session.state is CloudState.OPEN) == (session.holder is not None)
        assert (session.holder.host_name if session.holder else "") == self.model.device
        names = {license.name: name for name, license in self.licenses.items()}
        there = sorted(names[one.rsplit("/activations/", 1)[0]] for one in view.activations)
        mode = session.mode.name.lower()
        device = session.holder.host_name if session.holder else "closed"
        assert f"{device} {mode}: {' '.join(there) or '-'}" == self.model.shown()

    @invariant()
    def no_license_is_used_too_often_or_left_free(self) -> None:
        """LIC-3 and CLOUD-8, told by the rows alone."""
        rows = self.activations()
        session = self.run(self.office.cloud_of(self.account)).session
        automatic = (session.state, session.mode) == (CloudState.OPEN, CloudMode.AUTOMATIC)
        in_cloud = {one.license for one in rows if one.location_kind is LocationKind.CLOUD}
        for license in self.licenses.values():
            own = [one for one in rows if one.license == license.id]
            assert len(own) <= license.activation_count
            assert len({one.location for one in own}) == len(own)
            if automatic and CLOUD in license.allowed_locations:
                copies = {
                    one.id for one in self.licenses.values() if one.product == license.product
                }
                assert len(copies & in_cloud) <= 1, "of copies, one"
                free = len(own) < license.activation_count
                assert not free or copies & in_cloud, "nothing free beside the open cloud"


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


@pytest.mark.behaviour("CLOUD-2")
@pytest.mark.behaviour("CLOUD-8")
@pytest.mark.behaviour("LIC-3")
def test_whatever_is_done_the_server_and_the_model_agree() -> None:
    check(6, 15)


@pytest.mark.long
def test_whatever_is_done_the_server_and_the_model_agree_for_longer() -> None:
    check(100, 50)
