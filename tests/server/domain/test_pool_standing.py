"""How rules see a holder: the same as held against every entry one by one."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from keypeg_server.domain.lease import Holder
from keypeg_server.domain.pool_rules import (
    EVERY,
    Borrowing,
    Deny,
    Group,
    Kind,
    Limit,
    PoolRules,
    Reservation,
    Who,
)
from keypeg_server.domain.pool_standing import Register

USERS = ("mia", "tom", "")
HOSTS = ("atlas", "HELIOS", "*", "")
NETWORKS = (
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3/32",
    "0.0.0.0/0",
    "fd00::/8",
    "fe80::/10",
    "::/0",
)
ADDRESSES = ("10.1.2.3", "10.2.0.1", "::ffff:10.1.2.3", "fd00::1", "fe80::1%eth0", "unix:", "")

MEMBERS = st.one_of(
    st.builds(Who, st.just(Kind.USER), st.sampled_from(USERS[:2])),
    st.builds(Who, st.just(Kind.HOST), st.sampled_from(("Atlas", "helios", "laptop-1"))),
    st.builds(Who, st.just(Kind.NETWORK), st.sampled_from(NETWORKS)),
)
WHOS = MEMBERS | st.builds(Who, st.just(Kind.GROUP), st.sampled_from(("cad", "lab", "unknown")))
EACH = WHOS | st.builds(Who, st.sampled_from((Kind.USER, Kind.HOST, Kind.NETWORK)), st.just(EVERY))
HOLDERS = st.builds(
    Holder,
    session=st.just("s"),
    user=st.sampled_from(USERS),
    device=st.sampled_from(("laptop-1", "atlas", "")),
    host_name=st.sampled_from(HOSTS),
    app=st.just("cad"),
    process_id=st.just(0),
    address=st.sampled_from(ADDRESSES),
)
GROUPS = st.lists(MEMBERS, max_size=4, unique=True).map(tuple)
RULES = st.builds(
    lambda denied, allowed, reservations, limits, lent, cad, lab: PoolRules(
        denied=tuple(Deny(one) for one in denied),
        allowed=tuple(allowed),
        reservations=tuple(Reservation(one, 1) for one in reservations),
        limits=tuple(Limit(one, 1) for one in limits),
        borrowing=Borrowing(longest_us=1, allowed=tuple(lent)),
        groups=(Group("cad", cad), Group("lab", lab)),
    ),
    *(st.lists(whos, max_size=4, unique=True) for whos in (WHOS, WHOS, WHOS, EACH, WHOS)),
    GROUPS,
    GROUPS,
)


def names(rules: PoolRules, who: Who, holder: Holder) -> bool:
    """Whether `who` names the holder, as docs say it."""
    if who.kind is Kind.GROUP:
        members = [one.members for one in rules.groups if one.name == who.name]
        return any(names(rules, one, holder) for group in members for one in group)
    own = {Kind.USER: holder.user, Kind.HOST: holder.device, Kind.NETWORK: holder.address}
    if who.name == EVERY:
        return bool(own[who.kind])
    if who.kind is Kind.USER:
        return who.name == holder.user
    if who.kind is Kind.HOST:
        return who.name.lower() in (holder.device, holder.host_name.lower())
    try:
        address = ip_address(holder.address)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address) in ip_network(who.name)


@given(rules=RULES, holder=HOLDERS)
def test_a_standing_is_what_every_entry_held_against_the_holder_says(
    rules: PoolRules, holder: Holder
) -> None:
    def named(who: Who) -> bool:
        return names(rules, who, holder)

    standing = Register(rules).standing(holder)
    assert standing.denied == next((one for one in rules.denied if named(one.who)), None)
    assert standing.allowed == (not rules.allowed or any(map(named, rules.allowed)))
    reserved = [index for index, one in enumerate(rules.reservations) if named(one.who)]
    assert standing.reservation == next(iter(reserved), None)
    limits = [index for index, one in enumerate(rules.limits) if named(one.who)]
    assert [index for index, _ in standing.limits] == limits
    lent = rules.borrowing.allowed
    assert standing.borrows == (not lent or any(map(named, lent)))


def test_a_limit_of_each_says_whom_it_counts() -> None:
    each = tuple(Limit(Who(kind, EVERY), 1) for kind in (Kind.USER, Kind.HOST, Kind.NETWORK))
    holder = Holder("s", "mia", "laptop-1", "Atlas", "cad", 0, "10.1.2.3")
    standing = Register(PoolRules(limits=each)).standing(holder)
    assert standing.limits == ((0, "mia"), (1, "laptop-1"), (2, "10.1.2.3"))
