"""Which licenses are in the cloud: what automatic mode wants, and what a person may choose.

Promises: pure. Automatic mode wants every free license in the cloud that may live there (CLOUD-7, CLOUD-8);
of several copies (the same product, features and versions of the app) one, the oldest that is usable, with one that is
there before one that is not: so that two servers or two runs choose the same, and nothing moves without need.

Leaves to others: when that is wanted (cloud_session.py), and doing it (service/placing.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from keypeg.errors import ActivationsExhausted, LicenseUnsuitable
from keypeg.status import explain
from keypeg.versions import Coverage

from .cloud_session import CloudMode, CloudSession
from .license import Activation, Feature, License, LicenseState, may_live
from .location import CLOUD_ID, LocationKind

CopyKey = tuple[str, tuple[Feature, ...], Coverage]


@dataclass(frozen=True)
class Arrangement:
    """What has to change for the cloud to be as automatic mode wants it."""

    activate: tuple[License, ...] = ()
    free: tuple[Activation, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.activate or self.free)


def copy_key(license: License) -> CopyKey:
    """Equal for copies: licenses of which one does what the other does."""
    features = tuple(sorted(license.features, key=lambda feature: feature.id))
    return license.product, features, license.coverage


def in_cloud(activations: Iterable[Activation], place: str = CLOUD_ID) -> dict[str, Activation]:
    """The activations in a cloud (id of the location), by license id."""
    return {one.license: one for one in activations if one.location == place}


def arrange(
    licenses: Iterable[License],
    activations: Sequence[Activation],
    now: datetime,
    place: str = CLOUD_ID,
) -> Arrangement:
    """What automatic mode changes about the licenses of an account, or about some with all their copies.

    In the cloud at `place` (id), where each license is once; other members of a group have their own.
    """
    there = in_cloud(activations, place)
    placed: dict[str, list[Activation]] = {}
    for activation in activations:
        placed.setdefault(activation.license, []).append(activation)
    groups: dict[CopyKey, list[License]] = {}
    for license in sorted(licenses, key=lambda license: (license.deposit_time, license.id)):
        groups.setdefault(copy_key(license), []).append(license)
    activate: list[License] = []
    free: list[Activation] = []
    for copies in groups.values():
        usable = [
            one
            for one in copies
            if one.state_at(now) is LicenseState.ACTIVE and (one.id in there or not one.waits_for)
        ]
        present = [one for one in usable if one.id in there]
        wanted = present or [
            one
            for one in usable
            if may_live(one, LocationKind.CLOUD) and one.room(placed.get(one.id, ()), now)
        ]
        if wanted:
            chosen = wanted[0]
            if not present:
                activate.append(chosen)
            free += [there[one.id] for one in copies if one.id in there and one is not chosen]
    return Arrangement(tuple(activate), tuple(free))


def check_choice(
    session: CloudSession,
    license: License,
    licenses: Iterable[License],
    activations: Iterable[Activation],
    now: datetime,
) -> None:
    """Refuse to choose for the cloud, in automatic mode, a copy of what is there."""
    if session.mode is not CloudMode.AUTOMATIC:
        return
    there = in_cloud(activations, session.place)
    for other in licenses:
        if (
            other.id != license.id
            and other.id in there
            and other.state_at(now) is LicenseState.ACTIVE
            and copy_key(other) == copy_key(license)
        ):
            error = LicenseUnsuitable(
                f"{license.name} is a copy of {other.name}, which is in the cloud; in automatic mode one copy "
                "is enough there. Switch the account to managed mode to choose for yourself.",
                license=license.name,
                copy=other.name,
                cloud_session=session.name,
                rule="automatic_mode",
            )
            explanation = explain(error)
            explanation.remedies.add(
                action="set_managed_mode",
                resource=session.name,
                sentence="Switch the account to managed mode, and choose what is in the cloud.",
            )
            error.explanation = explanation
            raise error


def with_cloud_remedy(
    error: ActivationsExhausted,
    session: CloudSession,
    license: License,
    others: Iterable[Activation],
) -> ActivationsExhausted:
    """The same refusal with what would help, where one of the activations in the way is in the cloud."""
    mine = (one for one in others if one.license == license.id)
    if license.id not in in_cloud(mine, session.place):
        return error
    explanation = explain(error)
    explanation.remedies.add(
        action="take_out_of_cloud",
        resource=license.name,
        sentence=(
            f"Take {license.name} out of the cloud"
            + (
                ", where it is reserved while the cloud session is closed"
                if session.reserves
                else ""
            )
            + "; the account is in managed mode from then on."
        ),
    )
    if session.mode is CloudMode.MANAGED:
        explanation.remedies.add(
            action="free_cloud",
            resource=session.name,
            sentence="Or free everything in the cloud: open the cloud session, switch to automatic mode, close it.",
        )
    error.explanation = explanation
    return error
