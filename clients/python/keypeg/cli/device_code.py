"""`keypeg login --device`: signing in by a code that is approved elsewhere.

Promises: asks no oftener than the server wants; ends when the code does, or is refused; Ctrl-C ends it at any time.

Leaves to others: the profile (login.py), keeping tokens (keypeg.sign_in).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from keypeg.cli.context import Cli

if TYPE_CHECKING:
    from keypeg.profile import Profile
    from keypeg.v1.sign_in_pb2 import SignedIn


async def sign_in_by_code(cli: Cli, profile: Profile, client_name: str) -> tuple[Profile, SignedIn]:
    """Show a code and wait for its approval; the profile as it is kept, and the answer."""
    from keypeg import errors, sign_in
    from keypeg.cli.link import Link
    from keypeg.v1 import sign_in_service_pb2 as pb
    from keypeg.v1 import sign_in_service_pb2_grpc as rpc

    link = Link.to_server(replace(profile, token=""))
    stub = rpc.SignInServiceStub(link.channel)
    try:
        code = await link.call(
            stub.BeginDeviceSignIn, pb.BeginDeviceSignInRequest(client_name=client_name)
        )
        cli.printer.note(
            f"The code is {code.user_code}. Where you are signed in: keypeg sign-ins approve {code.user_code}"
        )
        while True:
            await asyncio.sleep(code.interval.ToTimedelta().total_seconds())
            begun = cli.now()
            try:
                finished = await link.call(
                    stub.FinishDeviceSignIn,
                    pb.FinishDeviceSignInRequest(device_code=code.device_code),
                )
            except errors.SignInPending:
                continue
            return sign_in.keep(profile, finished.signed_in, begun), finished.signed_in
    finally:
        await link.close()
