"""What a server does with keys, done by a laboratory: enrolls them at the stand-in publisher, and puts its licenses on them.

Promises: it goes through the bridge's own service, as a server and the command line do together; the key's proof of
possession is checked. Management keys come from a secret that everybody knows: nothing here is protected.

Leaves to others: what the license says (publisher.py), and real servers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final

import grpc

from keypeg.calls import translate
from keypeg.management import (
    DEFAULT_MANAGEMENT_KEY,
    DIVERSIFIED_ALGORITHM,
    ManagementAlgorithm,
    diversify,
    respond,
)
from keypeg.possession import check_possession, enrollment_challenge
from keypeg.testing.lab_errors import LabError
from keypeg.testing.publisher import StandInPublisher
from keypeg.v1 import document_pb2, key_pb2, key_service_pb2_grpc
from keypeg.v1 import key_service_pb2 as pb

MASTER: Final = hashlib.sha256(b"the management keys of every keypeg laboratory").digest()
CALL_SECONDS: Final = 30.0
ARRIVAL_SECONDS: Final = 30.0  # for a bridge to open and read its keys, on a busy computer
_NONCE: Final = bytes(32)  # the laboratory asks nobody else to enroll
_ALGORITHMS: Final = {
    "3des": ManagementAlgorithm.TRIPLE_DES,
    "aes128": ManagementAlgorithm.AES_128,
    "aes192": ManagementAlgorithm.AES_192,
    "aes256": ManagementAlgorithm.AES_256,
}
_DIVERSIFIED: Final = next(n for n, a in _ALGORITHMS.items() if a is DIVERSIFIED_ALGORITHM)


class Issuer(AbstractContextManager["Issuer"]):
    """Speaks to one bridge about its keys."""

    def __init__(self, target: str, publisher: StandInPublisher) -> None:
        self._publisher = publisher
        self._channel = grpc.insecure_channel(target)
        self._keys = key_service_pb2_grpc.KeyServiceStub(self._channel)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()

    def wait_for(self, wanted: Callable[[key_pb2.Key], bool], what: str) -> key_pb2.Key:
        """The first key that the bridge tells of and that is wanted."""
        stream = self._keys.WatchKeys(pb.WatchKeysRequest(), timeout=ARRIVAL_SECONDS)
        seen: dict[str, str] = {}
        try:
            for answer in stream:
                if wanted(answer.key):
                    return answer.key
                state = key_pb2.KeyState.Name(answer.key.state).removeprefix("KEY_STATE_").lower()
                fault = f" ({answer.key.fault})" if answer.key.fault else ""
                seen[answer.key.name] = f"{answer.key.serial or answer.key.name} is {state}{fault}"
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise translate(error) from error
        finally:
            stream.cancel()
        others = "; ".join(seen.values()) or "the bridge shows no key"
        raise LabError(f"{what} did not happen within {ARRIVAL_SECONDS:.0f} s: {others}.")

    def listed(self) -> list[key_pb2.Key]:
        """The keys as the bridge sees them now."""
        return list(self._call(self._keys.ListKeys, pb.ListKeysRequest()).keys)

    def enroll(self, key: key_pb2.Key) -> key_pb2.Key:
        """Have the key make its own private key."""
        begun, response = self._begin(key)
        try:
            enrolled = self._call(
                self._keys.EnrollKey,
                pb.EnrollKeyRequest(
                    write=begun.write,
                    response=response,
                    new_management_key=diversify(MASTER, bytes.fromhex(begun.card_id)),
                    new_management_algorithm=_DIVERSIFIED,
                    enrollment_nonce=_NONCE,
                    account=self._publisher.account,
                ),
            )
            check_possession(
                enrolled.key.public_key,
                enrollment_challenge(begun.card_id, self._publisher.account, _NONCE),
                enrolled.signature,
            )
        finally:
            self._end(begun)
        assert isinstance(enrolled.key, key_pb2.Key)
        return enrolled.key

    def license(
        self, key: key_pb2.Key, product: str, now: datetime, grace: timedelta, **terms: Any
    ) -> key_pb2.Key:
        """Put a license for one product on an enrolled key; it replaces the one before for the same product."""
        digest = hashlib.sha256(product.encode()).hexdigest()[:16]
        document = self._publisher.license_document(
            "key",
            product,
            now,
            unplug_grace=grace,
            key=key.public_key,
            activation=f"{self._publisher.license}/activations/{digest}",
            **terms,
        )
        return self._put(key, document, self._publisher.delegation(now))

    def _put(
        self,
        key: key_pb2.Key,
        document: document_pb2.Envelope,
        delegation: document_pb2.Envelope,
    ) -> key_pb2.Key:
        begun, response = self._begin(key)
        try:
            written = self._call(
                self._keys.WriteKeyLicense,
                pb.WriteKeyLicenseRequest(
                    write=begun.write, response=response, license=document, delegation=delegation
                ),
            )
        finally:
            self._end(begun)
        assert isinstance(written.key, key_pb2.Key)
        return written.key

    def _begin(self, key: key_pb2.Key) -> tuple[pb.BeginKeyWriteResponse, bytes]:
        begun: pb.BeginKeyWriteResponse = self._call(
            self._keys.BeginKeyWrite, pb.BeginKeyWriteRequest(key=key.name)
        )
        algorithm = _ALGORITHMS[begun.management_algorithm]
        secret = (
            DEFAULT_MANAGEMENT_KEY[: algorithm.key_bytes]
            if begun.factory_key
            else diversify(MASTER, bytes.fromhex(begun.card_id), algorithm)
        )
        return begun, respond(algorithm, secret, begun.challenge)

    def _end(self, begun: pb.BeginKeyWriteResponse) -> None:
        try:
            self._keys.EndKeyWrite(pb.EndKeyWriteRequest(write=begun.write), timeout=CALL_SECONDS)
        except grpc.RpcError:
            return  # it has ended already, or ends by its time

    @staticmethod
    def _call(method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise translate(error) from error
