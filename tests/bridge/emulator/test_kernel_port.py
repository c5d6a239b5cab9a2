"""Keys plugged into a kernel, with files in the place of the kernel's and USB/IP spoken on the connection that it was given."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keypeg_bridge.emulator.emulated_key import EmulatedKey, Make
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.kernel_port import Controller, KernelPorts, free_port
from keypeg_bridge.emulator.state import KeyState, new_key
from keypeg_bridge.emulator.usbip_bus import Bus
from keypeg_bridge.wire import usb, usbip

HEADING = "hub port sta spd dev      sockfd local_busid\n"
TAKEN = "hs  0000 006 002 00010002 000003 1-1\n"
FREE = "hs  0001 004 000 00000000 000000 0-0\n"
SUPER = "ss  0008 004 000 00000000 000000 0-0\n"
DESCRIBE = usb.Setup(0x80, usb.GET_DESCRIPTOR, usb.DEVICE << 8, 0, 18)
WAIT = 20.0


class Memory:
    """A key's file that is none."""

    def save(self, state: KeyState) -> None: ...

    def close(self) -> None: ...


class Kernel:
    """The files of a controller; what was attached is taken out of them as the kernel does."""

    def __init__(self, folder: Path, status: str = HEADING + TAKEN + SUPER + FREE) -> None:
        self.folder = folder
        (folder / "status").write_text(status)
        (folder / "attach").write_text("")

    def attach(self, device: usbip.Device, end: socket.socket) -> int:
        """As the real one, and hold on to the connection."""
        number = Controller(self.folder).attach(device, end)
        self.line = (self.folder / "attach").read_text()
        self.connection = socket.socket(fileno=os.dup(end.fileno()))
        self.connection.setblocking(False)
        return number

    async def ask(self, device_id: int, sequence: int = 1) -> bytes:
        """The device's descriptor, read as the kernel reads it."""
        loop = asyncio.get_running_loop()
        submit = usbip.Submit(
            sequence, device_id, usbip.DIRECTION_IN, 0, DESCRIBE.length, DESCRIBE.encode()
        )
        await loop.sock_sendall(self.connection, submit.encode())
        answer = b""
        while len(answer) < 48 + 18:
            answer += await loop.sock_recv(self.connection, 4_096)
        return answer[48:]

    async def ended(self) -> None:
        """Once the key is gone."""
        async with asyncio.timeout(WAIT):
            while await asyncio.get_running_loop().sock_recv(self.connection, 4_096):
                pass


class Laboratory:
    def __init__(self, folder: Path) -> None:
        self.bus = Bus()
        clock = asyncio.get_running_loop().time
        state = new_key("a test", management_algorithm=0x0A)
        self.key = EmulatedKey("key-1", state, Memory(), Make(), self.bus, clock)  # type: ignore[arg-type]
        self.kernel = Kernel(folder)
        self.ports = KernelPorts(self.bus, self.kernel)  # type: ignore[arg-type]


@pytest.fixture
async def laboratory(tmp_path: Path) -> AsyncIterator[Laboratory]:
    made = Laboratory(tmp_path)
    yield made
    await made.ports.close()


@pytest.mark.parametrize(
    ("table", "number"),
    [
        (HEADING + FREE, 1),
        (HEADING + TAKEN, None),
        (HEADING + SUPER, None),
        (HEADING + TAKEN + SUPER + FREE, 1),
        ("", None),
        ("hs x 004\n" + FREE, 1),
        ("hs\n\n \n", None),
    ],
    ids=["free", "taken", "of another speed", "later", "nothing", "no number", "half a line"],
)
def test_the_first_free_port_for_full_speed_is_taken(table: str, number: int | None) -> None:
    assert free_port(table) == number


@pytest.mark.behaviour("KEY-10")
async def test_a_key_that_is_plugged_in_is_given_to_the_kernel(laboratory: Laboratory) -> None:
    laboratory.key.port.plug()
    await laboratory.ports.start()
    device = laboratory.key.port.describe()
    port, descriptor_number, device_id, speed = map(int, laboratory.kernel.line.split())
    assert (port, device_id, speed) == (1, device.device_id, usb.SPEED_FULL)
    assert descriptor_number > 2
    async with asyncio.timeout(WAIT):
        described = await laboratory.kernel.ask(device.device_id)
    assert struct.unpack_from("<HH", described, 8) == (0x1209, 0x0001)
    assert laboratory.key.port.attached


async def test_unplugging_ends_the_connection_and_plugging_in_makes_another(
    laboratory: Laboratory,
) -> None:
    await laboratory.ports.start()
    laboratory.key.port.plug()
    first = laboratory.key.port.describe().device_id
    async with asyncio.timeout(WAIT):
        await laboratory.kernel.ask(first)
    laboratory.key.port.unplug()
    await laboratory.kernel.ended()
    assert not laboratory.key.port.attached
    laboratory.key.port.plug()
    second = laboratory.key.port.describe().device_id
    assert second != first
    async with asyncio.timeout(WAIT):
        await laboratory.kernel.ask(second)


async def test_a_key_that_comes_and_goes_at_once_leaves_nothing_attached(
    laboratory: Laboratory,
) -> None:
    await laboratory.ports.start()
    laboratory.key.port.plug()
    early = laboratory.kernel.connection
    laboratory.key.port.unplug()
    laboratory.key.port.plug()
    async with asyncio.timeout(WAIT):
        await laboratory.kernel.ask(laboratory.key.port.describe().device_id)
        assert await asyncio.get_running_loop().sock_recv(early, 100) == b""


async def test_what_is_no_usbip_ends_the_connection_and_not_the_process(
    laboratory: Laboratory,
) -> None:
    laboratory.key.port.plug()
    await laboratory.ports.start()
    await asyncio.get_running_loop().sock_sendall(laboratory.kernel.connection, b"\xff" * 64)
    await laboratory.kernel.ended()
    assert laboratory.key.port.plugged


async def test_a_kernel_without_room_refuses_with_a_sentence_and_the_key_stays_out(
    laboratory: Laboratory,
) -> None:
    await laboratory.ports.start()
    (laboratory.kernel.folder / "status").write_text(HEADING + TAKEN)
    with pytest.raises(EmulatorError, match="All ports"):
        laboratory.key.port.plug()
    assert not laboratory.key.port.plugged


async def test_a_kernel_without_a_controller_is_said_in_a_sentence(tmp_path: Path) -> None:
    device = Laboratory(tmp_path).key.port.describe()
    with pytest.raises(EmulatorError, match="modprobe vhci-hcd"):
        Controller(tmp_path / "none").attach(device, socket.socketpair()[0])


async def test_a_kernel_that_does_not_take_the_key_is_said_in_a_sentence(tmp_path: Path) -> None:
    made = Laboratory(tmp_path)
    (tmp_path / "attach").unlink()
    (tmp_path / "attach").mkdir()
    with pytest.raises(EmulatorError, match="did not take the key"):
        Controller(tmp_path).attach(made.key.port.describe(), socket.socketpair()[0])
