"""Where a license is looked for, in which order, and what is said when there is none."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

import keypeg
from keypeg import aio, envelope, errors, events, hostinfo
from keypeg.client import until_heard
from keypeg.errors import Reason
from keypeg.request import root_bytes
from keypeg.rpc_errors import from_code
from keypeg.session_state import State
from keypeg.testing import FakeClock, StandInHost, StandInPublisher
from tests.client.sdk_fixtures import computer

__all__ = ["computer"]

PARTS = {"machine_id": "0123456789abcdef", "board": "4711-0815", "disk": "WD-98765"}


@pytest.fixture
def publisher() -> StandInPublisher:
    return StandInPublisher()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def this_computer(monkeypatch):
    """What the computer is made of does not depend on the computer."""
    here = dict(PARTS)
    monkeypatch.setattr(hostinfo, "parts", lambda: here)
    return here


def put_document(
    config: Path, publisher: StandInPublisher, clock: FakeClock, name: str = "demo", **facts
) -> Path:
    """A license document for a computer, as a person would put it there."""
    facts.setdefault("parts", PARTS)
    product = facts.pop("product", "demo")
    license_document = publisher.license_document("host", product, clock.wall(), **facts)
    path = config / "licenses" / f"{name}.keypeg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        envelope.to_text(license_document) + envelope.to_text(publisher.delegation(clock.wall()))
    )
    return path


async def test_a_document_of_this_computer_opens_without_any_connection(computer, publisher, clock):
    put_document(computer, publisher, clock, features=["render"])
    async with aio.open_session("demo", root=publisher.root, clock=clock) as session:
        assert session.may_run
        assert session.features == ("render",)
        assert session.name == ""
        assert isinstance(await anext(session.events()), events.Running)
        with pytest.raises(errors.LicenseUnsuitable, match="no seats"):
            await session.seat().acquire()
    assert session.state is State.STOPPED


async def test_a_document_is_verified_again_and_again(computer, publisher, clock, this_computer):
    put_document(computer, publisher, clock)
    async with aio.open_session("demo", root=publisher.root, clock=clock) as session:
        for _ in range(10):
            clock.advance(1800)
            await next_turn()
        assert session.may_run
        this_computer.update({"machine_id": "fedcba9876543210", "board": "9999-9999"})
        clock.advance(1800)
        assert isinstance(await session.until_stopped(), errors.DocumentOtherDevice)
        assert not session.may_run


async def test_a_term_that_ends_stops_the_app(computer, publisher, clock):
    end = clock.wall() + timedelta(minutes=10)
    put_document(computer, publisher, clock, expire_time=end)
    async with aio.open_session("demo", root=publisher.root, clock=clock) as session:
        assert session.license_expire_time == end
        clock.advance(602)
        assert isinstance(await session.until_stopped(), errors.DocumentExpired)


async def next_turn() -> None:
    """Lets what was called from the clock run."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"product": "other"}, Reason.DOCUMENT_OTHER_PRODUCT),
        ({"parts": {"machine_id": "aaaabbbbccccdddd"}}, Reason.DOCUMENT_OTHER_DEVICE),
        ({"expire_time": FakeClock().wall() - timedelta(days=1)}, Reason.DOCUMENT_EXPIRED),
    ],
    ids=["other product", "other computer", "expired"],
)
async def test_a_document_that_is_not_right_says_why(computer, publisher, clock, facts, reason):
    put_document(computer, publisher, clock, **facts)
    with pytest.raises(keypeg.KeypegError) as caught:
        await aio.open_session("demo", root=publisher.root, clock=clock, locations=["host"])
    assert caught.value.reason is reason


async def test_the_right_one_of_several_documents_is_found(computer, publisher, clock):
    put_document(computer, publisher, clock, "a", product="other")
    put_document(computer, StandInPublisher(), clock, "b")
    (computer / "licenses" / "c.keypeg").write_bytes(b"\xff no document")
    put_document(computer, publisher, clock, "d")
    async with aio.open_session("demo", root=publisher.root, clock=clock) as session:
        assert session.may_run


async def test_the_nearest_miss_is_told(computer, publisher, clock):
    put_document(computer, publisher, clock, "a", product="other")
    put_document(computer, publisher, clock, "b", parts={"machine_id": "aaaabbbbccccdddd"})
    with pytest.raises(errors.DocumentOtherDevice):
        await aio.open_session("demo", root=publisher.root, clock=clock, locations=["host"])


async def test_the_bridge_comes_before_the_server(computer, publisher):
    async with (
        StandInHost("demo", kind="key", publisher=publisher) as bridge,
        StandInHost("demo", kind="cloud", publisher=publisher) as server,
        aio.open_session(
            "demo", root=publisher.root, bridge=bridge.target, server=server.target
        ) as session,
    ):
        assert session.location.endswith("/key")
        assert server.received == []


async def test_a_bridge_without_a_license_leaves_it_to_the_server(computer, publisher):
    heard: list[str] = []

    async def on_event(event: keypeg.Event) -> None:
        heard.append(type(event).__name__)

    async with (
        StandInHost("other", kind="key", publisher=publisher) as bridge,
        StandInHost("demo", kind="cloud", publisher=publisher) as server,
        aio.open_session(
            "demo",
            root=publisher.root,
            bridge=bridge.target,
            server=server.target,
            on_event=on_event,
        ) as session,
    ):
        assert session.location.endswith("/cloud")
        await next_turn()
        assert heard == ["Running"]


async def test_the_kinds_that_the_app_wants_are_asked_alone(computer, publisher):
    async with (
        StandInHost("demo", kind="key", publisher=publisher) as bridge,
        StandInHost("demo", kind="site", publisher=publisher) as server,
        aio.open_session(
            "demo",
            root=publisher.root,
            bridge=bridge.target,
            server=server.target,
            locations=["site"],
        ) as session,
    ):
        assert session.location.endswith("/site")
        assert bridge.received == []
        assert list(server.received[0].open.location_kinds) == [4]


async def test_when_all_refuse_the_error_says_what_each_said(computer, publisher):
    async with (
        StandInHost("other", kind="key", publisher=publisher) as bridge,
        StandInHost("demo", kind="cloud", publisher=publisher) as server,
    ):
        server.guard_cloud_session()
        server.cloud_session_device = "studio-2"
        bridge.refuse_next_open(errors.KeyMissing("No plugged-in key carries it."))
        with pytest.raises(errors.CloudSessionElsewhere) as caught:
            await aio.open_session(
                "demo", root=publisher.root, bridge=bridge.target, server=server.target
            )
    sentence = str(caught.value)
    assert "This computer: There is no license document" in sentence
    assert "No plugged-in key carries it." in sentence
    assert "Another device holds the cloud session." in sentence
    assert caught.value.metadata["device"] == "studio-2"


async def test_with_nobody_to_ask_the_error_says_what_to_do(computer, publisher):
    with pytest.raises(errors.LicenseMissing, match="No server is set and no bridge runs"):
        await aio.open_session("demo", root=publisher.root)
    with pytest.raises(errors.LicenseMissing, match="KEYPEG_SERVER"):
        await aio.open_session("demo", root=publisher.root, locations=["cloud"])


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("key", "for demo: no bridge runs: start keypeg-bridge."),
        ("cloud", "for demo: no server is set: set KEYPEG_SERVER or sign in with `keypeg login`."),
    ],
)
async def test_only_what_was_wanted_is_said_to_be_missing(computer, location, said):
    with pytest.raises(errors.LicenseMissing) as refused:
        await aio.open_session("demo", root=bytes(32), locations=[location])
    assert refused.value.sentence.endswith(said)


async def test_a_server_that_is_not_there_is_unreachable(computer, publisher, tmp_path):
    with pytest.raises(errors.Unreachable):
        await aio.open_session(
            "demo",
            root=publisher.root,
            server=f"unix:{tmp_path}/nobody",
            locations=["cloud"],
        )


@pytest.mark.parametrize("root", [b"short", "zz" * 32, "ab" * 31, ""])
def test_a_root_that_is_no_key_is_refused(root):
    with pytest.raises(errors.FieldInvalid, match="root"):
        root_bytes(root)


def test_a_root_may_be_hexadecimal():
    assert root_bytes("ab" * 32) == root_bytes(b"\xab" * 32) == b"\xab" * 32


@pytest.mark.parametrize(
    "wrong", [{"locations": ["moon"]}, {"locations": "cloud"}, {"cloud": "always"}]
)
async def test_wrong_arguments_are_refused_by_name(computer, publisher, wrong):
    with pytest.raises(errors.FieldInvalid):
        await aio.open_session("demo", root=publisher.root, **wrong)


async def test_a_refusal_whose_status_was_lost_under_a_write_is_asked_for_again() -> None:
    lost = from_code(grpc.StatusCode.INTERNAL, "Internal error from Core")
    away = from_code(grpc.StatusCode.UNAVAILABLE, "")
    refused = errors.SignInRequired("Sign in.")
    for outcomes, raised, count in (
        ([lost, refused], refused, 2),
        ([lost, lost, refused], refused, 3),
        ([lost, lost, lost], lost, 3),
        ([away, refused], away, 1),
    ):
        left = list(outcomes)

        async def attempt(left: list[errors.KeypegError] = left) -> None:
            raise left.pop(0)

        with pytest.raises(errors.KeypegError) as told:
            await until_heard(attempt)
        assert told.value is raised
        assert len(outcomes) - len(left) == count
