"""Old and new sides: who is told to update, and what both speak."""

from __future__ import annotations

import asyncio

import pytest

from keypeg import aio, errors, protocol
from keypeg.errors import ProtocolUnsupported, Reason, UpdateRequired
from keypeg.testing import StandInHost
from keypeg.testing.sessions import Out, StandInSession
from keypeg.v1.session_service_pb2 import HoldSessionRequest
from tests.client.sdk_fixtures import computer

__all__ = ["computer"]


@pytest.mark.parametrize(
    ("version", "component", "needed"), [(0, "client", "0.1.0"), (2, "server", "")]
)
def test_the_side_that_is_too_old_is_named(version: int, component: str, needed: str) -> None:
    protocol.check(1)
    with pytest.raises(UpdateRequired) as refused:
        protocol.check(version)
    assert refused.value.reason is Reason.PROTOCOL_UNSUPPORTED
    assert (refused.value.component, refused.value.minimum_version) == (component, needed)
    assert refused.value.metadata["supported"] == "1"


@pytest.mark.parametrize(
    ("supported", "tried", "found"),
    [
        ("1", 3, 1),
        ("1,2", 3, 2),
        ("1,2,3,4", 3, 2),
        ("4,5", 3, None),
        ("", 3, None),
        ("nonsense,-1,\u0661,99999999999", 3, None),
        ("1", 1, None),
    ],
)
def test_the_newest_version_that_both_speak_is_taken(
    supported: str, tried: int, found: int | None
) -> None:
    spoken = {1: "0.1.0", 2: "0.5", 3: "1.0"}
    error = ProtocolUnsupported("No.", supported=supported)
    assert protocol.lower(error, tried, spoken) == found
    assert protocol.lower(errors.Busy("No.", supported=supported), tried, spoken) is None


@pytest.mark.parametrize(
    ("user_agent", "minimum", "old"),
    [
        ("keypeg-python/0.1.0 grpc-python-asyncio/1.80.0", "0.2", True),
        ("keypeg-python/0.1.0.dev0", "0.1.0", False),
        ("something keypeg-rust/v2.0 grpc/1", "2.0.1", True),
        ("keypeg-python/10.0", "9", False),
        ("grpc-python-asyncio/1.80.0", "9", False),
        ("notkeypeg-python/0.1", "9", False),
        ("", "9", False),
        ("keypeg-python/" + "1" * 5_000, "9", False),
    ],
)
def test_a_client_says_its_version_in_its_user_agent(
    user_agent: str, minimum: str, old: bool
) -> None:
    if not old:
        protocol.check_client(user_agent, minimum)
        return
    with pytest.raises(UpdateRequired, match=f"keypeg {minimum} or newer") as refused:
        protocol.check_client(user_agent, minimum)
    assert (refused.value.component, refused.value.minimum_version) == ("client", minimum)


def test_this_client_says_what_it_is() -> None:
    assert protocol.client_version(f"{protocol.SDK} grpc-python-asyncio/1.80.0") is not None


class OldServer(StandInHost):
    """What a server of version 0.1 was recorded to answer to newer frames."""

    def opened(self, first: HoldSessionRequest, out: Out) -> StandInSession:
        frame = getattr(first, first.WhichOneof("frame") or "")
        if frame.protocol_version != 1:
            raise ProtocolUnsupported(
                f"Version {frame.protocol_version} of the session protocol is not spoken here, 1 is; "
                "update the app or the server.",
                version=str(frame.protocol_version),
                supported="1",
            )
        return super().opened(first, out)


@pytest.mark.usefixtures("computer")
async def test_a_newer_client_runs_by_an_older_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SPOKEN", {1: "0.1.0", 2: "0.5", 3: "1.0"})
    async with OldServer("cad") as host:
        opening = aio.open_session("cad", root=host.root, server=host.target, bridge="off")
        async with asyncio.timeout(10), opening as session:
            session.require()
            host.drop()  # it goes on with what the server speaks
            await host.until(lambda: len(host.received) >= 3 and session.may_run)
        versions = [
            getattr(one, kind).protocol_version
            for one in host.received
            if (kind := one.WhichOneof("frame")) in ("open", "resume")
        ]
    assert versions == [3, 1, 1]


@pytest.mark.usefixtures("computer")
async def test_an_older_client_hears_which_version_of_keypeg_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with StandInHost("cad") as host:
        host.refuse_next_open(
            ProtocolUnsupported(
                "Update.", supported="4,5", component="client", minimum_version="2.0"
            )
        )
        with pytest.raises(UpdateRequired) as refused:
            await aio.open_session("cad", root=host.root, server=host.target, bridge="off")
    assert refused.value.minimum_version == "2.0"
