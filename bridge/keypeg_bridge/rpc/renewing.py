"""Renewing the certificate by which the bridge calls its server, while it runs.

Promises: the next one is asked for when a third of the time is left, with a new key, and again until it is there; until
then the old one serves. A certificate that is installed by hand meanwhile counts from the next look on. What is wrong is in the log.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import grpc.aio
import structlog

from keypeg import calls
from keypeg.errors import KeypegError
from keypeg.v1 import certificate_service_pb2, certificate_service_pb2_grpc
from keypeg_bridge import enrollment
from keypeg_bridge.enrollment import Enrolled, EnrollmentError
from keypeg_bridge.rpc.online import CALL_LIMIT, CLIENT, Access

LOOK: Final = timedelta(hours=1)
"""How often the file is looked at, at least."""
AGAIN: Final = timedelta(minutes=1)
"""How soon a renewal that failed is tried again."""
_LOG = structlog.get_logger(__name__)


async def renew(access: Access, now: datetime) -> Enrolled:
    """The next certificate, kept; KeypegError or EnrollmentError says why there is none."""
    made = enrollment.make_request()
    channel = access.channel(now)
    try:
        stub = certificate_service_pb2_grpc.CertificateServiceStub(channel)
        request = certificate_service_pb2.RenewCertificateRequest(
            request_id=str(uuid.uuid4()), certificate_request=made.text
        )
        answer = await stub.RenewCertificate(request, timeout=CALL_LIMIT, metadata=CLIENT)
    except grpc.aio.AioRpcError as error:
        raise calls.translate(error) from error
    finally:
        await channel.close()
    return enrollment.keep(access.state, made.key, answer.pem.encode())


Ask = Callable[[Access, datetime], Awaitable[Enrolled]]
"""How the next one is got."""


class Renewing:
    """Looks after the certificate."""

    def __init__(self, access: Access, now: Callable[[], datetime], ask: Ask = renew) -> None:
        self._access = access
        self._ask = ask
        self._now = now
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """From now on."""
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """No more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> timedelta:
        """Renew it when it is time; when to look again."""
        try:
            mine = enrollment.load(self._access.state)
            if mine.is_due(self._now()):
                mine = await self._ask(self._access, self._now())
                _LOG.info("certificate renewed", until=f"{mine.ends:%Y-%m-%d %H:%M}")
        except (KeypegError, EnrollmentError) as error:
            _LOG.warning("certificate not renewed", why=str(error))
            return AGAIN
        return max(AGAIN, min(LOOK, mine.due - self._now()))

    async def _run(self) -> None:
        while True:
            pause = await self.look()
            await asyncio.sleep(pause.total_seconds())
