"""Codes that sign in: approved where somebody is signed in already, or typed at an outside provider.

Promises: what a code is finished with is a secret, and shows in no repr. SignInPending until it was approved or typed;
CodeRequired where the user has one-time codes, which a provider is not trusted to stand for.

Leaves to others: how often is asked, and what becomes of the answer (launch_sign_in).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import grpc.aio

from keypeg import calls

if TYPE_CHECKING:
    from keypeg.v1.sign_in_pb2 import SignedIn

PROVIDER_TIME: Final = 45.0  # s for a call in which the server asks the provider


class Code(Protocol):
    """A code that is to be approved, or typed."""

    @property
    def user_code(self) -> str:
        """What the person reads."""
        ...

    @property
    def url(self) -> str:
        """Where they type it; empty where it is approved."""
        ...

    @property
    def interval(self) -> float:
        """Seconds between two questions."""
        ...

    async def finish(self, channel: grpc.aio.Channel, one_time_code: str) -> SignedIn:
        """Signs in."""
        ...


@dataclass(frozen=True)
class ByApproval:
    """Approved with `keypeg sign-ins approve`; implements `Code`."""

    user_code: str
    device_code: str = field(repr=False)
    interval: float
    url: str = ""

    @classmethod
    async def begin(cls, channel: grpc.aio.Channel, provider: str, client_name: str) -> Self:
        """Gets one."""
        from keypeg.v1 import sign_in_service_pb2 as pb
        from keypeg.v1 import sign_in_service_pb2_grpc as rpc

        asked = pb.BeginDeviceSignInRequest(client_name=client_name)
        answer = await calls.call(rpc.SignInServiceStub(channel).BeginDeviceSignIn, asked)
        return cls(answer.user_code, answer.device_code, _seconds(answer.interval))

    async def finish(self, channel: grpc.aio.Channel, one_time_code: str) -> SignedIn:
        """Signs in."""
        from keypeg.v1 import sign_in_service_pb2 as pb
        from keypeg.v1 import sign_in_service_pb2_grpc as rpc

        asked = pb.FinishDeviceSignInRequest(device_code=self.device_code)
        answer = await calls.call(rpc.SignInServiceStub(channel).FinishDeviceSignIn, asked)
        signed_in: SignedIn = answer.signed_in
        return signed_in


@dataclass(frozen=True)
class ByProvider:
    """Typed at an outside provider; implements `Code`."""

    user_code: str
    sign_in: str = field(repr=False)
    interval: float
    url: str

    @classmethod
    async def begin(cls, channel: grpc.aio.Channel, provider: str, client_name: str) -> Self:
        """Gets one; NotFound where the provider has none."""
        from keypeg.v1 import identity_service_pb2 as pb
        from keypeg.v1 import identity_service_pb2_grpc as rpc

        asked = pb.BeginProviderSignInRequest(provider=provider, client_name=client_name)
        stub = rpc.IdentityServiceStub(channel)
        answer = await calls.call(stub.BeginProviderSignIn, asked, timeout=PROVIDER_TIME)
        interval = _seconds(answer.interval)
        return cls(answer.user_code, answer.sign_in, interval, answer.url)

    async def finish(self, channel: grpc.aio.Channel, one_time_code: str) -> SignedIn:
        """Signs in; what the provider has said once need not be asked again."""
        from keypeg.v1 import identity_service_pb2 as pb
        from keypeg.v1 import identity_service_pb2_grpc as rpc

        stub = rpc.IdentityServiceStub(channel)
        prove = pb.ProveProviderSignInRequest(sign_in=self.sign_in)
        await calls.call(stub.ProveProviderSignIn, prove, timeout=PROVIDER_TIME)
        asked = pb.FinishProviderSignInRequest(sign_in=self.sign_in, code=one_time_code)
        answer = await calls.call(stub.FinishProviderSignIn, asked)
        signed_in: SignedIn = answer.signed_in
        return signed_in


def _seconds(duration: Any) -> float:
    seconds: float = duration.ToTimedelta().total_seconds()
    return seconds
