"""Who watches a cloud session: each change once, the newest state, bounded, and no longer than allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from keypeg import errors
from keypeg.v1.document_pb2 import Envelope
from keypeg_server.domain import cloud_change, events
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.domain.cloud_change import CloudChangeKind
from keypeg_server.domain.cloud_session import CloudMode, CloudState
from keypeg_server.domain.events import Event
from keypeg_server.service import cloud_watching
from keypeg_server.service.cloud_of import Whose
from keypeg_server.service.cloud_watching import CloudNews, CloudWatching
from keypeg_server.storage.log_writer import LogWriter
from tests.server.service.office import Office

ANNA = Caller("accounts/studio/users/anna", "anna", "accounts/studio", Role.MEMBER, "t1")
BEA = replace(ANNA, user="accounts/studio/users/bea", login="bea", token="t2")
KINDS = CloudChangeKind

Stream = AsyncGenerator[CloudNews, None]


@pytest.fixture
def watching(office: Office) -> CloudWatching:
    """Of an office that keeps a log."""
    office.store.log = LogWriter(lambda _: Envelope(), b"s" * 32)
    return CloudWatching(office.cloud.get, office.hub, unread_limit=3)


async def begun(watching: CloudWatching, caller: Caller = ANNA) -> tuple[Stream, CloudNews]:
    stream = watching.watch(caller, Whose("studio"))
    return stream, await anext(stream)


async def news(stream: Stream) -> CloudNews:
    return await asyncio.wait_for(anext(stream), 5)


def kinds(told: CloudNews) -> list[CloudChangeKind]:
    return [change.kind for change in told.changes]


async def test_each_change_is_told_once_with_the_state_after_it(
    office: Office, watching: CloudWatching
) -> None:
    stream, first = await begun(watching)
    assert (first.view.session.state, first.changes) == (CloudState.CLOSED, ())
    owned = await office.license()

    await office.open_cloud("a")
    told = await news(stream)
    assert kinds(told) == [KINDS.OPENED, KINDS.ACTIVATED]
    opened, activated = told.changes
    assert (opened.device, opened.host_name, opened.user) == (
        "device-a",
        "a",
        "accounts/studio/users/anna",
    )
    assert activated.activation == told.view.activations[0]
    assert activated.product == owned.product
    assert opened.sequence < activated.sequence

    await office.open_cloud("b")
    (moved,) = (await news(stream)).changes
    assert (moved.kind, moved.from_device, moved.device) == (KINDS.MOVED, "device-a", "device-b")

    await office.choose(remove=[owned.id])
    told = await news(stream)
    assert kinds(told) == [KINDS.FREED, KINDS.MODE]
    assert told.changes[1].mode is CloudMode.MANAGED
    assert (told.view.session.mode, told.view.activations) == (CloudMode.MANAGED, ())

    await office.close_cloud("a")
    told = await news(stream)
    assert kinds(told) == [KINDS.MOVED, KINDS.CLOSED]
    assert told.view.session.state is CloudState.CLOSED
    await stream.aclose()


async def test_what_changes_nothing_is_not_told(office: Office, watching: CloudWatching) -> None:
    stream, _ = await begun(watching)
    await office.open_cloud("a")
    await news(stream)
    await office.open_cloud("a")
    await office.set_mode(CloudMode.AUTOMATIC)
    await office.choose()
    await office.license(seat_count=3)  # for a site
    await office.account("other")
    await office.open_cloud("z", account="other")
    await office.close_cloud()
    assert kinds(await news(stream)) == [KINDS.CLOSED]
    await office.close_cloud()
    pending = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    assert not pending.done()
    pending.cancel()


async def test_a_slow_reader_is_told_the_state_and_how_much_it_missed(
    office: Office, watching: CloudWatching
) -> None:
    stream, _ = await begun(watching)
    for device in "abcde":
        await office.open_cloud(device)
    told = await news(stream)
    assert [change.host_name for change in told.changes] == ["c", "d", "e"]
    assert told.missed_count == 2
    assert told.view.session.holder is not None
    assert told.view.session.holder.host_name == "e"
    await office.open_cloud("f")
    assert (await news(stream)).missed_count == 0
    await stream.aclose()


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (events.UserRemoved(ANNA.user), errors.TokenInvalid),
        (events.TokenRevoked(ANNA.token), errors.TokenInvalid),
        (events.AccountAbandoned("accounts/studio"), errors.KeypegError),
    ],
)
async def test_who_may_not_watch_any_more_is_told_nothing(
    office: Office,
    watching: CloudWatching,
    event: Event,
    error: type[errors.KeypegError],
) -> None:
    stream, _ = await begun(watching)
    other, _ = await begun(watching, BEA)
    await office.open_cloud("a")
    office.hub.publish(event)
    with pytest.raises(error):
        await news(stream)
    if error is errors.TokenInvalid:
        assert kinds(await news(other)) == [KINDS.OPENED]
    await other.aclose()


async def test_streams_are_bounded_and_end_with_the_server(
    watching: CloudWatching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_watching, "OF_USER_LIMIT", 2)
    streams = [(await begun(watching))[0] for _ in range(2)]
    with pytest.raises(errors.LimitExceeded):
        await begun(watching)
    other, _ = await begun(watching, BEA)
    await streams.pop().aclose()
    streams.append((await begun(watching))[0])
    watching.stop()
    for stream in (*streams, other):
        with pytest.raises(errors.ServerDraining):
            await news(stream)
    with pytest.raises(errors.ServerDraining):
        await begun(watching)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{",
        '{"event":"granted","time":1}',
        '{"event":"activation_created","kind":"site","time":1}',
        '{"event":"cloud_opened","time":"never"}',
    ],
)
def test_what_is_no_change_of_a_cloud_session_is_passed_over(body: str) -> None:
    assert cloud_change.of_record(body, 1) is None
