"""Frames that should not come: each ends with a clear status, and no seat is held by it."""

from __future__ import annotations

import asyncio
import os
import random
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keypeg.errors import (
    FieldInvalid,
    FrameForged,
    FrameReplayed,
    LimitExceeded,
    ProtocolUnsupported,
    ProtocolViolation,
    Reason,
    ResumeInvalid,
    SessionExpired,
)
from keypeg.v1 import error_pb2, session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse
from keypeg_server.rpc import session_service
from keypeg_server.rpc.quotas import FRAMES_AT_ONCE
from keypeg_server.service.conversation import PROTOCOL, Phase
from keypeg_server.service.sessions import SessionLimits
from tests.server.sessions.world import SECONDS, Ended, World, error_of

UNREAD_ANSWERS = 400  # signed: they fill the app's window; their requests do not fill the server's
HOLD = "/keypeg.v1.SessionService/HoldSession"
FIRST_FRAMES: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "nothing": ({}, ProtocolViolation),
    "renew": ({"renew": session_pb2.Renew(sequence=1, mac=b"m" * 16)}, ProtocolViolation),
    "acquire": (
        {
            "acquire": session_pb2.Acquire(
                sequence=1, request_id="0" * 8 + "-0000" * 3 + "-" + "0" * 12
            )
        },
        ProtocolViolation,
    ),
    "close": ({"close": session_pb2.Close(sequence=1)}, ProtocolViolation),
}
BAD_OPENS: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "another version": ({"protocol_version": 2}, ProtocolUnsupported),
    "no sequence": ({"sequence": 0}, FieldInvalid),
    "short nonce": ({"nonce": b"n"}, FieldInvalid),
    "no key share": ({"key_share": b""}, FieldInvalid),
    "a key share that makes the key guessable": ({"key_share": bytes(32)}, FieldInvalid),
    "device id": ({"device": session_pb2.Device(id="../../etc")}, FieldInvalid),
    "no device": ({"device": None}, FieldInvalid),
    "long app name": ({"app": session_pb2.App(name="x" * 129)}, FieldInvalid),
    "product": ({"product": "cad"}, FieldInvalid),
    "kinds": ({"location_kinds": [99]}, FieldInvalid),
}


@pytest.mark.parametrize("name", FIRST_FRAMES)
async def test_a_stream_begins_with_open_or_resume(world: World, name: str):
    frame, expected = FIRST_FRAMES[name]
    app = world.app()
    app.connect()
    await app.send(**frame)
    assert isinstance(await app.ends(), expected)
    assert len(world.sessions.presence) == 0


@pytest.mark.parametrize("name", BAD_OPENS)
async def test_a_bad_open_names_what_is_wrong(world: World, name: str):
    changes, expected = BAD_OPENS[name]
    with pytest.raises(Ended) as caught:
        await world.app().open(**changes)
    assert isinstance(caught.value.error, expected)
    assert len(world.sessions.presence) == 0


async def test_open_comes_once(world: World):
    app = world.app()
    await app.open()
    await app.send(open=app.open_frame())
    assert isinstance(await app.ends(), ProtocolViolation)


async def test_a_forged_renewal_ends_the_stream_and_buys_no_time(world: World):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    await app.acquire()
    await world.pass_time(30)
    frame = app.renew_frame()
    frame.mac = bytes(16)
    await app.send(renew=frame)
    assert isinstance(await app.ends(), FrameForged)
    await world.pass_time(31.7)
    assert world.pool_of("pools/p1").held == 0


@pytest.mark.parametrize("kind", ["renew", "acquire", "release", "close"])
async def test_a_frame_that_comes_again_is_refused(world: World, kind: str):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    frame = app.renew_frame()
    await app.send(renew=frame)
    await app.next("renewed")
    again: dict[str, Any] = {
        "renew": frame,
        "acquire": session_pb2.Acquire(
            sequence=frame.sequence, request_id="00000000-0000-0000-0000-000000000000"
        ),
        "release": session_pb2.Release(sequence=frame.sequence, name="pools/p1/leases/x"),
        "close": session_pb2.Close(sequence=frame.sequence),
    }
    await app.send(**{kind: again[kind]})
    assert isinstance(await app.ends(), FrameReplayed)


async def test_a_resume_that_comes_again_is_refused(world: World):
    app = world.app()
    await app.open()
    frame = app.resume_frame()
    for expected in (None, FrameReplayed):
        app.connect()
        await app.send(resume=frame)
        if expected is None:
            await app.next("opened")
        else:
            assert isinstance(await app.ends(), expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resume_ticket": b"\1" + os.urandom(100)}, ResumeInvalid),
        ({"resume_ticket": b""}, FieldInvalid),
        ({"resume_ticket": bytes(5_000)}, FieldInvalid),
        ({"mac": bytes(16)}, FrameForged),
        ({"session": "sessions/another"}, ResumeInvalid),
        ({"nonce": bytes(32)}, FrameForged),
        ({"sequence": 1}, FrameReplayed),
    ],
)
async def test_a_bad_resume_is_refused_and_the_session_lives(world: World, changes, expected):
    app = world.app()
    await app.open()
    with pytest.raises(Ended) as caught:
        await app.resume(**changes)
    assert isinstance(caught.value.error, expected)
    await app.resume()


async def test_a_ticket_is_of_one_user(world: World):
    app = world.app("mia")
    await app.open()
    app.name = "tom"
    with pytest.raises(Ended) as caught:
        await app.resume()
    assert isinstance(caught.value.error, ResumeInvalid)


async def test_a_session_past_its_deadline_does_not_resume(world: World):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    await app.acquire()
    app.drop()
    world.clock.seconds += 61.7
    with pytest.raises(Ended) as caught:
        await app.resume()
    assert isinstance(caught.value.error, SessionExpired)
    await world.settled()
    assert world.pool_of("pools/p1").held == 0
    assert not (await app.resume()).leases  # forgotten by now: it goes on, with nothing


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"units": 10_001}, error_pb2.REASON_FIELD_INVALID),
        ({"request_id": "mine"}, error_pb2.REASON_FIELD_INVALID),
        ({"priority": 101}, error_pb2.REASON_FIELD_INVALID),
        ({"features": [{"feature": "mesh", "units": 0}]}, error_pb2.REASON_FIELD_INVALID),
        ({"features": [{"feature": "mesh", "units": 1}] * 2}, error_pb2.REASON_FIELD_INVALID),
        ({"features": [{"feature": "ghost", "units": 1}]}, error_pb2.REASON_FEATURE_UNKNOWN),
        ({"units": 4}, error_pb2.REASON_POOL_TOO_SMALL),
        ({"pool": "pools/other"}, error_pb2.REASON_NOT_FOUND),
    ],
)
async def test_a_bad_acquire_is_denied_and_the_session_goes_on(world: World, fields, reason):
    await world.add_pool(3)
    app = world.app()
    await app.open()
    sent = await app.ask(**fields)
    denied = await app.next("denied")
    assert (denied.sequence, denied.explanation.reason) == (sent.sequence, reason)
    assert denied.explanation.sentence
    await app.renew()
    assert world.pool_of("pools/p1").held == 0


async def test_a_session_takes_so_much_and_no_more(tmp_path):
    world = World(tmp_path / "a.db", limits=SessionLimits(holdings=2))
    await world.start()
    await world.add_pool(5)
    app = world.app()
    await app.open()
    await app.acquire()
    await app.acquire()
    await app.ask()
    denied = await app.next("denied")
    assert denied.explanation.metadata["limit"] == "session.holdings"
    assert denied.explanation.metadata["rule"] == "session_holdings"
    await world.stop()


async def test_a_reader_that_does_not_read_is_cut_off_and_its_session_lives(tmp_path):
    world = World(tmp_path / "a.db", limits=SessionLimits(unread_frames=8))
    await world.start()
    await world.add_pool(1)
    app = world.app()
    await app.open()
    session = next(iter(world.sessions.presence))
    link = session.link
    assert link is not None
    big = HoldSessionResponse(
        changed=session_pb2.Changed(resource="x" * 200_000)
    )  # fills the windows of the transport, which the app does not empty
    for _ in range(2_000):
        if link.outbox.ended:
            break
        link.outbox.push(big)
        await asyncio.sleep(0)
    assert isinstance(link.outbox.error, LimitExceeded)
    assert link.outbox.pop() is None
    assert isinstance(await app.ends(), LimitExceeded)
    assert not (await app.resume()).leases
    await world.stop()


async def test_an_app_that_sends_without_end_is_read_later(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    held, free, asked = asyncio.Event(), asyncio.Event(), []

    async def hold(seconds: float) -> None:
        asked.append(seconds)
        held.set()
        await free.wait()

    monkeypatch.setattr(
        session_service, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": hold})
    )
    world.frames = lambda user: 7.0 if user.endswith("/mia") else 0.0
    app, other = world.app(), world.app("bob", "device-b")
    await app.open()
    await other.open()
    for _ in range(2 * FRAMES_AT_ONCE - 1):
        await app.send(renew=app.renew_frame())
    async with asyncio.timeout(SECONDS):
        await held.wait()
    sequences = [(await app.next("renewed")).sequence for _ in range(FRAMES_AT_ONCE - 1)]
    late = asyncio.ensure_future(app.next("renewed"))
    for _ in range(2 * FRAMES_AT_ONCE - 1):  # nobody else waits
        await other.renew()
    assert not late.done()
    free.set()
    sequences.append((await late).sequence)
    sequences += [(await app.next("renewed")).sequence for _ in range(FRAMES_AT_ONCE - 1)]
    assert sequences == sorted(set(sequences))
    assert asked == [7.0]


async def test_who_asks_and_does_not_read_is_cut_off_after_a_while_and_its_session_lives(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(session_service, "UNREAD_TIME", 0.2)
    await world.add_pool(1)
    app = world.app()
    await app.open()
    link = next(iter(world.sessions.presence)).link
    assert link is not None
    for _ in range(UNREAD_ANSWERS):
        await app.send(renew=app.renew_frame(signed=True))
    await world.hears(lambda: isinstance(link.outbox.error, LimitExceeded))
    assert isinstance(await app.ends(), LimitExceeded)  # and it hears so when it reads on
    assert not (await app.resume()).leases


async def test_an_app_that_says_no_more_still_hears_its_end(world: World):
    await world.add_pool(1)
    app = world.app()
    await app.open()
    await app.acquire()
    await app.send(close=session_pb2.Close(sequence=next(app.numbers)))
    await app.call.done_writing()
    await app.next("closed")
    assert await app.ends() is None
    assert world.pool_of("pools/p1").held == 0


async def raw_stream(world: World, *frames: bytes) -> Any:
    """Bytes as frames, as they are; how the stream ended."""
    hold: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = world.channel.stream_stream(HOLD)
    call = hold(metadata=(("caller", "mia"),))
    try:
        for frame in frames:
            await call.write(frame)
        await call.done_writing()
        async with asyncio.timeout(SECONDS):
            while await call.read() is not grpc.aio.EOF:
                pass
            return await call.code(), await call.trailing_metadata()
    except grpc.aio.AioRpcError as error:
        return error.code(), error.trailing_metadata()
    except asyncio.InvalidStateError:  # the stream ended while we wrote
        return await call.code(), await call.trailing_metadata()


def test_random_and_truncated_bytes_never_hold_anything(tmp_path_factory):
    """One loop and server for all examples, since hypothesis can not await."""
    loop = asyncio.new_event_loop()
    world = World(tmp_path_factory.mktemp("fuzz") / "a.db")
    loop.run_until_complete(world.start())
    loop.run_until_complete(world.add_pool(3))
    app = world.app()
    valid = [
        HoldSessionRequest(open=app.open_frame()).SerializeToString(),
        HoldSessionRequest(
            acquire=session_pb2.Acquire(sequence=9, request_id="0" * 36)
        ).SerializeToString(),
        HoldSessionRequest(close=session_pb2.Close(sequence=10)).SerializeToString(),
    ]
    cut = st.builds(lambda frame, n: frame[:n], st.sampled_from(valid), st.integers(0, 120))
    flipped = st.builds(_flipped, st.sampled_from(valid), st.integers(0, 2**32))

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.one_of(st.binary(max_size=200), cut, flipped), min_size=1, max_size=4))
    def fuzz(frames: list[bytes]) -> None:
        code, trailers = loop.run_until_complete(raw_stream(world, *frames))
        if code is not grpc.StatusCode.OK and code is not grpc.StatusCode.INTERNAL:
            assert error_of(trailers).reason is not Reason.INTERNAL
        elif code is grpc.StatusCode.INTERNAL:
            # bytes that are no message are refused by gRPC itself, without details
            assert not any(key == "grpc-status-details-bin" for key, _ in trailers)
        assert world.pool_of("pools/p1").held == 0
        for session in world.sessions.presence:
            assert session.link is None or session.state.value == "live"

    try:
        fuzz()
        # And it still serves.
        loop.run_until_complete(world.app().open())
    finally:
        loop.run_until_complete(world.stop())
        loop.close()


def _flipped(frame: bytes, seed: int) -> bytes:
    made = bytearray(frame)
    made[seed % len(made)] ^= 1 << random.Random(seed).randrange(8)
    return bytes(made)


def test_the_protocol_is_a_table_of_all_frames():
    frames = {field.name for field in HoldSessionRequest.DESCRIPTOR.fields}
    assert {frame for _, frame in PROTOCOL} == frames
    assert {phase for phase, _ in PROTOCOL} | {Phase.CLOSING} == set(Phase)


async def test_a_stream_that_says_nothing_is_ended(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session_service, "FIRST_FRAME_TIME", 0.05)
    app = world.app()
    app.connect()
    error = await app.ends()
    assert error is not None
    assert error.reason is Reason.TIMED_OUT
    await app.open()
    await asyncio.sleep(0.1)
    await app.renew()  # who has begun may be silent for as long as the session lasts
