"""Denials of a real server say what helps: each of two dozen is followed by its own first remedy, and then succeeds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from keypeg import names
from keypeg.calls import translate
from keypeg.errors import KeypegError
from keypeg.v1 import (
    account_service_pb2,
    explanation_pb2,
    product_pb2,
    seat_pb2,
    seat_service_pb2,
    session_pb2,
)
from keypeg.v1 import pool_rules_pb2 as pb
from lab.world import SITE, Api, World, request_id
from tests.system.people import Customer

Namer = Callable[[str], str]


def who(kind: str, name: str) -> pb.PoolSubject:
    return pb.PoolSubject(**{kind: name})


def set_rules(
    api: Api, pool: str, rules: pb.PoolRules | None = None, *, dry_run: bool = False
) -> seat_service_pb2.UpdatePoolRulesResponse:
    return api.seats.UpdatePoolRules(
        seat_service_pb2.UpdatePoolRulesRequest(
            name=pool, rules=rules or pb.PoolRules(), dry_run=dry_run
        )
    )


@dataclass
class Asking:
    """An acquire in words that a remedy can change."""

    api: Api
    pool: str
    units: int = 1
    features: dict[str, int] = field(default_factory=dict)
    host: str = "unary"
    process: int = 1

    def acquire(self) -> seat_pb2.Lease:
        return self.api.seats.AcquireSeat(
            seat_service_pb2.AcquireSeatRequest(request_id=request_id(), **self._fields())
        ).lease

    def explain(self, *, wait: bool = False) -> seat_service_pb2.ExplainResponse:
        return self.api.seats.Explain(seat_service_pb2.ExplainRequest(wait=wait, **self._fields()))

    def _fields(self) -> dict[str, Any]:
        return {
            "pool": self.pool,
            "units": self.units,
            "features": [
                product_pb2.FeatureUnits(feature=name, units=count)
                for name, count in self.features.items()
            ],
            "device": session_pb2.Device(id=f"device-{self.host}", host_name=self.host),
            "app": session_pb2.App(name="unary", process_id=self.process),
        }


def release(api: Api, lease: seat_pb2.Lease) -> None:
    api.seats.ReleaseSeat(
        seat_service_pb2.ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    )


def me(api: Api) -> str:
    return api.accounts.GetCaller(account_service_pb2.GetCallerRequest()).user.name


def denial(asking: Asking) -> KeypegError:
    with pytest.raises(grpc.RpcError) as caught:
        asking.acquire()
    return translate(caught.value)


class Helper:
    """Follows remedies: knows how to do what each action says, to the resource that it names."""

    def __init__(self, customer: Customer, world: World) -> None:
        self.customer = customer
        self.world = world

    def follow(self, asking: Asking, error: KeypegError) -> None:
        explanation = error.explanation
        assert explanation is not None, "the refusal explains nothing"
        first = explanation.remedies[0]
        resource = first.resource
        match first.action:
            case "release":
                (lease,) = [
                    one
                    for one in self.world.leases(self.customer.admin, names.parent(resource))
                    if one.name == resource
                ]
                # Whoever holds it is asked to give it back.
                holders = [self.customer.member, self.customer.admin]
                holder = next(api for api in holders if me(api) == lease.user)
                release(holder, lease)
            case "wait":
                self._wait(asking, resource)
            case "ask_fewer":
                asking.units = min(asking.units, int(explanation.metadata["capacity"]))
                what = explanation.metadata.get("what", "")
                if what in asking.features:
                    asking.features[what] = int(explanation.metadata["capacity"])
                    asking.units = 1
            case "choose_feature":
                asking.features = {explanation.metadata["features"].split(", ")[0]: 1}
            case "change_rules":
                self._change(explanation, resource)
            case "try_later":
                self._wait(asking, resource)
            case other:
                pytest.fail(f"nobody knows how to do {other!r}")

    def _wait(self, asking: Asking, pool: str) -> None:
        """Wait until those in the way have gone: here they go soon, in their own time."""
        assert asking.pool == pool
        for lease in self.world.leases(self.customer.admin, pool):
            for api in (self.customer.member, self.customer.admin):
                if me(api) == lease.user and not lease.session:
                    release(api, lease)
        deadline = time.monotonic() + 30
        while asking.explain().would != seat_service_pb2.WOULD_GRANTED:
            assert time.monotonic() < deadline, "waiting does not help"

    def _change(self, explanation: explanation_pb2.Explanation, pool: str) -> None:
        admin = self.customer.admin
        rules = admin.seats.GetPoolRules(seat_service_pb2.GetPoolRulesRequest(name=pool)).rules
        rule, named = explanation.metadata["rule"], explanation.metadata.get("who", "")
        kind, _, name = named.partition(" ")
        if rule == "deny":
            kept = [one for one in rules.denied if one.subject != who(kind, name)]
            assert len(kept) < len(rules.denied), named
            del rules.denied[:]
            rules.denied.extend(kept)
        elif rule == "allow":
            rules.allowed.append(who("user", me(self.customer.member)))
        elif rule == "limit":
            for limit in rules.limits:
                if limit.subject == who(kind, name):
                    limit.units += 10
        set_rules(admin, pool, rules)


Setup = Callable[["Scene"], Asking]


@dataclass
class Scene:
    """A pool of three seats with a feature of two, and who uses it."""

    customer: Customer
    world: World
    pool: str

    def by(self, api: Api, **how: Any) -> Asking:
        return Asking(api, self.pool, **how)

    @property
    def mine(self) -> Asking:
        return self.by(self.customer.member)

    def held(self, units: int, *, own: bool = False, **how: Any) -> seat_pb2.Lease:
        api = self.customer.member if own else self.customer.admin
        return self.by(api, units=units, **how).acquire()

    def ruled(self, **rules: Any) -> None:
        set_rules(self.world.publisher, self.pool, pb.PoolRules(**rules))

    @property
    def user(self) -> str:
        return me(self.customer.member)


def _all_held(s: Scene) -> Asking:
    s.held(3)
    return s.mine


def _too_few(s: Scene) -> Asking:
    s.held(2)
    return s.by(s.customer.member, units=2)


def _feature_held(s: Scene) -> Asking:
    s.held(1, features={"mesh": 2})
    return s.by(s.customer.member, features={"mesh": 1})


def _too_many(s: Scene) -> Asking:
    return s.by(s.customer.member, units=4)


def _too_many_of_a_feature(s: Scene) -> Asking:
    return s.by(s.customer.member, features={"mesh": 3})


def _no_such_feature(s: Scene) -> Asking:
    return s.by(s.customer.member, features={"solver": 1})


def _denied(kind: str, name: Callable[[Scene], str], **groups: Any) -> Setup:
    def setup(s: Scene) -> Asking:
        s.ruled(
            denied=[pb.PoolDenial(subject=who(kind, name(s)))],
            groups=[pb.PoolGroup(name="cad", members=[who("user", s.user)])],
        )
        return s.mine

    return setup


def _not_allowed(kind: str, name: str) -> Setup:
    def setup(s: Scene) -> Asking:
        s.ruled(allowed=[who(kind, name)], groups=[pb.PoolGroup(name="cad")])
        return s.mine

    return setup


def _limited(kind: str, name: Callable[[Scene], str], units: int = 1) -> Setup:
    def setup(s: Scene) -> Asking:
        s.ruled(
            limits=[pb.PoolLimit(subject=who(kind, name(s)), units=units)],
            groups=[pb.PoolGroup(name="cad", members=[who("user", s.user)])],
        )
        if units:
            s.held(1, own=True)
        return s.mine

    return setup


def _reserved(s: Scene) -> Asking:
    admin = me(s.customer.admin)
    s.ruled(reservations=[pb.PoolReservation(subject=who("user", admin), units=2)])
    s.held(1, own=True)
    return s.mine


def _reserved_for_good(s: Scene) -> Asking:
    admin = me(s.customer.admin)
    s.ruled(reservations=[pb.PoolReservation(subject=who("user", admin), units=2)])
    return s.by(s.customer.member, units=2)


def _overdrawn(s: Scene) -> Asking:
    s.ruled(overdraft_units=1)
    s.held(3)
    s.held(1)
    return s.mine


def _lingering(s: Scene) -> Asking:
    rules = pb.PoolRules()
    rules.linger.FromSeconds(2)
    set_rules(s.customer.admin, s.pool, rules)
    release(s.customer.admin, s.held(3))
    return s.mine


def _many_users(s: Scene) -> Asking:
    s.ruled(
        counting=pb.SEAT_COUNTING_USER, limits=[pb.PoolLimit(subject=who("host", "*"), units=1)]
    )
    s.held(1, own=True)
    return s.by(s.customer.member, units=2)


DENIALS: list[tuple[str, Setup, str, str]] = [
    ("all held", _all_held, "capacity", "wait"),
    ("too few free", _too_few, "capacity", "wait"),
    ("feature held", _feature_held, "feature_capacity", "wait"),
    ("more than there are", _too_many, "too_small", "ask_fewer"),
    ("more of a feature", _too_many_of_a_feature, "too_small", "ask_fewer"),
    ("no such feature", _no_such_feature, "feature_unknown", "choose_feature"),
    ("user denied", _denied("user", lambda s: s.user), "deny", "change_rules"),
    ("group denied", _denied("group", lambda s: "cad"), "deny", "change_rules"),
    ("host denied", _denied("host", lambda s: "unary"), "deny", "change_rules"),
    ("network denied", _denied("network", lambda s: "127.0.0.0/8"), "deny", "change_rules"),
    ("group not allowed", _not_allowed("group", "cad"), "allow", "change_rules"),
    ("host not allowed", _not_allowed("host", "atlas"), "allow", "change_rules"),
    ("network not allowed", _not_allowed("network", "10.0.0.0/8"), "allow", "change_rules"),
    ("user limited", _limited("user", lambda s: s.user), "limit", "release"),
    ("each user limited", _limited("user", lambda s: "*"), "limit", "release"),
    ("group limited", _limited("group", lambda s: "cad"), "limit", "release"),
    ("host limited", _limited("host", lambda s: "unary"), "limit", "release"),
    ("network limited", _limited("network", lambda s: "127.0.0.1/32"), "limit", "release"),
    ("limited to none", _limited("user", lambda s: s.user, 0), "limit", "change_rules"),
    ("reserved for another", _reserved, "reserved", "wait"),
    ("reserved for good", _reserved_for_good, "too_small", "ask_fewer"),
    ("overdraft used", _overdrawn, "capacity", "wait"),
    ("lingering for another", _lingering, "capacity", "wait"),
    ("shared seat at a limit", _many_users, "limit", "change_rules"),
]


@pytest.fixture
def scene(world: World, customer: Customer, new_name: Namer) -> Scene:
    product = world.product(new_name("solver"), locations=[SITE], features=["mesh"])
    return Scene(customer, world, world.seats(customer.account, product, 3, features={"mesh": 2}))


@pytest.mark.behaviour("SEAT-4")
@pytest.mark.parametrize(
    ("setup", "rule", "action"), [d[1:] for d in DENIALS], ids=[d[0] for d in DENIALS]
)
def test_a_denial_says_what_helps_and_that_does(
    world: World, customer: Customer, scene: Scene, setup: Setup, rule: str, action: str
) -> None:
    asking = setup(scene)
    dry = asking.explain()
    error = denial(asking)
    explanation = error.explanation
    assert explanation is not None
    assert dry.would == seat_service_pb2.WOULD_DENIED
    assert dry.explanation.metadata["rule"] == explanation.metadata["rule"] == rule
    assert explanation.metadata["pool"] == scene.pool
    assert explanation.sentence.endswith(".")
    assert explanation.remedies[0].action == action
    Helper(customer, world).follow(asking, error)
    assert asking.acquire().units == asking.units
