"""A keypeg-bridge process for tests, and the server's side of what keys are given: management keys and licenses."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from keypeg.management import (
    DEFAULT_MANAGEMENT_KEY,
    DIVERSIFIED_ALGORITHM,
    ManagementAlgorithm,
    diversify,
    respond,
)
from keypeg.possession import check_possession, enrollment_challenge
from keypeg.v1 import document_pb2, key_pb2, key_service_pb2_grpc
from keypeg.v1 import key_service_pb2 as pb
from lab.processes import BIN, PATIENCE, Lab, Program
from tests.bridge.app_side import AppSide
from tests.bridge.publisher import ACCOUNT

MASTER = b"m" * 32
NONCE = b"n" * 32
ALGORITHMS = {
    "3des": ManagementAlgorithm.TRIPLE_DES,
    "aes128": ManagementAlgorithm.AES_128,
    "aes192": ManagementAlgorithm.AES_192,
    "aes256": ManagementAlgorithm.AES_256,
}


class BridgeProcess:
    """One bridge; its state outlives the process."""

    def __init__(
        self,
        lab: Lab,
        *arguments: str,
        env: dict[str, str] | None = None,
        under: Sequence[str] = (),
    ) -> None:
        self._lab = lab
        self._under = under
        self._arguments = arguments
        self._env = env or {}
        # Unix socket paths are short, and a test's folder may not be.
        self.folder = Path(tempfile.mkdtemp(prefix="bridge-"))
        self.socket = self.folder / "b.sock"
        self.state = self.folder / "state"
        self._ready_file = self.folder / "ready.json"
        self.program: Program | None = None
        self.ready: dict[str, Any] = {}
        self._channels: list[grpc.aio.Channel] = []

    def command(self, *arguments: str) -> list[str]:
        """How it is started."""
        return [
            *self._under, str(BIN / "keypeg-bridge"), "serve", "--socket", str(self.socket),
            "--state", str(self.state), "--ready-file", str(self._ready_file),
            *self._arguments, *arguments,
        ]  # fmt: skip

    def start(self) -> BridgeProcess:
        """Start it and wait until it serves."""
        self.program = self._lab.start("bridge", self.command(), env=self._env)
        self.ready = self._lab.ready(self.program, self._ready_file)
        return self

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.program is not None
        return self.program.stop()

    def kill(self) -> None:
        """SIGKILL."""
        assert self.program is not None
        self._ready_file.unlink(missing_ok=True)
        self.program.kill()

    def log(self) -> str:
        """What it wrote to standard error."""
        assert self.program is not None
        return self.program.log.read_text()

    def authority(self) -> bytes:
        """What clients of its TLS port pin."""
        return Path(self.ready["ca_file"]).read_bytes()

    def channel(self) -> grpc.aio.Channel:
        """A new connection."""
        channel = grpc.aio.insecure_channel(
            f"unix:{self.socket}", options=(("grpc.use_local_subchannel_pool", 1),)
        )
        self._channels.append(channel)
        return channel

    def app(self, product: str = "synth") -> AppSide:
        """A new app, on a connection of its own."""
        return AppSide(self.channel(), product)

    def keys(self) -> Any:
        """KeyService."""
        return key_service_pb2_grpc.KeyServiceStub(self.channel())

    async def listed(self) -> list[key_pb2.Key]:
        """The keys."""
        return list((await self.keys().ListKeys(pb.ListKeysRequest(), timeout=15 * PATIENCE)).keys)

    async def arrived(self, count: int) -> list[key_pb2.Key]:
        """The keys, once so many are there to be used."""
        there: dict[str, key_pb2.Key] = {}
        watching = self.keys().WatchKeys(pb.WatchKeysRequest(), timeout=30 * PATIENCE)
        while len(there) < count:
            key = (await watching.read()).key
            if key.state == key_pb2.KEY_STATE_PRESENT:
                there[key.name] = key
        watching.cancel()
        return list(there.values())

    async def begin(self, key: key_pb2.Key) -> tuple[Any, bytes]:
        """Begin a write, and the server's answer to the key's challenge."""
        begun = await self.keys().BeginKeyWrite(
            pb.BeginKeyWriteRequest(key=key.name), timeout=15 * PATIENCE
        )
        algorithm = ALGORITHMS[begun.management_algorithm]
        secret = (
            DEFAULT_MANAGEMENT_KEY[: algorithm.key_bytes]
            if begun.factory_key
            else diversify(MASTER, bytes.fromhex(begun.card_id), algorithm)
        )
        return begun, respond(algorithm, secret, begun.challenge)

    async def enroll(self, key: key_pb2.Key) -> key_pb2.Key:
        """Enroll a key, and check its proof of possession as a server does."""
        begun, response = await self.begin(key)
        enrolled = await self.keys().EnrollKey(
            pb.EnrollKeyRequest(
                write=begun.write,
                response=response,
                new_management_key=diversify(MASTER, bytes.fromhex(begun.card_id)),
                new_management_algorithm=next(
                    name for name, one in ALGORITHMS.items() if one is DIVERSIFIED_ALGORITHM
                ),
                enrollment_nonce=NONCE,
                account=ACCOUNT,
            ),
            timeout=20 * PATIENCE,
        )
        check_possession(
            enrolled.key.public_key,
            enrollment_challenge(begun.card_id, ACCOUNT, NONCE),
            enrolled.signature,
        )
        await self.keys().EndKeyWrite(
            pb.EndKeyWriteRequest(write=begun.write), timeout=15 * PATIENCE
        )
        return enrolled.key

    async def put(
        self,
        key: key_pb2.Key,
        license_: document_pb2.Envelope,
        delegation: document_pb2.Envelope,
    ) -> key_pb2.Key:
        """Write a license to an enrolled key."""
        begun, response = await self.begin(key)
        written = await self.keys().WriteKeyLicense(
            pb.WriteKeyLicenseRequest(
                write=begun.write, response=response, license=license_, delegation=delegation
            ),
            timeout=20 * PATIENCE,
        )
        await self.keys().EndKeyWrite(
            pb.EndKeyWriteRequest(write=begun.write), timeout=15 * PATIENCE
        )
        return written.key

    async def close(self) -> None:
        """End everything."""
        for channel in self._channels:
            await channel.close()
        if self.program is not None and self.program.running:
            self.stop()
        if self.program is not None:
            log = self.log()
            assert "Traceback" not in log, log
            assert '"level": "error"' not in log, log
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def laboratory() -> Iterator[Lab]:
    """A lab in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder, Lab(Path(folder)) as lab:
        yield lab
