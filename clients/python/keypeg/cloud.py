"""Opening the account's cloud session on this device, when a session needs it.

Promises: it is taken from another device only when the app said `move`; the answer of the server is the
error otherwise.

Leaves to others: when to try (client), and asking a person (the app, cli).
"""

from __future__ import annotations

import uuid
from typing import Final

from keypeg import hostinfo, names
from keypeg.errors import FieldInvalid, KeypegError, Reason
from keypeg.profile import Profile

CALL_TIMEOUT: Final = 10.0  # s

_HELPS: Final = {
    "open": frozenset({Reason.CLOUD_SESSION_CLOSED}),
    "move": frozenset({Reason.CLOUD_SESSION_CLOSED, Reason.CLOUD_SESSION_ELSEWHERE}),
}


def can_help(error: KeypegError, policy: str) -> bool:
    """Whether opening the cloud session here would remove the error, and the app wants that."""
    return error.reason in _HELPS.get(policy, frozenset())


async def open_here(profile: Profile, device: str, *, move: bool) -> None:
    """Opens the account's cloud session on this device; `move`: also when another device has it."""
    import grpc

    from keypeg import calls
    from keypeg.v1 import (
        account_service_pb2,
        account_service_pb2_grpc,
        cloud_session_service_pb2,
        cloud_session_service_pb2_grpc,
        session_pb2,
    )

    ca = None if profile.server.startswith("unix:") else profile.ca_certificates()
    async with calls.connect(profile.server, ca=ca, token=profile.token) as channel:
        try:
            account = profile.account
            if not account:
                accounts = account_service_pb2_grpc.AccountServiceStub(channel)
                caller = await accounts.GetCaller(
                    account_service_pb2.GetCallerRequest(), timeout=CALL_TIMEOUT
                )
                account = caller.account
            if not names.ACCOUNT.matches(account):
                raise FieldInvalid(
                    "This sign-in belongs to no account that has a cloud session; sign in as a "
                    "member of one.",
                    field="account",
                )
            stub = cloud_session_service_pb2_grpc.CloudSessionServiceStub(channel)
            await stub.OpenCloudSession(
                cloud_session_service_pb2.OpenCloudSessionRequest(
                    name=f"{account}/cloudSession",
                    request_id=str(uuid.uuid4()),
                    device=session_pb2.Device(id=device, host_name=hostinfo.host_name()),
                    keep_elsewhere=not move,
                ),
                timeout=CALL_TIMEOUT,
            )
        except grpc.RpcError as error:
            raise calls.translate(error) from None
