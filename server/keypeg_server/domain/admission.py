"""Which license lets an app run, or what would help.

Promises: pure. The kinds of location are tried in the app's order, else cloud, then site; within a kind the
oldest license that serves (one that is about to end goes last), and of pools the one with the most free seats. Who holds seats stays with their
license as long as it serves: nobody runs by one license on the seats of another. When nothing serves, the
refusal is that of the license that was nearest to serving, with what would help as data.

Leaves to others: finding what the account holds, and signing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from keypeg import names
from keypeg.errors import (
    CloudSessionClosed,
    CloudSessionElsewhere,
    KeypegError,
    LicenseMissing,
    MemberSuspended,
)
from keypeg.status import explain
from keypeg.versions import Release

from .cloud_group import held_by_members
from .cloud_licenses import arrange
from .cloud_session import CloudMode, CloudSession, CloudState, check_held_by
from .license import Activation, License, check_usable, may_live
from .location import BUILT_IN, CLOUD_ID, LocationKind, words
from .product import Product

DEFAULT_ORDER: Final = (LocationKind.CLOUD, LocationKind.SITE)
REMEDIES_SHOWN: Final = 5  # an explanation must fit into the metadata of a status


@dataclass(frozen=True)
class Holdings:
    """What an account has for one product."""

    account: str  # id
    product: Product
    licenses: Sequence[License]  # those that open the product
    activations: Sequence[Activation]  # of these licenses
    cloud_session: CloudSession  # the account's; in a group, that of who asks
    seats_held: Mapping[str, int] = field(default_factory=dict)  # by pool name
    own_pools: frozenset[str] = frozenset()  # those of which the asker has seats
    of_members: Sequence[CloudSession] = ()  # cloud sessions, of a group

    def to_arrange(self, now: datetime) -> bool:
        """Whether automatic mode has something to do: a license that another one covered has ended."""
        session = self.cloud_session
        if (session.state, session.mode) != (CloudState.OPEN, CloudMode.AUTOMATIC):
            return False
        return bool(arrange(self.licenses, self.activations, now, session.place))

    def of(self, license: License) -> list[Activation]:
        return [one for one in self.activations if one.license == license.id]


@dataclass(frozen=True)
class Admission:
    """The license, where it lives, and the pool to take a seat from; None when it is not counted."""

    license: License
    activation: Activation
    pool: str | None = None


@dataclass(frozen=True)
class _Refusal:
    """Why one license does not serve: the smaller the rank, the nearer it was."""

    rank: int
    error: KeypegError


def admit(
    holdings: Holdings,
    device: str,
    kinds: Sequence[LocationKind],
    now: datetime,
    release: Release | None = None,
) -> Admission:
    """What lets an app on this device run; `release` is None where that was looked at before. Raises the refusal that says what would help."""
    refusals: list[_Refusal] = []
    best: Admission | None = None
    for kind in kinds or DEFAULT_ORDER:
        if kind not in DEFAULT_ORDER:
            continue  # keys and hosts are served by bridges
        found: list[Admission] = []
        for license in holdings.licenses:
            try:
                found.extend(_served(holdings, license, kind, device, now, release, refusals))
            except KeypegError as error:
                refusals.append(_Refusal(2, error))
        for one in found:
            if one.pool in holdings.own_pools:
                return one
        if found and best is None:
            best = min(found, key=lambda one: _order(holdings, one, now))
        if best is not None and not holdings.own_pools:
            break
    if best is not None:
        return best
    if refusals:
        raise _with_remedy(min(refusals, key=lambda refusal: refusal.rank).error)
    raise _missing(holdings, kinds)


def _order(holdings: Holdings, admission: Admission, now: datetime) -> tuple[bool, int, str]:
    """The smallest goes first: what lasts, has more free seats, is older."""
    ends = admission.license.ends_at
    ends_soon = ends is not None and ends - now < holdings.product.offline_grace
    free = 0
    if admission.pool is not None:
        free = admission.license.seat_count - holdings.seats_held.get(admission.pool, 0)
    return ends_soon, -free, admission.license.id


def _served(
    holdings: Holdings,
    license: License,
    kind: LocationKind,
    device: str,
    now: datetime,
    release: Release | None,
    refusals: list[_Refusal],
) -> Iterator[Admission]:
    if not may_live(license, kind):
        return
    here = [o for o in holdings.of(license) if o.location_kind is kind and not o.over(now)]
    check_usable(license, now)
    if release is not None:
        license.coverage.check(license.name, holdings.product.name, release)
    if kind is LocationKind.SITE:
        for activation in here:
            pools = [one.name for one in activation.pools if one.product == holdings.product.name]
            for pool in pools:
                yield Admission(license, activation, pool)
        return
    session = holdings.cloud_session
    here = [one for one in here if one.location == session.place]
    free = bool(license.room(holdings.of(license), now))
    if here or (free and session.mode is CloudMode.AUTOMATIC):
        try:
            check_held_by(session, device)
        except (CloudSessionClosed, CloudSessionElsewhere, MemberSuspended) as error:
            refusals.append(_Refusal(1, error))
            return
    elif session.member and not free:
        held = held_by_members(license, holdings.of(license), holdings.of_members)
        if held is not None:
            refusals.append(_Refusal(2, held))
    for activation in here:
        yield Admission(license, activation)


def _with_remedy(error: KeypegError) -> KeypegError:
    """The same refusal with what would help, where an action of the asker does."""
    word = {CloudSessionClosed: "open_cloud_session", CloudSessionElsewhere: "move_cloud_session"}
    action = word.get(type(error))
    if action is None:
        return error
    explanation = explain(error)
    explanation.remedies.add(
        action=action,
        resource=error.metadata["cloud_session"],
        sentence="Open the account's cloud session on this device.",
    )
    error.explanation = explanation
    return error


def _missing(holdings: Holdings, kinds: Sequence[LocationKind]) -> LicenseMissing:
    product = holdings.product
    asked = f" at the kinds of location that the app takes ({words(kinds)})" if kinds else ""
    account = names.ACCOUNT.build(holdings.account)
    if not holdings.licenses:
        sentence = (
            f"{account} has no license for {product.display_name}; get one from its publisher."
        )
    else:
        sentence = (
            f"{account} has a license for {product.display_name}, but it is not activated where this "
            f"app can use it{asked}; activate it, or start the app where its key is."
        )
    error = LicenseMissing(sentence, account=account, product=product.name)
    explanation = explain(error)
    cloud = holdings.cloud_session.place
    built_in = {cloud if id == CLOUD_ID else id: kind for id, kind in BUILT_IN.items()}
    for license in holdings.licenses[:REMEDIES_SHOWN]:
        places = [id for id, kind in built_in.items() if may_live(license, kind)]
        where = ", ".join(one.location_name for one in holdings.of(license))
        explanation.remedies.add(
            action="activate",
            resource=license.name,
            sentence=(
                f"Activate {license.name}"
                + (f" on {names.LOCATION.build(holdings.account, places[0])}" if places else "")
                + (f"; it is on {where} now." if where else ".")
            ),
        )
    error.explanation = explanation
    return error
