"""KeyService: the keys of this computer, and writing to them.

Promises: requests are checked before the rack sees them; management keys and authorizations pass through and are kept
nowhere. Writes are taken only where `writable`: on the bridge's own socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from keypeg.errors import PermissionDenied
from keypeg.v1 import key_pb2, key_service_pb2_grpc
from keypeg.v1 import key_service_pb2 as pb
from keypeg.v1.key_contents_pb2 import Receipt
from keypeg_bridge.rack.memory import Memory
from keypeg_bridge.rack.rack import Rack
from keypeg_bridge.rack.record import KeyRecord
from keypeg_bridge.rack.shelf import KeyChange
from keypeg_bridge.rack.writes import Writes
from keypeg_bridge.rpc import encode, validate

Context = grpc.aio.ServicerContext[Any, Any]


class KeyService(key_service_pb2_grpc.KeyServiceServicer):
    """The service."""

    def __init__(
        self,
        rack: Rack,
        writes: Writes,
        location_host: str,
        *,
        writable: bool,
        memory: Memory | None = None,
    ) -> None:
        self._rack = rack
        self._memory = memory or Memory()
        self._writes = writes
        self._location_host = location_host
        self._writable = writable
        self._ending = asyncio.Event()

    def end(self) -> None:
        """End all watches."""
        self._ending.set()

    async def ListKeys(self, request: pb.ListKeysRequest, context: Context) -> pb.ListKeysResponse:
        """The keys that are there."""
        return pb.ListKeysResponse(
            keys=[self._key(record) for record in self._rack.records()],
            location_host=self._location_host,
            problems=self._rack.problems(),
        )

    async def GetKey(self, request: pb.GetKeyRequest, context: Context) -> pb.GetKeyResponse:
        """One key."""
        validate.key_name(request.name, "name")
        return pb.GetKeyResponse(key=self._key(self._rack.key(request.name)))

    async def WatchKeys(
        self, request: pb.WatchKeysRequest, context: Context
    ) -> AsyncIterator[pb.WatchKeysResponse]:
        """All keys, then each change; a slow reader gets the latest of each key."""
        latest: dict[str, KeyRecord] = {record.name: record for record in self._rack.records()}
        changed = asyncio.Event()

        def heard(change: KeyChange) -> None:
            latest.pop(change.record.name, None)
            latest[change.record.name] = change.record
            changed.set()

        stop = self._rack.listen(heard)
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            while True:
                while latest:
                    yield pb.WatchKeysResponse(key=self._key(latest.pop(next(iter(latest)))))
                if self._ending.is_set():
                    return
                changed.clear()
                news = asyncio.ensure_future(changed.wait())
                try:
                    await asyncio.wait({news, ending}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    news.cancel()
        finally:
            ending.cancel()
            stop()

    async def BeginKeyWrite(
        self, request: pb.BeginKeyWriteRequest, context: Context
    ) -> pb.BeginKeyWriteResponse:
        """Take a key for this caller."""
        self._need_writable()
        validate.key_name(request.key, "key")
        begun = await self._writes.begin(request.key)
        response = pb.BeginKeyWriteResponse(
            write=begun.write,
            card_id=begun.card_id.hex(),
            management_algorithm=begun.management_algorithm,
            challenge=begun.challenge,
            factory_key=begun.factory_key,
        )
        response.valid_for.FromTimedelta(begun.valid_for)
        return response

    async def EnrollKey(
        self, request: pb.EnrollKeyRequest, context: Context
    ) -> pb.EnrollKeyResponse:
        """Let the key make its private key."""
        self._need_writable()
        validate.enroll_key(request)
        record, signature = await self._writes.enroll(
            request.write,
            request.response,
            request.new_management_key,
            request.new_management_algorithm,
            request.account,
            request.enrollment_nonce,
        )
        return pb.EnrollKeyResponse(
            key=self._key(record), signature=signature, attestation=encode.attestation(record)
        )

    async def WriteKeyLicense(
        self, request: pb.WriteKeyLicenseRequest, context: Context
    ) -> pb.WriteKeyLicenseResponse:
        """Put a license on the key."""
        self._need_writable()
        validate.write_license(request)
        record = await self._writes.put(
            request.write,
            request.response,
            request.license if request.HasField("license") else None,
            request.delegation,
            request.contents if request.HasField("contents") else None,
        )
        return pb.WriteKeyLicenseResponse(key=self._key(record))

    async def RemoveKeyLicense(
        self, request: pb.RemoveKeyLicenseRequest, context: Context
    ) -> pb.RemoveKeyLicenseResponse:
        """Remove a license, and let the key sign that it is gone."""
        self._need_writable()
        validate.remove_license(request)
        asked = Receipt(
            activation=request.activation,
            generation=request.generation,
            nonce=request.nonce,
            location_host=self._location_host,
        )
        record, receipt = await self._writes.remove(
            request.write, request.response, asked, request.delegation, request.contents
        )
        return pb.RemoveKeyLicenseResponse(key=self._key(record), receipt=receipt)

    async def EndKeyWrite(
        self, request: pb.EndKeyWriteRequest, context: Context
    ) -> pb.EndKeyWriteResponse:
        """Let go of the key."""
        self._need_writable()
        validate.write_name(request.write)
        await self._writes.end(request.write)
        return pb.EndKeyWriteResponse()

    async def FenceKey(self, request: pb.FenceKeyRequest, context: Context) -> pb.FenceKeyResponse:
        """Remember what the server says of a key, and tell its sessions."""
        self._need_writable()
        validate.fence_key(request)
        fenced = self._memory.fence(request.contents, request.delegation)
        for record in self._rack.records():
            reading = record.reading
            if reading is not None and reading.identity.public_key == fenced.location_key.key:
                self._rack.rewritten(record.name, reading)
        return pb.FenceKeyResponse()

    def _key(self, record: KeyRecord) -> key_pb2.Key:
        reading = record.reading
        return encode.key(record, () if reading is None else self._memory.objections(reading))

    def _need_writable(self) -> None:
        if not self._writable:
            raise PermissionDenied(
                "Keys are written to over the bridge's own socket only. Run this on the computer"
                " that the key is plugged into."
            )
