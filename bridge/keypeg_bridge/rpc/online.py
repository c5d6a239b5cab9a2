"""A bridge that has a server: keys that come are compared there, and what it says of them is remembered here.

Promises: each enrolled key is asked about when it comes, after it was written to, and from time to time; an app never waits for
it. A server that cannot be reached is asked again; its refusals are in the log. The token is read anew each time, and is in no
log. Without a server nothing of this runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
import grpc.aio
import structlog

from keypeg import calls
from keypeg.errors import KeyNotEnrolled, KeypegError, SignInRequired
from keypeg.keys import SUSPICION_CHARACTERS, SUSPICIONS
from keypeg.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    location_service_pb2,
    location_service_pb2_grpc,
)
from keypeg_bridge import enrollment
from keypeg_bridge.rack.memory import Memory, public_key_of
from keypeg_bridge.rack.rack import Rack
from keypeg_bridge.rack.reading import Reading
from keypeg_bridge.rack.shelf import KeyChange
from keypeg_bridge.rack.states import State

CALL_LIMIT: Final = 10.0
"""Seconds for one call."""
AGAIN: Final = 30.0
"""Seconds until a server that could not be asked is asked again."""
CLIENT: Final = (("keypeg-client", "bridge"),)
"""Says what calls: servers may want bridges to have certificates."""
_LOG = structlog.get_logger(__name__)


class Server(Protocol):
    """The server, as far as it is asked here."""

    async def check(
        self, request: location_service_pb2.CheckKeyRequest
    ) -> location_service_pb2.CheckKeyResponse:
        """Compare a key; the account is filled in. Raises KeypegError."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server is, and the files that say who asks."""

    target: str
    ca_file: Path | None
    token_file: Path | None
    """None: the certificate in `state` says it."""
    state: Path = Path()

    def channel(self, now: datetime) -> grpc.aio.Channel:
        """A channel with what the files have now; SignInRequired when they can not be used."""
        try:
            ca = self.ca_file.read_bytes() if self.ca_file else None
            if self.token_file is not None:
                return calls.connect(self.target, ca=ca, token=self.token_file.read_text().strip())
            mine = enrollment.load(self.state)
            mine.check(now)
        except (OSError, UnicodeDecodeError) as error:
            raise SignInRequired(f"A file of [server] cannot be read: {error}.") from error
        except enrollment.EnrollmentError as error:
            raise SignInRequired(str(error)) from error
        return calls.connect(self.target, ca=ca, identity=(mine.key, mine.certificate))


class AccountServer:
    """A server, over gRPC, as the user of a token or by the bridge's certificate."""

    def __init__(self, access: Access, now: Callable[[], datetime]) -> None:
        self._access = access
        self._now = now

    async def check(
        self, request: location_service_pb2.CheckKeyRequest
    ) -> location_service_pb2.CheckKeyResponse:
        channel = self._access.channel(self._now())
        try:
            accounts = account_service_pb2_grpc.AccountServiceStub(channel)
            me = await accounts.GetCaller(
                account_service_pb2.GetCallerRequest(), timeout=CALL_LIMIT, metadata=CLIENT
            )
            request.parent = me.account
            locations = location_service_pb2_grpc.LocationServiceStub(channel)
            return await locations.CheckKey(request, timeout=CALL_LIMIT, metadata=CLIENT)
        except grpc.aio.AioRpcError as error:
            raise calls.translate(error) from error
        finally:
            await channel.close()


class Online:
    """Asks the server about keys."""

    def __init__(
        self, rack: Rack, memory: Memory, server: Server, interval: timedelta, again: float = AGAIN
    ) -> None:
        self._rack = rack
        self._memory = memory
        self._server = server
        self._interval = interval.total_seconds()
        self._again = again
        self._asked: dict[str, tuple[Any, ...]] = {}
        """What each key had shown when it was asked about last."""
        self._wake = asyncio.Event()
        self._said = ""
        self._task: asyncio.Task[None] | None = None
        self._unlisten: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Ask from now on."""
        self._unlisten = self._rack.listen(self._heard)
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Ask no more."""
        self._unlisten()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _heard(self, change: KeyChange) -> None:
        if change.record.state is not State.PRESENT:
            self._asked.pop(change.record.name, None)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            done = await self._ask_all()
            try:
                async with asyncio.timeout(self._interval if done else self._again):
                    await self._wake.wait()
            except TimeoutError:
                self._asked.clear()

    async def _ask_all(self) -> bool:
        """Ask about each key that has something new; False when the server could not be asked."""
        for record in self._rack.records():
            reading = record.reading
            if record.state is not State.PRESENT or reading is None:
                continue
            shown = _shown(reading)
            if reading.identity.card_id is None or self._asked.get(record.name) == shown:
                continue
            try:
                await self._ask(reading)
            except KeyNotEnrolled as error:  # not this account's
                _LOG.info("key not known to the server", key=record.name, why=str(error))
            except KeypegError as error:
                if error.reason.name != self._said:
                    _LOG.warning("server not asked", reason=error.reason.name, why=str(error))
                self._said = error.reason.name
                return False
            self._said = ""
            self._asked[record.name] = shown
        return True

    async def _ask(self, reading: Reading) -> None:
        identity = reading.identity
        public_key = public_key_of(identity)
        if public_key is None or identity.card_id is None:
            return
        refused = [*reading.signals, *map(str, self._memory.objections(reading))]
        answer = await self._server.check(
            location_service_pb2.CheckKeyRequest(
                card_id=identity.card_id.hex(),
                public_key=public_key,
                contents=[one.envelope for one in reading.index.contents],
                suspicions=[one[:SUSPICION_CHARACTERS] for one in refused[:SUSPICIONS]],
            )
        )
        before = len(self._memory.objections(reading))
        for one in answer.statements:
            self._memory.fence(one.contents, one.delegation)
        if len(self._memory.objections(reading)) != before:  # its sessions hear so
            for record in self._rack.records():
                if record.reading is not None and record.reading.identity == identity:
                    self._rack.rewritten(record.name, record.reading)


def _shown(reading: Reading) -> tuple[Any, ...]:
    contents = tuple(one.envelope.payload for one in reading.index.contents)
    return reading.identity.public_key, contents, reading.signals
