"""An app's side of a session, frame by frame, with the checks that every real app makes."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio

from keypeg import proof
from keypeg.calls import translate
from keypeg.errors import KeypegError
from keypeg.v1 import location_pb2, proof_pb2, session_pb2, session_service_pb2_grpc
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse
from lab.processes import PATIENCE
from tests.bridge.publisher import Publisher

DEVICE = "device-of-a-test"
WAIT = 15.0 * PATIENCE


def error_of(call_error: BaseException) -> KeypegError:
    """The refusal in a failed call."""
    assert isinstance(call_error, grpc.RpcError), repr(call_error)
    return translate(call_error)


class AppSide:
    """One app on one stream."""

    def __init__(self, channel: grpc.aio.Channel, product: str = "synth") -> None:
        self._stub = session_service_pb2_grpc.SessionServiceStub(channel)
        self.product = product
        self.sequences = itertools.count(1)
        self.nonce = b""
        self.opened = session_pb2.Opened()
        self.call: Any = None

    def start(self) -> None:
        """A new stream."""
        self.call = self._stub.HoldSession()

    async def send(self, **frame: Any) -> None:
        """One frame up."""
        if self.call is None:
            self.start()
        async with asyncio.timeout(WAIT):
            await self.call.write(HoldSessionRequest(**frame))

    async def receive(self) -> HoldSessionResponse:
        """One frame down. EOFError when the stream has ended well, the refusal when it has not."""
        try:
            async with asyncio.timeout(WAIT):
                answer = await self.call.read()
        except grpc.RpcError as error:
            raise translate(error) from None
        if answer is grpc.aio.EOF:
            code = await self.call.code()
            if code is not grpc.StatusCode.OK:
                raise await self.refusal()
            raise EOFError
        assert isinstance(answer, HoldSessionResponse)
        return answer

    async def refusal(self) -> KeypegError:
        """What the stream ended with."""
        async with asyncio.timeout(WAIT):
            code = await self.call.code()
            assert code is not grpc.StatusCode.OK, "the stream ended well"
            try:
                while await self.call.read() is not grpc.aio.EOF:
                    pass
                await self.call.wait_for_connection()
            except grpc.RpcError as error:
                return translate(error)
        ended = grpc.aio.AioRpcError(
            code,
            await self.call.initial_metadata(),
            await self.call.trailing_metadata(),
            await self.call.details(),
        )
        return translate(ended)

    def open_frame(self, **changes: Any) -> session_pb2.Open:
        """An `open` as the SDK sends it."""
        self.nonce = secrets.token_bytes(32)
        values: dict[str, Any] = {
            "sequence": next(self.sequences),
            "protocol_version": 1,
            "device": session_pb2.Device(id=DEVICE, host_name="test"),
            "app": session_pb2.App(name="test", version="1.0", sdk="test/1", process_id=1),
            "product": self.product,
            "nonce": self.nonce,
        }
        return session_pb2.Open(**(values | changes))

    async def open(self, **changes: Any) -> session_pb2.Opened:
        """Open, and what came of it."""
        await self.send(open=self.open_frame(**changes))
        answer = await self.receive()
        assert answer.WhichOneof("frame") == "opened", answer
        self.opened = answer.opened
        return answer.opened

    def resume_frame(self, **changes: Any) -> session_pb2.Resume:
        """A `resume` of the session opened before."""
        self.nonce = secrets.token_bytes(32)
        values: dict[str, Any] = {
            "sequence": next(self.sequences),
            "protocol_version": 1,
            "session": self.opened.session,
            "resume_ticket": self.opened.resume_ticket,
            "nonce": self.nonce,
        }
        return session_pb2.Resume(**(values | changes))

    async def renew(self, **changes: Any) -> HoldSessionResponse:
        """Renew, and the answer, pushes passed over."""
        self.nonce = secrets.token_bytes(32)
        values: dict[str, Any] = {"sequence": next(self.sequences), "nonce": self.nonce}
        await self.send(renew=session_pb2.Renew(**(values | changes)))
        while (answer := await self.receive()).WhichOneof("frame") not in ("renewed", "denied"):
            pass
        return answer

    def check(self, given: proof_pb2.Proof, publisher: Publisher, **changes: Any) -> proof.Verified:
        """Verify a proof as an app does."""
        values: dict[str, Any] = {
            "publisher_root": publisher.pinned,
            "publisher": publisher.name,
            "product": self.product,
            "session": self.opened.session,
            "device": DEVICE,
            "nonce": self.nonce,
            "client_key_share": b"",
            "server_key_share": b"",
            "now": datetime.now(UTC),
            "fingerprint": None,
        }
        found = proof.verify(given, proof.Expectation(**(values | changes)))
        assert found.kind == location_pb2.LOCATION_KIND_KEY
        assert found.valid_for == timedelta(seconds=30)
        return found
