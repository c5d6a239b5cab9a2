"""Carrying one call to another server, and its answers back.

Promises: the time that is left, the metadata and the client's address go with it; bytes, status, details and trailing
metadata come back as the other server gave them. Whoever ends the call on one side ends it on the other. NotHome and
Gone say that the other server did not serve it; then the client has heard nothing.

Leaves to others: which call goes where (relay.py), channels (peers.py), the header (relayed.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, NoReturn

import grpc
import grpc.aio

from keypeg.status import DETAILS_KEY
from keypeg_server.rpc import relayed
from keypeg_server.rpc.peer import address_of
from keypeg_server.rpc.peers import Peer
from keypeg_server.rpc.relayed import Seal
from keypeg_server.service.refusals import draining

FOLLOW: Final = "keypeg-follow"
NOT_HOME: Final = "keypeg-not-home"  # in the trailing metadata of whoever was asked in vain

# What belongs to one connection, and is made anew for the next; the header is ours alone.
_OWN: Final = frozenset({"user-agent", "content-type", "te", relayed.HEADER, FOLLOW})

Metadata = Iterable[tuple[str, Any]]


class NotHome(Exception):
    """Who was asked does not serve this parent."""


class Gone(Exception):
    """Who was asked does not answer any more."""


class Carrier:
    """Carries calls of this server's clients to other servers."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._carried: set[Any] = set()  # streams that are carried at the moment
        self.draining = False

    def drain(self) -> None:
        """End the streams that are carried, for this server ends: their clients begin anew elsewhere."""
        self.draining = True
        for call in tuple(self._carried):
            call.cancel()

    async def unary(self, peer: Peer, method: str, request: bytes, context: Any) -> bytes:
        """One call at the home; `Gone` when it did not answer, its own status when it refused."""
        with peer.line() as line:
            call = line.method("unary_unary", method)(
                request,
                timeout=context.time_remaining(),
                metadata=self._metadata(method, context),
            )
            try:
                answer: bytes = await call
            except asyncio.CancelledError:
                if _own_cancellation():
                    raise
                raise Gone from None  # the channel was closed: the peer is gone
            except grpc.aio.AioRpcError as error:
                await self._refused(
                    peer, error.code(), error.details(), error.trailing_metadata(), context
                )
            peer.failing = False
            return answer

    async def stream(self, peer: Peer, method: str, kind: str, request: Any, context: Any) -> None:
        """Carry frames both ways until one side ends; as slow as the slower side reads."""
        with peer.line() as line:
            options = {
                "timeout": context.time_remaining(),
                "metadata": self._metadata(method, context),
            }
            call = (
                line.method(kind, method)(**options)
                if request is None
                else line.method(kind, method)(request.SerializeToString(), **options)
            )
            up = asyncio.ensure_future(_up(context, call)) if request is None else None
            self._carried.add(call)
            try:
                while (answer := await call.read()) is not grpc.aio.EOF:
                    peer.failing = False
                    await context.write(answer)
                code = await call.code()
                if code is not grpc.StatusCode.OK:
                    await self._refused(
                        peer, code, await call.details(), await call.trailing_metadata(), context
                    )
            except asyncio.CancelledError:
                if _own_cancellation():
                    raise
                if up is not None and up.done() and (error := up.exception()) is not None:
                    raise error from None  # what the client sent can not be read
                if self.draining:
                    raise draining() from None
                raise Gone from None
            except grpc.aio.AioRpcError as error:
                await self._refused(
                    peer, error.code(), error.details(), error.trailing_metadata(), context
                )
            finally:
                self._carried.discard(call)
                call.cancel()
                if up is not None:
                    up.cancel()
                    await asyncio.wait((up,))

    def _metadata(self, method: str, context: Any) -> list[tuple[str, Any]]:
        kept: list[tuple[str, Any]] = [
            (key, value)
            for key, value in context.invocation_metadata() or ()
            if key not in _OWN and not key.startswith((":", "grpc-"))
        ]
        bearer = relayed.bearer()
        if bearer is not None:
            kept = [(key, value) for key, value in kept if key != "authorization"]
            kept.append(("authorization", f"Bearer {bearer}"))
        kept.append((relayed.HEADER, self._seal.header(method, address_of(context))))
        return kept

    async def _refused(
        self, peer: Peer, code: Any, details: str | None, trailing: Metadata | None, context: Any
    ) -> NoReturn:
        """What the home said, word for word; an exception of this module when the client is not to hear it."""
        said = tuple(trailing or ())
        if any(key == NOT_HOME for key, _ in said):
            raise NotHome
        if code in _BROKEN and not any(key == DETAILS_KEY for key, _ in said):
            peer.failing = True
            raise Gone
        status = _Status()
        status.code, status.details = code, details or ""
        status.trailing_metadata = tuple(
            (key, value)
            for key, value in said
            if not key.startswith(("grpc-status", "grpc-message")) or key == DETAILS_KEY
        )
        await context.abort_with_status(status)
        raise AssertionError("abort_with_status always raises")


class _Status(grpc.Status):
    """A status that is passed on."""

    code: Any
    details: Any
    trailing_metadata: Any


_BROKEN: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def _own_cancellation() -> bool:
    """Whether the cancellation that is being handled is this task's own, not that of a call it made."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _up(context: Any, call: Any) -> None:
    """Carry what the client sends."""
    try:
        while (request := await context.read()) is not grpc.aio.EOF:
            await call.write(request.SerializeToString())
        await call.done_writing()
    except (grpc.aio.BaseError, grpc.RpcError, asyncio.InvalidStateError):
        return  # the call has ended, as who reads its answers finds, too
    except Exception:
        call.cancel()
        raise
