"""Emulated keys with licenses on them, and a bridge that has them: what the keys suite measures.

Promises: real programs over USB/IP on loopback; each key is enrolled and carries one license for a product of its own, signed by a
publisher of this run. The keys are put in order over the same wire, before any bridge has them.

Leaves to others: what is measured (keys.py), and the apps (key_apps.py).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from keypeg.clock import monotonic
from keypeg.document import DELEGATION_TYPE, LICENSE_TYPE, Ed25519Signer, seal
from keypeg.management import DEFAULT_MANAGEMENT_KEY, respond
from keypeg.v1 import document_pb2, license_pb2, location_pb2
from keypeg_bridge.emulator import control
from keypeg_bridge.keys.opening import Drivers, open_driver
from keypeg_bridge.rack.contents import stored_delegation
from keypeg_bridge.rack.index import Index, encode_index
from keypeg_bridge.transport.backends import make_backend
from keypeg_bridge.transport.ports import Backend, FoundDevice
from lab.processes import BIN, Lab, Program

GRACE: Final = timedelta(minutes=5)
PIV: Final = Drivers(monotonic, None, ("piv",))


class Publisher:
    """Signs licenses for keys."""

    def __init__(self) -> None:
        self.name = "publishers/bench"
        self.root = Ed25519Signer.generate()
        self._signer = Ed25519Signer.generate()

    def delegation(self) -> document_pb2.Envelope:
        """From the root to the signing key."""
        now = datetime.now(UTC)
        document = document_pb2.Delegation(publisher=self.name, generation=1)
        key = document.keys.add(
            public_key=self._signer.public_key, purposes=[document_pb2.PURPOSE_LICENSE]
        )
        key.not_before_time.FromDatetime(now - timedelta(hours=1))
        key.not_after_time.FromDatetime(now + timedelta(days=1))
        document.issue_time.FromDatetime(now)
        return seal(document, DELEGATION_TYPE, self.root)

    def license(self, point: bytes, product: str) -> document_pb2.Envelope:
        """For one key."""
        document = document_pb2.LicenseDocument(
            license="accounts/bench/licenses/l1",
            activation=f"accounts/bench/licenses/l1/activations/{product}",
            publisher=self.name,
            product=product,
            opens_products=[product],
            type=license_pb2.LICENSE_TYPE_PERPETUAL,
            location_kind=location_pb2.LOCATION_KIND_KEY,
            location="accounts/bench/locations/k1",
            generation=1,
        )
        document.location_key.algorithm = document_pb2.KEY_ALGORITHM_ECDSA_P256
        document.location_key.key = point
        document.issue_time.FromDatetime(datetime.now(UTC))
        document.unplug_grace.FromTimedelta(GRACE)
        return seal(document, LICENSE_TYPE, self._signer)


@dataclass(frozen=True)
class Keys:
    """A served set of emulated keys."""

    program: Program
    control: Path
    backend: str
    products: tuple[str, ...]  # one for each key, in their order

    def command(self, what: str, **fields: Any) -> None:
        """To the control socket."""
        control.call(self.control, what, **fields)

    def open(self) -> tuple[Backend, list[FoundDevice]]:
        """The wire, and the keys on it."""
        backend = make_backend(self.backend, monotonic)
        found, problems = backend.devices()
        if problems or len(found) != len(self.products):
            raise RuntimeError(f"of {len(self.products)} keys {len(found)} are there: {problems}")
        return backend, sorted(found, key=lambda one: one.address)


class KeyBench:
    """Starts keys and bridges in a lab."""

    def __init__(self, lab: Lab, cores: machine.Cores) -> None:
        self._lab = lab
        self._cores = cores
        self.publisher = Publisher()
        # Unix socket paths are short, and the lab's folder may not be.
        self._sockets = Path(tempfile.mkdtemp(prefix="bench-"))

    def keys(self, name: str, count: int) -> Keys:
        """So many keys in one process, enrolled and licensed."""
        ready = self._lab.folder / f"{name}.ready"
        socket = self._sockets / name
        with machine.pinned(self._cores.load):
            program = self._lab.start(
                name,
                [
                    str(BIN / "keypeg-emukey"), "serve", "--keys", str(count), "--port", "0",
                    "--state", str(self._lab.folder / f"{name}.json"), "--control", str(socket),
                    "--ready-file", str(ready),
                ],
            )  # fmt: skip
        backend = f"usbip:{self._lab.ready(program, ready)['usbip']}"
        made = Keys(program, socket, backend, tuple(f"{name}-{n}" for n in range(count)))
        wire, found = made.open()
        for device, product in zip(found, made.products, strict=True):
            self._license(wire, device, product)
        return made

    def bridge(self, name: str, keys: Iterable[Keys]) -> tuple[Program, str]:
        """A bridge that has these keys, ready; what apps connect to."""
        ready = self._lab.folder / f"{name}.ready"
        ways = [word for one in keys for word in ("--backend", one.backend)]
        with machine.pinned(self._cores.server):
            program = self._lab.start(
                name,
                [
                    str(BIN / "keypeg-bridge"), "serve", "--socket", str(self._sockets / f"{name}.s"),
                    "--state", str(self._lab.folder / name), "--ready-file", str(ready), *ways,
                ],
                env={"KEYPEG_BRIDGE_KEYS__DRIVERS": "piv"},
            )  # fmt: skip
        return program, str(self._lab.ready(program, ready)["target"])

    def close(self) -> None:
        """Remove the sockets; the lab ends the programs."""
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _license(self, wire: Backend, device: FoundDevice, product: str) -> None:
        """Enroll a key, and put a license on it."""
        driver = open_driver(wire, device, PIV)
        try:
            asked = driver.begin_authorization()
            factory = DEFAULT_MANAGEMENT_KEY[: asked.algorithm.key_bytes]
            driver.finish_authorization(respond(asked.algorithm, factory, asked.challenge))
            driver.ensure_card_id()
            driver.generate_identity_key()
            point = driver.identity().public_key
            if point is None:
                raise RuntimeError("the key made no private key")
            delegation = stored_delegation(self.publisher.delegation())
            driver.write(0, encode_index(Index((delegation,))))
            license_ = self.publisher.license(point, product)
            driver.write(1, license_.SerializeToString())
        finally:
            driver.close()
