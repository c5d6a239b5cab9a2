"""The bridge on the distribution's card service: pcscd with a virtual reader, the emulated key's card in it, in a room of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from keypeg_bridge.emulator import control
from keypeg_bridge.transport import pcsc
from lab import card_service
from lab.processes import BIN, Lab
from tests.bridge.bridge_process import BridgeProcess, laboratory
from tests.bridge.publisher import Publisher

LACKING = [*card_service.missing(), *([] if pcsc.is_installed() else ["pyscard"])]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        bool(LACKING),
        reason=f"NOT TRIED: the card service. Install {', '.join(LACKING)} (pyscard: pip install 'keypeg[pcsc]').",
    ),
]


class Reader:
    """A card service, a virtual reader, and a key in it."""

    def __init__(self, lab: Lab, under: tuple[str, ...]) -> None:
        self.lab = lab
        self.under = under
        self.sockets = Path(tempfile.mkdtemp(prefix="reader-"))
        self.control = self.sockets / "c"
        ready = lab.folder / "emukey.ready"
        self.emukey = lab.start(
            "emukey",
            [
                *under, str(BIN / "keypeg-emukey"), "serve", "--state", str(lab.folder / "key.json"),
                "--control", str(self.control), "--vpicc", card_service.VPCD, "--ready-file", str(ready),
            ],
        )  # fmt: skip
        lab.ready(self.emukey, ready)

    def bridge(self) -> BridgeProcess:
        """A bridge that knows no other way to keys."""
        return BridgeProcess(self.lab, "--backend", "pcsc", under=self.under).start()


@pytest.fixture
def reader() -> Iterator[Reader]:
    with laboratory() as lab, card_service.room() as under, card_service.card_service(under):
        made = Reader(lab, under)
        yield made
        shutil.rmtree(made.sockets, ignore_errors=True)


@pytest.mark.behaviour("KEY-9")
async def test_a_card_serves_through_the_card_service_beside_other_programs(
    reader: Reader,
) -> None:
    bridge = reader.bridge()
    try:
        try:
            (key,) = await bridge.arrived(1)
        except BaseException:
            print("LOG", bridge.log())
            raise
        assert key.driver == "piv"
        assert key.emulated
        enrolled = await bridge.enroll(key)
        publisher = Publisher()
        point = enrolled.public_key.key
        document = publisher.license(point, "synth", grace=timedelta(seconds=20))
        await bridge.put(enrolled, document, publisher.delegation())
        app = bridge.app()
        opened = await app.open()
        app.check(opened.proof, publisher)
        control.call(reader.control, "unplug")
        assert (await app.receive()).missing.resource == key.name
        control.call(reader.control, "plug")
        assert (await app.receive()).changed.resource == key.name
        answer = await app.renew()
        app.check(answer.renewed.proof, publisher)
    finally:
        await bridge.close()
