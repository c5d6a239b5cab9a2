"""Signing in with a credential file, as often as it is needed, without anybody noticing.

Promises: the private key leaves this process as a signature only; a token is in memory only, and a new one is there
before the last can have ended: no clock is compared with the server's. Each host of the file is signed by the name under
which its certificate was checked. What the server refuses is the error of its reason.

Leaves to others: the file (credential_file), who asks for a token (dialing, cloud, cli).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keypeg import calls, credential_file, dialing, hostinfo, servers
from keypeg.clock import SystemClock
from keypeg.credential_document import host_of, to_sign
from keypeg.credential_file import CredentialFile
from keypeg.dialing import Dialer
from keypeg.envelope import Ed25519Signer
from keypeg.errors import (
    CredentialsInvalid,
    KeypegError,
    ServerDraining,
    TimedOut,
    Unreachable,
)

if TYPE_CHECKING:
    from keypeg.profile import Profile
    from keypeg.servers import Server
    from keypeg.v1 import credential_service_pb2 as pb

TOKEN_AGE: Final = (
    60.0  # s for which a token is used for new calls; the shortest lasts for two minutes
)
PASSPHRASE_FILE: Final = "KEYPEG_CREDENTIAL_PASSPHRASE_FILE"  # noqa: S105 (a path)
PASSPHRASE_SIZE: Final = 4_096  # bytes read of it
_NEXT: Final = (Unreachable, TimedOut, ServerDraining)


@dataclass(frozen=True)
class Place:
    """Where and as which computer to sign in."""

    server: str  # `host:port`, several separated by commas
    ca: bytes | None
    device: str
    host_name: str


class CredentialSource:
    """Tokens of one file; implements `dialing.TokenSource`."""

    def __init__(self, file: CredentialFile, signer: Ed25519Signer, place: Place) -> None:
        self._file = file
        self._signer = signer
        self._place = place
        self._clock = SystemClock()
        self._token = ""
        self._since = 0.0
        self._one = asyncio.Lock()

    async def token(self) -> str:
        """A token that is good for a while yet; raises why there is none."""
        async with self._one:
            now = self._clock.monotonic()
            if not self._token or now - self._since > TOKEN_AGE:
                self._token = (await sign_in(self._file, self._signer, self._place)).token
                self._since = now
            return self._token


def source_of(profile: Profile, device: str) -> CredentialSource | None:
    """Tokens for a profile that signs in with a credential file; None for others."""
    if not profile.credential or profile.token:
        return None
    file = profile.opened or credential_file.load(profile.credential)
    place = Place(profile.server, profile.ca_certificates(), device, hostinfo.host_name())
    return CredentialSource(file, file.signer(passphrase_from(os.environ)), place)


async def signed_in(profile: Profile, device: str) -> Profile:
    """The profile with a token, where it signs in with a credential file; as it is else."""
    source = source_of(profile, device)
    return profile if source is None else replace(profile, token=await source.token())


def passphrase_from(environment: Mapping[str, str]) -> Callable[[], str] | None:
    """How the passphrase of a sealed file is found without asking anybody; None when it is not."""
    path = environment.get(PASSPHRASE_FILE)
    if not path:
        return None

    def read() -> str:
        try:
            with Path(path).open("rb") as file:
                return file.read(PASSPHRASE_SIZE).decode("utf-8", "replace").split("\n", 1)[0]
        except OSError as error:
            raise CredentialsInvalid(
                f"The passphrase file {path} can not be read: {error.strerror}."
            ) from error

    return read


async def sign_in(
    file: CredentialFile, signer: Ed25519Signer, place: Place
) -> pb.SignInWithCredentialResponse:
    """Signs in at the first server that answers."""
    refusal: KeypegError | None = None
    for server in await dialing.look_up(servers.parse(place.server)):
        try:
            return await _at(server, file, signer, place)
        except _NEXT as error:
            refusal = refusal or error
    assert refusal is not None, "servers.parse gives at least one"
    raise refusal


async def _at(
    server: Server, file: CredentialFile, signer: Ed25519Signer, place: Place
) -> pb.SignInWithCredentialResponse:
    from keypeg.v1 import credential_service_pb2 as pb
    from keypeg.v1 import credential_service_pb2_grpc as rpc
    from keypeg.v1 import session_pb2

    document = file.document
    host = host_of(server.address)
    ca = None if server.is_socket else place.ca
    async with Dialer(ca).channel(server) as channel:
        stub = rpc.CredentialServiceStub(channel)
        for last in (False, True):
            asked = pb.CreateSignInChallengeRequest(name=document.credential)
            challenge = (await calls.call(stub.CreateSignInChallenge, asked)).challenge
            request = pb.SignInWithCredentialRequest(
                name=document.credential,
                document=file.envelope,
                device=session_pb2.Device(id=place.device, host_name=place.host_name),
                challenge=challenge,
                host=host,
                signature=signer.sign(to_sign(document, host, place.device, challenge)),
            )
            try:
                return await calls.call(stub.SignInWithCredential, request)
            except (
                CredentialsInvalid
            ):  # the answer to the first was lost, and the channel asked again
                if last:
                    raise
    raise AssertionError("the last attempt returns or raises")
