"""Members of groups: whose cloud is which, and who is told to have a license."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from keypeg.errors import MemberSuspended
from keypeg_server.domain.cloud_group import SHOWN, held_by_members
from keypeg_server.domain.cloud_licenses import arrange
from keypeg_server.domain.cloud_session import (
    CloudMode,
    CloudSession,
    CloudState,
    Holder,
    check_held_by,
    ended,
    opened,
    put_in,
)
from keypeg_server.domain.license import Activation
from keypeg_server.domain.location import LocationKind, cloud_id, member_of
from tests.server.domain.a_license import LICENSE

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
PC = Holder("device-pc", "pc")


def of(member: str, **fields: object) -> CloudSession:
    return CloudSession("studio", member=member, login=member, **fields)  # type: ignore[arg-type]


def at(place: str, one: str = "l1") -> Activation:
    kind = LocationKind.CLOUD if place.startswith("cloud") else LocationKind.KEY
    return Activation("studio", one, f"on-{place}", place, kind, NOW, 1, b"")


def test_each_member_has_a_cloud_of_their_own() -> None:
    assert (cloud_id(""), cloud_id("bea")) == ("cloud", "cloud-bea")
    assert [member_of(id) for id in ("cloud-bea", "cloud", "site", "k1")] == ["bea", "", "", ""]
    assert of("bea").name == "accounts/studio/users/bea/cloudSession"
    assert of("").name == "accounts/studio/cloudSession"


def test_automatic_mode_arranges_one_cloud_and_leaves_those_of_others() -> None:
    one = replace(LICENSE, activation_count=2)
    there = [at("cloud-bea")]
    assert not arrange([one], there, NOW, "cloud-bea")
    assert arrange([one], there, NOW, "cloud-cid").activate == (one,)
    assert not arrange([one], [*there, at("k1")], NOW, "cloud-cid")  # no third


@pytest.mark.parametrize("mode", CloudMode)
@pytest.mark.parametrize("holder", [PC, None])
def test_an_end_from_outside_leaves_nothing_and_keeps_the_mode(
    mode: CloudMode, holder: Holder | None
) -> None:
    state = CloudState.OPEN if holder else CloudState.CLOSED
    before = of("bea", mode=mode, state=state, holder=holder, generation=3)
    outcome = ended(before)
    assert (outcome.session.state, outcome.session.mode) == (CloudState.CLOSED, mode)
    assert (outcome.session.holder, outcome.left) == (None, holder)
    assert [one.name for one in outcome.effects] == ["RELEASE_ALL"]
    assert outcome.session.generation == (4 if holder else 3)


def test_who_is_suspended_neither_opens_nor_takes_nor_runs() -> None:
    session = ended(of("bea"), "on leave").session
    for refused in (
        lambda: opened(session, PC, "u", NOW, keep_elsewhere=False),
        lambda: put_in(session),
        lambda: check_held_by(session, PC.device),
    ):
        with pytest.raises(MemberSuspended, match="on leave"):
            refused()
    assert ended(session).session.suspended == "on leave"  # until somebody lets them


def test_who_comes_too_late_is_told_who_has_it_and_where() -> None:
    two = replace(LICENSE, activation_count=3)
    there = [at("cloud-bea"), at("cloud-cid"), at("k1")]
    sessions = [of("ann"), of("bea", state=CloudState.OPEN, holder=PC), of("cid")]
    error = held_by_members(two, there, sessions)
    assert error is not None
    assert (
        error.metadata["holders"]
        == "bea (on pc), cid (reserved, while it is closed), 1 at other places"
    )
    assert error.explanation is not None
    assert [one.resource for one in error.explanation.remedies] == [
        sessions[1].name,
        sessions[2].name,
    ]
    assert held_by_members(two, [at("k1")], sessions) is None


def test_a_refusal_names_some_of_many() -> None:
    sessions = [of(f"m{number}") for number in range(20)]
    error = held_by_members(LICENSE, [at(one.place) for one in sessions], sessions)
    assert error is not None
    assert error.metadata["holders"].endswith(f"{20 - SHOWN} more members")
