"""Sessions over a real stream: what an app gets, what it hears when its key comes and goes, and what it may not do."""

from __future__ import annotations

import asyncio
import threading
import uuid
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keypeg.errors import (
    FieldInvalid,
    FrameReplayed,
    KeyMissing,
    KeypegError,
    KeyProofInvalid,
    KeyUnplugged,
    LimitExceeded,
    LocationNotAllowed,
    NotFound,
    ProtocolUnsupported,
    ProtocolViolation,
    Reason,
    ResumeInvalid,
    ServerDraining,
    SessionClosed,
    SessionExpired,
    SessionSuperseded,
)
from keypeg.status import from_trailing_metadata
from keypeg.v1 import (
    error_pb2,
    location_pb2,
    session_pb2,
    session_service_pb2,
    session_service_pb2_grpc,
)
from keypeg.v1.session_service_pb2 import HoldSessionRequest
from keypeg_bridge.rack.rack import PROVE_LIMIT
from keypeg_bridge.rack.reading import read_key
from keypeg_bridge.rack.shelf import FLAP_COUNT
from keypeg_bridge.rpc.protocol import FRAMES, PHASES, Event, Phase, after
from keypeg_bridge.rpc.session_service import SessionService
from tests.bridge.app_side import error_of
from tests.bridge.fakes import FakeKey, faulty
from tests.bridge.rpc.conftest import SESSION_LIMIT, ServedBridge


async def test_an_app_opens_a_session_and_verifies_the_key_end_to_end(
    bridge: ServedBridge, key: FakeKey
) -> None:
    await bridge.plug(key)
    app = bridge.app()
    opened = await app.open()
    assert opened.sequence == 1
    assert not opened.resumed
    assert opened.valid_for.ToTimedelta() == timedelta(seconds=30)
    assert opened.renew_interval.ToTimedelta() == timedelta(seconds=10)
    assert opened.location == "accounts/a1/locations/k1"
    assert opened.proof.key.location_host == "bridges/b1"
    assert app.check(opened.proof, bridge.publisher).unplug_grace == timedelta(seconds=30)
    first = app.nonce
    answer = await app.renew()
    assert answer.renewed.valid_for.ToTimedelta() == timedelta(seconds=30)
    app.check(answer.renewed.proof, bridge.publisher)
    with pytest.raises(KeyProofInvalid):
        app.check(answer.renewed.proof, bridge.publisher, nonce=first)


async def test_closing_ends_session_and_stream(bridge: ServedBridge, key: FakeKey) -> None:
    await bridge.plug(key)
    app = bridge.app()
    await app.open()
    await app.send(close=session_pb2.Close(sequence=next(app.sequences)))
    assert (await app.receive()).closed.sequence == 2
    with pytest.raises(EOFError):
        await app.receive()
    assert len(bridge.sessions) == 0


async def test_an_unplugged_key_is_told_at_once_and_its_return_too(
    bridge: ServedBridge, key: FakeKey
) -> None:
    place = await bridge.plug(key)
    app = bridge.app()
    await app.open()
    bridge.bus.pull(place)
    missing = (await app.receive()).missing
    assert missing.reason == error_pb2.REASON_KEY_UNPLUGGED
    assert missing.grace.ToTimedelta() == timedelta(seconds=30)
    denied = (await app.renew()).denied
    assert denied.explanation.reason == error_pb2.REASON_KEY_UNPLUGGED
    bridge.time.advance(29)
    await bridge.plug(key)
    changed = (await app.receive()).changed
    assert changed.change == session_pb2.CHANGE_KEY_RETURNED
    assert changed.resource == missing.resource
    app.check((await app.renew()).renewed.proof, bridge.publisher)


async def test_a_key_that_stays_away_ends_the_session_when_the_grace_is_over(
    bridge: ServedBridge, key: FakeKey
) -> None:
    place = await bridge.plug(key)
    app = bridge.app()
    await app.open()
    bridge.bus.pull(place)
    assert (await app.receive()).missing.grace.seconds == 30
    bridge.time.advance(30)
    with pytest.raises(KeyUnplugged):
        await app.receive()
    assert len(bridge.sessions) == 0


async def test_without_grace_the_session_ends_as_the_key_leaves(bridge: ServedBridge) -> None:
    key = FakeKey()
    key.carry(bridge.publisher, grace=timedelta())
    place = await bridge.plug(key)
    app = bridge.app()
    await app.open()
    bridge.bus.pull(place)
    assert (await app.receive()).missing.grace.ToTimedelta() == timedelta()
    with pytest.raises(KeyUnplugged):
        await app.receive()


async def test_a_flapping_key_gets_one_grace_for_all_its_absences(
    bridge: ServedBridge, key: FakeKey
) -> None:
    place = await bridge.plug(key)
    app = bridge.app()
    await app.open()
    graces = []
    for _ in range(FLAP_COUNT + 1):
        bridge.bus.pull(place)
        graces.append((await app.receive()).missing.grace.seconds)
        bridge.time.advance(4)
        place = await bridge.plug(key)
        assert (await app.receive()).changed.change == session_pb2.CHANGE_KEY_RETURNED
        await app.renew()
    assert graces == [30] * FLAP_COUNT + [30 - 4 * FLAP_COUNT]


async def test_a_lost_stream_is_resumed_with_a_new_proof(
    bridge: ServedBridge, key: FakeKey
) -> None:
    await bridge.plug(key)
    app = bridge.app()
    await app.open()
    app.call.cancel()
    app.start()
    await app.send(resume=app.resume_frame())
    opened = (await app.receive()).opened
    assert opened.resumed
    assert opened.session == app.opened.session
    app.check(opened.proof, bridge.publisher)
    app.check((await app.renew()).renewed.proof, bridge.publisher)


async def test_a_session_resumed_while_its_key_is_missing_goes_on_when_it_is_back(
    bridge: ServedBridge, key: FakeKey
) -> None:
    place = await bridge.plug(key)
    app = bridge.app()
    await app.open()
    app.call.cancel()
    bridge.bus.pull(place)
    await bridge.watch.next(lambda one: one.record.place is None)
    bridge.time.advance(5)
    app.start()
    await app.send(resume=app.resume_frame())
    assert (await app.receive()).missing.grace.seconds == 25
    await bridge.plug(key)
    opened = (await app.receive()).opened
    assert opened.resumed
    app.check(opened.proof, bridge.publisher)


async def test_a_second_stream_supersedes_the_first(bridge: ServedBridge, key: FakeKey) -> None:
    await bridge.plug(key)
    first = bridge.app()
    await first.open()
    second = bridge.app()
    second.opened, second.sequences = first.opened, first.sequences
    await second.send(resume=second.resume_frame())
    assert (await second.receive()).opened.resumed
    with pytest.raises(SessionSuperseded):
        await first.receive()
    second.check((await second.renew()).renewed.proof, bridge.publisher)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"session": "sessions/unknown"}, SessionExpired),
        ({"resume_ticket": b"x" * 32}, ResumeInvalid),
        ({"sequence": 1}, FrameReplayed),
        ({"session": "nonsense"}, FieldInvalid),
        ({"resume_ticket": b""}, FieldInvalid),
        ({"nonce": b"short"}, FieldInvalid),
        ({"protocol_version": 2}, ProtocolUnsupported),
    ],
)
async def test_a_resume_that_is_not_right_is_refused(
    bridge: ServedBridge, key: FakeKey, changes: dict[str, object], error: type[KeypegError]
) -> None:
    await bridge.plug(key)
    app = bridge.app()
    await app.open()
    app.start()
    await app.send(resume=app.resume_frame(**changes))
    with pytest.raises(error):
        await app.receive()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"protocol_version": 0}, ProtocolUnsupported),
        ({"sequence": 0}, FieldInvalid),
        ({"nonce": b"n" * 31}, FieldInvalid),
        ({"product": ""}, FieldInvalid),
        ({"product": "p" * 300}, FieldInvalid),
        ({"device": session_pb2.Device(id="UPPER CASE")}, FieldInvalid),
        ({"app": session_pb2.App(name="a" * 129)}, FieldInvalid),
        ({"location_kinds": [location_pb2.LOCATION_KIND_CLOUD]}, LocationNotAllowed),
        ({"product": "unknown"}, KeyMissing),
    ],
)
async def test_an_open_that_is_not_right_is_refused(
    bridge: ServedBridge, key: FakeKey, changes: dict[str, object], error: type[KeypegError]
) -> None:
    await bridge.plug(key)
    app = bridge.app()
    await app.send(open=app.open_frame(**changes))
    with pytest.raises(error):
        await app.receive()
    assert len(bridge.sessions) == 0


async def test_a_refusal_without_keys_says_what_to_do(bridge: ServedBridge) -> None:
    app = bridge.app()
    await app.send(open=app.open_frame())
    with pytest.raises(KeyMissing) as refused:
        await app.receive()
    assert "Plug in" in refused.value.sentence
    assert refused.value.explanation is not None
    assert [one.action for one in refused.value.explanation.remedies] == ["plug_in"]


@pytest.mark.parametrize("frame", ["renew", "acquire", "release", "close"])
async def test_the_first_frame_is_open_or_resume(bridge: ServedBridge, frame: str) -> None:
    app = bridge.app()
    first = HoldSessionRequest()
    getattr(first, frame).sequence = 1
    app.start()
    await app.call.write(first)
    with pytest.raises(ProtocolViolation):
        await app.receive()


async def test_an_open_comes_once(bridge: ServedBridge, key: FakeKey) -> None:
    await bridge.plug(key)
    app = bridge.app()
    await app.open()
    await app.send(open=app.open_frame())
    with pytest.raises(ProtocolViolation):
        await app.receive()


async def test_a_stream_that_says_nothing_is_ended(bridge: ServedBridge) -> None:
    stream = SessionService(bridge.sessions, first_frame_limit=0.01)

    async def nothing():
        await asyncio.Event().wait()
        yield HoldSessionRequest()

    context: Any = None
    with pytest.raises(ProtocolViolation, match="No frame came"):
        async with asyncio.timeout(10):
            await anext(stream.HoldSession(nothing(), context))


async def test_a_key_that_fails_gives_way_to_another_with_the_license(
    bridge: ServedBridge, key: FakeKey
) -> None:
    await bridge.plug(key)
    second = FakeKey(2)
    second.carry(bridge.publisher)
    await bridge.plug(second)
    key.fault = faulty()
    app = bridge.app()
    app.check((await app.open()).proof, bridge.publisher)
    assert len(second.proofs) == 1


async def test_a_frame_with_nothing_in_it_is_refused(bridge: ServedBridge) -> None:
    app = bridge.app()
    app.start()
    await app.call.write(HoldSessionRequest())
    with pytest.raises(ProtocolViolation):
        await app.receive()


async def test_a_replayed_frame_ends_the_stream_and_not_the_session(
    bridge: ServedBridge, key: FakeKey
) -> None:
    await bridge.plug(key)
    app = bridge.app()
    await app.open()
    await app.renew()
    proofs = len(key.proofs)
    await app.send(renew=session_pb2.Renew(sequence=2, nonce=b"n" * 32))
    with pytest.raises(FrameReplayed):
        await app.receive()
    assert len(key.proofs) == proofs
    assert len(bridge.sessions) == 1


async def test_a_renewal_without_a_nonce_is_refused(bridge: ServedBridge, key: FakeKey) -> None:
    await bridge.plug(key)
    app = bridge.app()
    await app.open()
    await app.send(renew=session_pb2.Renew(sequence=2))
    with pytest.raises(FieldInvalid) as refused:
        await app.receive()
    assert "renew.nonce" in refused.value.fields


async def test_seats_are_denied_with_a_reason_and_the_session_goes_on(
    bridge: ServedBridge, key: FakeKey
) -> None:
    await bridge.plug(key)
    app = bridge.app()
    await app.open()
    request_id = str(uuid.uuid4())
    await app.send(acquire=session_pb2.Acquire(sequence=next(app.sequences), request_id=request_id))
    denied = (await app.receive()).denied
    assert denied.request_id == request_id
    assert denied.explanation.reason == Reason.LICENSE_UNSUITABLE.value
    assert "not counted" in denied.explanation.sentence
    await app.send(release=session_pb2.Release(sequence=next(app.sequences), name="pools/a"))
    assert (await app.receive()).denied.explanation.reason == Reason.NOT_FOUND.value
    assert (await app.renew()).WhichOneof("frame") == "renewed"


async def test_a_stalled_key_denies_renewals_and_is_announced_when_it_is_back(
    bridge: ServedBridge, key: FakeKey
) -> None:
    await bridge.plug(key)
    app = bridge.app()
    await app.open()
    key.stall = threading.Event()
    renewal = asyncio.ensure_future(app.renew())
    assert await asyncio.to_thread(key.stalled.wait, 10)
    bridge.time.advance(PROVE_LIMIT)  # once: the session itself must not run out meanwhile
    async with asyncio.timeout(10):
        await renewal
    assert renewal.result().denied.explanation.reason == Reason.KEY_FAULTY.value
    release, key.stall = key.stall, None
    release.set()
    assert (await app.receive()).changed.change == session_pb2.CHANGE_KEY_RETURNED
    app.check((await app.renew()).renewed.proof, bridge.publisher)


async def test_a_session_that_is_not_renewed_runs_out(bridge: ServedBridge, key: FakeKey) -> None:
    await bridge.plug(key)
    app = bridge.app()
    await app.open()
    bridge.time.advance(60)
    assert len(bridge.sessions) == 1
    bridge.time.advance(1)
    with pytest.raises(SessionExpired):
        await app.receive()
    assert len(bridge.sessions) == 0


async def test_a_session_is_closed_by_its_release_token_and_by_no_other(
    bridge: ServedBridge, key: FakeKey
) -> None:
    await bridge.plug(key)
    app, other = bridge.app(), bridge.app()
    await app.open()
    await other.open()
    stub = session_service_pb2_grpc.SessionServiceStub(bridge.channel)

    async def close(token: bytes) -> bool:
        request = session_service_pb2.CloseSessionRequest(
            session=app.opened.session, release_token=token
        )
        return (await stub.CloseSession(request, timeout=10)).closed

    with pytest.raises(grpc.RpcError) as refused:
        await close(other.opened.release_token)
    assert isinstance(error_of(refused.value), NotFound)
    assert await close(app.opened.release_token)
    with pytest.raises(SessionClosed):
        await app.receive()
    assert not await close(app.opened.release_token)
    assert (await other.renew()).WhichOneof("frame") == "renewed"


async def test_there_is_a_limit_of_sessions(bridge: ServedBridge, key: FakeKey) -> None:
    await bridge.plug(key)
    apps = [bridge.app() for _ in range(SESSION_LIMIT + 1)]
    for app in apps[:-1]:
        await app.open()
    await apps[-1].send(open=apps[-1].open_frame())
    with pytest.raises(LimitExceeded):
        await apps[-1].receive()


async def test_a_draining_bridge_says_so_takes_nothing_new_and_ends(
    bridge: ServedBridge, key: FakeKey
) -> None:
    await bridge.plug(key)
    app = bridge.app()
    await app.open()
    bridge.sessions.drain(timedelta(seconds=2))
    assert (await app.receive()).draining.closes_in.seconds == 2
    late = bridge.app()
    await late.send(open=late.open_frame())
    with pytest.raises(ServerDraining):
        await late.receive()
    bridge.sessions.end_all()
    with pytest.raises(ServerDraining):
        await app.receive()
    assert bridge.sessions.left.is_set()


async def test_a_license_that_is_replaced_or_removed_is_announced(
    bridge: ServedBridge, key: FakeKey
) -> None:
    place = await bridge.plug(key)
    name = bridge.rack.records()[0].name
    app = bridge.app()
    await app.open()
    key.carry(bridge.publisher, generation=2, grace=timedelta(seconds=5))
    bridge.rack.rewritten(name, read_key(key))
    assert (await app.receive()).changed.change == session_pb2.CHANGE_LICENSE_CHANGED
    await app.renew()
    bridge.bus.pull(place)
    assert (await app.receive()).missing.grace.seconds == 5
    await bridge.plug(key)
    await app.receive()
    del key.slots[1]
    bridge.rack.rewritten(name, read_key(key))
    assert (await app.receive()).changed.change == session_pb2.CHANGE_LICENSE_REMOVED
    assert (await app.renew()).denied.explanation.reason == Reason.KEY_MISSING.value


async def test_many_apps_on_several_keys_are_all_served(bridge: ServedBridge) -> None:
    for number in (1, 2):
        key = FakeKey(number)
        key.carry(bridge.publisher, f"product-{number}")
        await bridge.plug(key)
    apps = [bridge.app(f"product-{number}") for number in (1, 2) for _ in range(2)]
    await asyncio.gather(*(app.open() for app in apps))
    for _ in range(5):
        answers = await asyncio.gather(*(app.renew() for app in apps))
        for app, answer in zip(apps, answers, strict=True):
            app.check(answer.renewed.proof, bridge.publisher)


def frames() -> st.SearchStrategy[bytes]:
    """Bytes that a client may send: random, cut, or with a byte changed."""
    first = session_pb2.Open(
        sequence=1, protocol_version=1, device=session_pb2.Device(id="device-1"), product="organ"
    )
    good = HoldSessionRequest(open=first).SerializeToString()
    return st.one_of(
        st.binary(max_size=200),
        st.integers(0, len(good)).map(lambda at: good[:at]),
        st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)).map(
            lambda change: good[: change[0]] + bytes([change[1]]) + good[change[0] + 1 :]
        ),
    )


async def answer_to(call, data: bytes) -> tuple[grpc.StatusCode, str]:
    """The status that a stream with one message of these bytes ends with, and its reason."""
    try:
        async with asyncio.timeout(10):
            await call.write(data)
            while await call.read() is not grpc.aio.EOF:
                pass
    except grpc.RpcError:
        pass
    code = await call.code()
    found = from_trailing_metadata(await call.trailing_metadata())
    return code, found.reason.name if found else ""


async def test_any_bytes_on_the_stream_end_in_a_clear_status(
    bridge: ServedBridge, key: FakeKey
) -> None:
    await bridge.plug(key)
    steady = bridge.app()
    await steady.open()
    raw: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = bridge.channel.stream_stream(
        "/keypeg.v1.SessionService/HoldSession"
    )
    cases: list[bytes] = []

    @given(frames())
    @settings(max_examples=60)
    def collect(data: bytes) -> None:
        cases.append(data)

    collect()
    for data in cases:
        code, reason = await answer_to(raw(), data)
        assert reason in {"FIELD_INVALID", "PROTOCOL_VIOLATION", "PROTOCOL_UNSUPPORTED"}, data
        assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED}
    oversized = b"\x0a" + b"a" * 5_000_000
    assert (await answer_to(raw(), oversized))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(bridge.sessions) == 1
    assert (await steady.renew()).WhichOneof("frame") == "renewed"


def test_frames_and_phases_are_one_table() -> None:
    for phase in Phase:
        for event in Event:
            if (phase, event) in PHASES:
                assert after(phase, event) in Phase
            elif event in FRAMES:
                with pytest.raises(ProtocolViolation):
                    after(phase, event)
            else:
                with pytest.raises(LookupError):
                    after(phase, event)
    names = {field.name for field in HoldSessionRequest.DESCRIPTOR.fields}
    # Only a server asks for the mark of a device.
    assert names - {"device_proof"} == {event.value for event in FRAMES}
