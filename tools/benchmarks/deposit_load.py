"""Open automatic cloud sessions, each with an app that runs there: how soon it hears of a deposit, and of a move.

Promises: every app is a session on a stream, whose codes are checked; somebody watches each cloud session that
is moved; each account, user and cloud session is made through the server's own API. One line of JSON says what was found. Clocks are this program's own.

Leaves to others: what is made of it (cloud.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.python_session import require
from keypeg import sessionkey
from keypeg.errors import Reason
from keypeg.randomness import SystemRandomness
from keypeg.rpc_errors import translate
from keypeg.v1 import (
    account_pb2,
    account_service_pb2,
    cloud_session_service_pb2,
    license_service_pb2,
    product_pb2,
    session_pb2,
)
from keypeg.v1.account_service_pb2_grpc import AccountServiceStub
from keypeg.v1.cloud_session_service_pb2_grpc import CloudSessionServiceStub
from keypeg.v1.license_service_pb2_grpc import LicenseServiceStub
from keypeg.v1.session_service_pb2 import HoldSessionRequest
from keypeg.v1.session_service_pb2_grpc import SessionServiceStub

PASSWORD: Final = "bench-bench-bench"
OPENING_AT_ONCE: Final = 16
HEARING_SECONDS: Final = 30.0

_ids = SystemRandomness()


class Customer:
    """An account with its cloud session open, and an app that runs there."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        acting: grpc.aio.Channel,
        staff: Any,
        product: str,
        number: int,
    ) -> None:
        """`channel`: where the app runs and somebody watches; `acting`: where all else is done."""
        self._channel = channel
        self._acting = acting
        self._staff = staff
        self._product = product
        self._number = number
        self.account = f"accounts/deposit-{number}"
        self.sent = self.answered = self.heard = 0.0
        self.moved = self.stopped = self.seen = 0.0
        self._call: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._told = asyncio.Event()
        self._ended = asyncio.Event()
        self._watched = asyncio.Event()
        self._own: Any = None

    async def begin(self) -> None:
        """Make the account, open the cloud session, and start the app."""
        accounts, licenses = AccountServiceStub(self._acting), LicenseServiceStub(self._acting)
        login = f"{self._number}@deposit.example"
        await accounts.CreateAccount(
            account_service_pb2.CreateAccountRequest(
                request_id=_ids.request_id(),
                account_id=self.account.rpartition("/")[2],
                display_name="Deposit",
            ),
            metadata=self._staff,
        )
        await accounts.CreateUser(
            account_service_pb2.CreateUserRequest(
                parent=self.account,
                request_id=_ids.request_id(),
                login=login,
                password=PASSWORD,
                role=account_pb2.ROLE_MEMBER,
            ),
            metadata=self._staff,
        )
        signed_in: Any = await accounts.SignIn(
            account_service_pb2.SignInRequest(login=login, password=PASSWORD)
        )
        self._own = own = (("authorization", f"Bearer {signed_in.token}"),)
        await licenses.CreateLicense(self._license(), metadata=self._staff)
        device = session_pb2.Device(id=f"device-{self._number:08}", host_name=f"pc-{self._number}")
        await CloudSessionServiceStub(self._acting).OpenCloudSession(
            cloud_session_service_pb2.OpenCloudSessionRequest(
                name=f"{self.account}/cloudSession", request_id=_ids.request_id(), device=device
            ),
            metadata=own,
        )
        self._call = SessionServiceStub(self._channel).HoldSession(metadata=own)
        share = sessionkey.KeyShare.generate()
        first = session_pb2.Open(
            sequence=1,
            protocol_version=1,
            device=device,
            app=session_pb2.App(name="deposit", version="1.0", sdk="keypeg-bench/1"),
            product=self._product,
            nonce=os.urandom(32),
            key_share=share.public,
        )
        await self._call.write(HoldSessionRequest(open=first))
        opened = (await self._call.read()).opened
        codes = sessionkey.FrameAuthenticator(
            share.agree(opened.key_share, first.nonce, opened.session)
        )
        valid_for = sessionkey.microseconds(opened.valid_for)
        require(opened.mac == codes.opened(1, opened.session, valid_for, False, []), opened)
        self._tasks.append(asyncio.create_task(self._listen()))

    async def watch(self) -> None:
        """Somebody looks at its cloud session."""
        request = cloud_session_service_pb2.WatchCloudSessionRequest(
            name=f"{self.account}/cloudSession"
        )
        stream: Any = CloudSessionServiceStub(self._channel).WatchCloudSession(
            request, metadata=self._own
        )
        await stream.read()

        async def look() -> None:
            while (response := await stream.read()) and not self.seen:
                if response.cloud_session.device == self._elsewhere().id:
                    self.seen = time.monotonic()
                    self._watched.set()
            stream.cancel()

        self._tasks.append(asyncio.create_task(look()))

    async def move(self) -> None:
        """Open the cloud session on another computer: the app has to stop."""
        request = cloud_session_service_pb2.OpenCloudSessionRequest(
            name=f"{self.account}/cloudSession",
            request_id=_ids.request_id(),
            device=self._elsewhere(),
        )
        self.moved = time.monotonic()
        await CloudSessionServiceStub(self._acting).OpenCloudSession(request, metadata=self._own)

    def _elsewhere(self) -> session_pb2.Device:
        return session_pb2.Device(id=f"laptop-{self._number:08}", host_name="laptop")

    async def deposit(self) -> None:
        """One more license, which is no copy of the first."""
        request = self._license()
        request.features.append(product_pb2.FeatureGrant(feature="extra"))
        self.sent = time.monotonic()
        made: Any = await LicenseServiceStub(self._acting).CreateLicense(
            request, metadata=self._staff
        )
        self.answered = time.monotonic()
        require(made.license.activations_used_count == 1, "it is not in the cloud")

    def fault(self) -> str:
        """Why its app, or who watches, went away."""
        faults = (task.exception() for task in self._tasks if task.done())
        return next((str(fault) for fault in faults if fault is not None), "")

    async def until_heard(self) -> bool:
        """Whether the app heard of the deposit in time."""
        return await _in_time(self._told)

    async def until_moved(self) -> bool:
        """Whether the app has stopped and the watcher has seen it in time."""
        return await _in_time(self._ended) and await _in_time(self._watched)

    def _license(self) -> license_service_pb2.CreateLicenseRequest:
        return license_service_pb2.CreateLicenseRequest(
            parent=self.account, request_id=_ids.request_id(), product=self._product
        )

    async def _listen(self) -> None:
        while True:
            try:
                frame = await self._call.read()
            except grpc.aio.AioRpcError as error:
                ended = translate(error)
                require(ended.reason is Reason.CLOUD_SESSION_MOVED, ended)
                self.stopped = time.monotonic()
                self._ended.set()
                return
            require(bool(frame), "the stream has ended")
            added = frame.changed.change == session_pb2.CHANGE_LICENSE_ADDED
            if added and self.sent and not self.heard:
                self.heard = time.monotonic()
                self._told.set()


async def _in_time(event: asyncio.Event) -> bool:
    try:
        await asyncio.wait_for(event.wait(), HEARING_SECONDS)
    except TimeoutError:
        return False
    return True


def parts(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(one * 1e3 for one in seconds)
    return {
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[int(len(ordered) * 0.99)],
        "longest": ordered[-1],
    }


async def main() -> None:
    """Open everything, deposit, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--other", required=True, help="a second server, or the same")
    parser.add_argument("--ca", type=Path, required=True)
    parser.add_argument("--product", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--moves", type=int, required=True)
    parser.add_argument("--movers", type=int, required=True)
    parser.add_argument("--callers", type=int, required=True)
    given = parser.parse_args()
    staff = (("authorization", f"Bearer {os.environ['KEYPEG_TOKEN']}"),)
    credentials = grpc.ssl_channel_credentials(given.ca.read_bytes())
    here, there = (
        [
            grpc.aio.secure_channel(
                target,
                credentials,
                options=[("grpc.use_local_subchannel_pool", 1), ("keypeg.bench.number", number)],
            )
            for number in range(4)
        ]
        for target in (given.target, given.other)
    )
    if given.other == given.target:
        there = here
    customers = []
    for number in range(given.count):
        near, far = (here, there) if number % 2 else (there, here)
        channel, acting = near[number % 4], far[number % 4]
        customers.append(Customer(channel, acting, staff, given.product, number))
    gate = asyncio.Semaphore(OPENING_AT_ONCE)

    async def begun(customer: Customer) -> None:
        async with gate:
            await customer.begin()

    await asyncio.gather(*map(begun, customers))

    async def by_callers(
        count: int, act: Callable[[Customer], Awaitable[None]], of: list[Customer]
    ) -> float:
        """By so many at once, each one after the other; the seconds that took."""
        waiting = iter(of)

        async def caller() -> None:
            for customer in waiting:
                await act(customer)

        at = time.monotonic()
        await asyncio.gather(*(caller() for _ in range(count)))
        return time.monotonic() - at

    took = await by_callers(given.callers, Customer.deposit, customers)
    heard = await asyncio.gather(*(customer.until_heard() for customer in customers))
    movers = customers[: given.moves]
    await asyncio.gather(*(customer.watch() for customer in movers))
    await by_callers(given.movers, Customer.move, movers)
    moved = await asyncio.gather(*(customer.until_moved() for customer in movers))
    result: dict[str, Any] = {
        "event": "result",
        "count": given.count,
        "moves": given.moves,
        "movers": given.movers,
        "callers": given.callers,
        "seconds": took,
        "missing": heard.count(False) + moved.count(False),
        "why": next((fault for customer in customers if (fault := customer.fault())), ""),
    }
    if not result["missing"]:
        result["sent"] = parts([one.heard - one.sent for one in customers])
        result["answered"] = parts([max(0.0, one.heard - one.answered) for one in customers])
        result["stopped"] = parts([one.stopped - one.moved for one in movers])
        result["watched"] = parts([one.seen - one.moved for one in movers])
    print(json.dumps(result), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    uvloop.run(main())
