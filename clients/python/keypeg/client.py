"""Where an app's license is looked for, and what is said when there is none.

Promises: the order is: a license document for this computer, a seat that is borrowed for it, the bridge (keys,
this computer), the account's cloud session and the seats of the server; the first that has a license wins. When none has, one error says
what each of them said.

Leaves to others: what an open session does (stream_driver, offline_session, borrow_session), the environment (profile,
discovery).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from keypeg import cloud as cloud_sessions
from keypeg import discovery, hostinfo, offline, servers, sign_in
from keypeg import profile as profiles
from keypeg.clock import Clock, SystemClock
from keypeg.errors import FieldInvalid, KeypegError, LicenseMissing, Reason
from keypeg.event_hub import EventHub
from keypeg.key_counters import KeyCounters
from keypeg.offline_session import LocalDriver, OfflineDriver
from keypeg.randomness import SystemRandomness
from keypeg.session_frames import Asking
from keypeg.session_guard import Pinned
from keypeg.session_machine import SessionMachine
from keypeg.versions import Release

if TYPE_CHECKING:
    from keypeg.dialing import TokenSource
    from keypeg.stream_driver import StreamDriver

Cloud = Literal["ask", "open", "move", "never"]
"""What to do when the account's cloud session is not on this device: raise, so that the app can ask (ask,
never); open it if it is closed (open); take it over from another device, too (move)."""

KINDS: Final[Mapping[str, int]] = {"cloud": 1, "key": 2, "host": 3, "site": 4}  # as LocationKind
ROOT_SIZE: Final = 32  # bytes of an Ed25519 key
_COUNTERS: Final = KeyCounters()  # of all sessions of this process

# When several places were asked and all refused, the error that a person can act on is raised.
_UNINFORMATIVE: Final = (
    Reason.LICENSE_MISSING,
    Reason.KEY_MISSING,
    Reason.UNREACHABLE,
    Reason.DOCUMENT_OTHER_PRODUCT,
)


@dataclass(frozen=True)
class Request:
    """What an app asks for, with everything from the environment filled in."""

    pinned: Pinned
    app_name: str
    profile: profiles.Profile
    bridge: str | None
    agent: str | None
    licenses: Path
    borrows: Path
    marks: Path
    kinds: tuple[str, ...]  # empty for any
    cloud: Cloud
    clock: Clock
    read_parts: Callable[[], Mapping[str, str]] = field(repr=False)

    @classmethod
    def make(
        cls,
        product: str,
        *,
        root: bytes | str,
        publisher: str | None,
        server: str | Iterable[str] | None,
        ca_file: str | None,
        bridge: str | None,
        token: str | None,
        credential: str | None = None,
        profile: str | None,
        account: str | None,
        app_name: str | None,
        app_version: str,
        app_released: date | None,
        locations: Iterable[str] | None,
        cloud: Cloud | None,
        clock: Clock | None,
    ) -> Request:
        """Checks what the app gave, and fills in the rest."""
        address = None if server is None else servers.joined(server)
        loaded = profiles.given(profile, address, ca_file, token, account, credential)
        policy = cloud or loaded.cloud or "ask"
        if policy not in get_args(Cloud):
            raise FieldInvalid(
                f"cloud is one of {', '.join(get_args(Cloud))}, not {policy!r}.", field="cloud"
            )
        device = profiles.device_id()
        return cls(
            pinned=Pinned(
                product=product,
                device=device,
                root=root_bytes(root),
                publisher=publisher,
                counters=_COUNTERS,
                release=Release(app_version, released_at(app_released)),
            ),
            app_name=(app_name or Path(sys.argv[0] or "app").name or "app")[:128],
            profile=loaded,
            bridge=discovery.bridge_target(bridge or loaded.bridge),
            agent=discovery.agent_target(),
            licenses=profiles.licenses_dir(),
            borrows=profiles.borrows_dir(),
            marks=profiles.marks_dir(),
            kinds=_kinds(locations),
            cloud=policy,  # type: ignore[arg-type]  # checked above
            clock=clock or SystemClock(),
            read_parts=hostinfo.parts,
        )

    def wants(self, *kinds: str) -> bool:
        """Whether one of these kinds of place may be asked."""
        return not self.kinds or any(kind in self.kinds for kind in kinds)

    def numbers(self, *kinds: str) -> tuple[int, ...]:
        """The kinds for `open`; empty for any."""
        return tuple(KINDS[kind] for kind in self.kinds if kind in kinds)


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


def root_bytes(root: bytes | str) -> bytes:
    """The pinned root: 32 bytes, or 64 hexadecimal characters."""
    try:
        key = bytes.fromhex(root.strip()) if isinstance(root, str) else bytes(root)
    except ValueError:
        key = b""
    if len(key) != ROOT_SIZE:
        raise FieldInvalid(
            f"The publisher's root is an Ed25519 public key: {ROOT_SIZE} bytes, or "
            f"{2 * ROOT_SIZE} hexadecimal characters.",
            field="root",
        )
    return key


def released_at(released: date | None) -> datetime | None:
    """When an app was released: a moment with its time zone, or a day, which begins in UTC."""
    if released is None or isinstance(released, datetime):
        if released is not None and released.tzinfo is None:
            raise FieldInvalid(
                f"app_released is a day, or a moment with its time zone; {released.isoformat()} has none.",
                field="app_released",
            )
        return released
    return datetime.combine(released, time(), UTC)


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
        return await attempt()
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


def _kinds(locations: Iterable[str] | None) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(locations or ()))
    if isinstance(locations, str) or (unknown := set(chosen) - set(KINDS)):
        named = locations if isinstance(locations, str) else ", ".join(sorted(unknown))
        raise FieldInvalid(
            f"locations is a list of {', '.join(KINDS)}; {named!r} is none.", field="locations"
        )
    return chosen
