"""Where an app's license is looked for, and what is said when there is none.

Promises: the order is: a license document for this computer, a seat that is borrowed for it, the bridge (keys,
this computer), the account's cloud session and the seats of the server; the first that has a license wins. When none has, one error says
what each of them said.

Leaves to others: what is asked for (request), what an open session does (stream_driver, offline_session,
borrow_session).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from keypeg import cloud as cloud_sessions
from keypeg import hostinfo, offline, servers, sign_in
from keypeg.errors import KeypegError, LicenseMissing, Reason, Unreachable
from keypeg.event_hub import EventHub
from keypeg.offline_session import LocalDriver, OfflineDriver
from keypeg.randomness import SystemRandomness
from keypeg.request import Request
from keypeg.session_frames import Asking
from keypeg.session_machine import SessionMachine

if TYPE_CHECKING:
    from keypeg.dialing import TokenSource
    from keypeg.stream_driver import StreamDriver

_T = TypeVar("_T")

REPEATS: Final = 2  # of an opening whose refusal was lost on the way

# When several places were asked and all refused, the error that a person can act on is raised.
_UNINFORMATIVE: Final = (
    Reason.LICENSE_MISSING,
    Reason.KEY_MISSING,
    Reason.UNREACHABLE,
    Reason.DOCUMENT_OTHER_PRODUCT,
)


@dataclass(frozen=True)
class _Refusal:
    where: str
    error: KeypegError


async def open_first(request: Request, hub: EventHub) -> StreamDriver | LocalDriver:
    """Opens a session at the first place that has a license; raises one error for all otherwise."""
    refusals: list[_Refusal] = []
    for where, attempt in _places(request, hub):
        try:
            return await attempt()
        except KeypegError as error:
            refusals.append(_Refusal(where, error))
    raise _combined(request, refusals)


_Attempt = Callable[[], Awaitable["StreamDriver | LocalDriver"]]


def _places(request: Request, hub: EventHub) -> Iterable[tuple[str, _Attempt]]:
    if request.wants("host"):
        yield "this computer", lambda: _open_document(request, hub)
    if request.wants("site") and _has_borrowed(request):
        yield "the seat borrowed here", lambda: _open_borrow(request, hub)
    bridge = request.bridge
    if bridge is not None and request.wants("key", "host"):
        yield f"the bridge at {bridge}", lambda: _open_bridge(request, hub, bridge)
    server = request.profile.server
    if server and request.wants("cloud", "site"):
        yield f"the server {server}", lambda: _open_server(request, hub)


async def _open_document(request: Request, hub: EventHub) -> OfflineDriver:
    found = offline.find(request.pinned, request.licenses, request.read_parts, request.clock.wall())
    driver = OfflineDriver(found, request.pinned, request.read_parts, request.clock, hub)
    driver.start()
    return driver


def _has_borrowed(request: Request) -> bool:
    """Whether a seat of this product is borrowed here, as far as the disk says."""
    if not request.borrows.is_dir():
        return False
    from keypeg.borrow_shelf import Shelf

    product = request.pinned.product
    return any(product in kept.document.products for kept in Shelf(request.borrows).kept())


async def _open_borrow(request: Request, hub: EventHub) -> LocalDriver:
    from keypeg import borrow_session
    from keypeg.borrow_shelf import Shelf

    shelf, pinned, parts = Shelf(request.borrows), request.pinned, request.read_parts
    kept = borrow_session.find(shelf, pinned, parts, request.clock.wall())
    driver = borrow_session.BorrowDriver(
        shelf, kept, pinned, parts, request.clock, hub, SystemRandomness()
    )
    driver.start()
    return driver


async def _open_bridge(request: Request, hub: EventHub, bridge: str) -> StreamDriver:
    parts = request.read_parts() if request.wants("host") else None
    return await _open_stream(
        request, hub, bridge, kinds=request.numbers("key", "host"), to_bridge=True, parts=parts
    )


async def _open_server(request: Request, hub: EventHub) -> StreamDriver:
    async def attempt() -> StreamDriver:
        return await _open_stream(
            request, hub, request.profile.server, kinds=request.numbers("cloud", "site")
        )

    try:
        return await until_heard(attempt)
    except KeypegError as error:
        if not cloud_sessions.can_help(error, request.cloud):
            raise
    await cloud_sessions.open_here(
        request.profile, request.pinned.device, move=request.cloud == "move"
    )
    return await attempt()


async def _open_stream(
    request: Request,
    hub: EventHub,
    target: str,
    *,
    kinds: tuple[int, ...],
    to_bridge: bool = False,
    parts: Mapping[str, str] | None = None,
) -> StreamDriver:
    from keypeg.agent_link import AgentLink
    from keypeg.device_marks import Marks
    from keypeg.dialing import Dialer
    from keypeg.line import Line
    from keypeg.stream_driver import StreamDriver

    asking = Asking(
        pinned=replace(request.pinned, fingerprint=parts),
        host_name=hostinfo.host_name(),
        app_name=request.app_name,
        process_id=os.getpid(),
        location_kinds=kinds,
        to_bridge=to_bridge,
    )
    # A bridge is not trusted: it gets no token.
    ca = request.profile.ca_certificates() if not target.startswith("unix:") else None
    token = None if to_bridge else await sign_in.token_for(request.profile)
    given = servers.parse(target)
    source = None if to_bridge else _token_source(request)
    line = await Line.to(given, Dialer(ca, token or None, source), follows=not to_bridge)
    watched = request.agent is not None and not to_bridge
    driver = StreamDriver(
        SessionMachine(asking, SystemRandomness(), line.route),
        line,
        request.clock,
        hub,
        server=target,
        ca=ca,
        agent=AgentLink(request.agent) if watched and request.agent else None,
        marks=None if to_bridge else Marks(request.marks),
    )
    await driver.open()
    return driver


async def until_heard(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Opens, again where the status of a refusal was lost on the way: gRPC loses one that comes while a client sends."""
    for _ in range(REPEATS):
        try:
            return await attempt()
        except Unreachable as error:
            if error.metadata.get("code") != "INTERNAL":
                raise
    return await attempt()


def _token_source(request: Request) -> TokenSource | None:
    """Where tokens come from, when a credential file signs in."""
    if not request.profile.credential or request.profile.token:
        return None
    from keypeg.credential_sign_in import source_of

    return source_of(request.profile, request.pinned.device)


def _combined(request: Request, refusals: list[_Refusal]) -> KeypegError:
    product = request.pinned.product
    if not refusals:
        return LicenseMissing(
            f"There is nowhere to look for a license for {product}: {_absent(request)}.",
            product=product,
        )
    asked = [one for one in refusals if one.where != "this computer"]
    telling = [r for r in reversed(refusals) if r.error.reason not in _UNINFORMATIVE]
    chosen = (telling or list(reversed(asked)) or refusals)[0].error
    if len(refusals) == 1 and (asked or request.kinds == ("host",)):
        return chosen
    said = " ".join(f"{one.where.capitalize()}: {one.error.sentence}" for one in refusals)
    if not asked:
        absent = _absent(request)
        said += f" {absent[0].upper()}{absent[1:]}."
    combined = type(chosen)(
        f"No license for {product} can be used. {said}",
        explanation=chosen.explanation,
        retry_after=chosen.retry_after,
        fields=chosen.fields,
    )
    combined.metadata.update(chosen.metadata)
    return combined


def _absent(request: Request) -> str:
    """Who was wanted and is not there to be asked, and what to do."""
    absent, remedies = [], []
    if request.wants("cloud", "site"):
        absent.append("no server is set")
        remedies += ["set KEYPEG_SERVER", "sign in with `keypeg login`"]
    if request.wants("key", "host"):
        absent.append("no bridge runs")
        remedies.append("start keypeg-bridge")
    return f"{' and '.join(absent)}: {' or '.join(remedies)}"
