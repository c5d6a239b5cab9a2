"""The cloud session and its licenses, on a real database, against a naive model; CLOUD-2, CLOUD-8, LIC-3 after every step."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from keypeg_server.domain.cloud_session import CloudMode, CloudState
from keypeg_server.domain.license import Activation
from keypeg_server.domain.location import LocationKind
from tests.server.service.account_model import Account, Owned
from tests.server.service.office import CLOUD, KEY
from tests.server.service.office_machine import ALL, OfficeMachine

DEVICES = st.sampled_from("abc")
PRODUCTS = ["daw", "eq"]
MOST = 6  # licenses of an account


class Machine(OfficeMachine):
    """One account of an office that all runs share."""

    model: Account

    def __init__(self) -> None:
        super().__init__()
        self.model = Account()

    @rule(device=DEVICES, keep=st.booleans())
    def open(self, device: str, keep: bool) -> None:
        work = self.office.open_cloud(device, account=self.account, keep_elsewhere=keep)
        self.same(work, self.model.open("", device, keep=keep))

    @rule(device=DEVICES)
    def close(self, device: str) -> None:
        self.same(self.office.close_cloud(device, account=self.account), self.model.close(""))

    @rule(automatic=st.booleans())
    def set_mode(self, automatic: bool) -> None:
        mode = CloudMode.AUTOMATIC if automatic else CloudMode.MANAGED
        work = self.office.set_mode(mode, account=self.account)
        self.same(work, self.model.set_mode("", automatic=automatic))

    @precondition(lambda self: len(self.licenses) < MOST)
    @rule(
        product=st.sampled_from(PRODUCTS),
        count=st.integers(1, 3),
        cloud_capable=st.sampled_from([True, True, False]),
    )
    def deposit(self, product: str, count: int, cloud_capable: bool) -> None:
        name = f"l{len(self.licenses)}"
        kinds = frozenset({CLOUD, KEY} if cloud_capable else {KEY})
        words = frozenset(kind.name.lower() for kind in kinds)
        wanted = self.model.deposit(Owned(name, product, count, words))
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
        self.same(work, self.model.put_in("", name))

    @precondition(lambda self: self.licenses)
    @rule(data=st.data())
    def activate_in_cloud(self, data: st.DataObject) -> None:
        name = self.some(data)
        work = self.office.activate(self.licenses[name], "cloud")
        self.same(work, self.model.activate(name, "cloud"))

    @precondition(lambda self: self.licenses)
    @rule(data=st.data())
    def take_out(self, data: st.DataObject) -> None:
        name = self.some(data)
        work = self.office.choose(remove=[self.licenses[name].id], account=self.account)
        self.same(work, self.model.take_out("", name))

    @precondition(lambda self: any("cloud" in one.places for one in self.model.owned))
    @rule(data=st.data())
    def delete_from_cloud(self, data: st.DataObject) -> None:
        there = [one.name for one in self.model.owned if "cloud" in one.places]
        name = data.draw(st.sampled_from(there))
        (activation,) = (
            one
            for one in self.activations()
            if one.location_kind is LocationKind.CLOUD and one.license == self.licenses[name].id
        )
        work = self.office.activations.delete_activation(
            self.office.request([]), self.account, activation.license, activation.id
        )
        self.same(work, self.model.take_out("", name))

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
        assert (session.holder.host_name if session.holder else "") == self.model.own.device
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


@pytest.mark.behaviour("CLOUD-2")
@pytest.mark.behaviour("CLOUD-8")
@pytest.mark.behaviour("LIC-3")
def test_whatever_is_done_the_server_and_the_model_agree() -> None:
    Machine.check(6, 15)


@pytest.mark.long
def test_whatever_is_done_the_server_and_the_model_agree_for_longer() -> None:
    Machine.check(100, 50)
