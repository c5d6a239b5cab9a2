"""The card in a virtual reader of the card service, with the reader's side of the protocol spoken by the test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from keypeg_bridge.emulator.card import ATR
from keypeg_bridge.emulator.emulated_key import EmulatedKey, Make
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.state import KeyState, new_key
from keypeg_bridge.emulator.touch import TouchPolicy
from keypeg_bridge.emulator.usbip_bus import Bus
from keypeg_bridge.emulator.virtual_reader import DEFAULT_PORT, VirtualReader, address_of
from keypeg_bridge.wire import piv
from keypeg_bridge.wire.apdu import Command, Response
from keypeg_bridge.wire.vpcd import frame
from tests.bridge.emulator.test_process import emukey_command

WAIT = 20.0
SELECT = Command(0, 0xA4, 4, 0, piv.AID, 256).encode()


class Memory:
    """A key's file that is none."""

    def save(self, state: KeyState) -> None: ...

    def close(self) -> None: ...


class Reader:
    """vpcd: takes one card after the other."""

    def __init__(self) -> None:
        self.cards: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )
        self.server: asyncio.Server | None = None
        self.address = ("127.0.0.1", 0)
        self._ends: list[asyncio.StreamWriter] = []

    async def listen(self) -> None:
        self.server = await asyncio.start_server(self._accept, *self.address)
        self.address = self.server.sockets[0].getsockname()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.append(writer)
        await self.cards.put((reader, writer))

    async def card(self) -> Slot:
        """The next card that was put in."""
        async with asyncio.timeout(WAIT):
            return Slot(*await self.cards.get())

    async def close(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self._ends:
            writer.close()


class Slot:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def order(self, number: int) -> None:
        self._writer.write(frame(bytes((number,))))

    async def answer(self) -> bytes:
        async with asyncio.timeout(WAIT):
            length = int.from_bytes(await self._reader.readexactly(2), "big")
            return await self._reader.readexactly(length)

    async def ask(self, command: bytes) -> Response:
        self._writer.write(frame(command))
        return Response.decode(await self.answer())

    async def gone(self) -> bool:
        async with asyncio.timeout(WAIT):
            try:
                return await self._reader.read(1) == b""
            except ConnectionResetError:
                return True

    def drop(self) -> None:
        self._writer.close()


class Laboratory:
    def __init__(self, touch: TouchPolicy = TouchPolicy.ALWAYS) -> None:
        self.bus = Bus()
        self.reader = Reader()
        state = new_key("a test", management_algorithm=0x0A)
        self.key = EmulatedKey(
            "key-1", state, Memory(), Make(touch=touch), self.bus, asyncio.get_running_loop().time  # type: ignore[arg-type]
        )  # fmt: skip
        self.virtual: VirtualReader | None = None

    async def start(self) -> None:
        await self.reader.listen()
        self.virtual = VirtualReader(self.bus, self.key.card, self.reader.address)
        await self.virtual.start()

    async def close(self) -> None:
        if self.virtual is not None:
            await self.virtual.close()
            await self.reader.close()


@pytest.fixture
async def laboratory() -> AsyncIterator[Laboratory]:
    made = Laboratory()
    yield made
    await made.close()


@pytest.mark.behaviour("KEY-10")
async def test_the_reader_gets_the_card_with_its_answer_to_reset(laboratory: Laboratory) -> None:
    laboratory.key.port.plug()
    await laboratory.start()
    card = await laboratory.reader.card()
    card.order(1)
    card.order(4)
    assert await card.answer() == ATR
    assert (await card.ask(SELECT)).ok
    assert (await card.ask(b"\x00\x00")).status == 0x6700
    assert laboratory.key.port.attached


async def test_a_reset_forgets_what_was_selected(laboratory: Laboratory) -> None:
    laboratory.key.port.plug()
    await laboratory.start()
    card = await laboratory.reader.card()
    ask = Command(0, 0xCB, 0x3F, 0xFF, piv.object_path(0x5FC102), 256).encode()
    assert (await card.ask(SELECT)).ok
    before = (await card.ask(ask)).status
    card.order(0x77)  # which means nothing
    assert (await card.ask(ask)).status == before
    for order in (2, 0):  # reset, power off
        card.order(order)
        assert (await card.ask(ask)).status != before
        assert (await card.ask(SELECT)).ok


async def test_unplugging_takes_the_card_out_and_plugging_in_puts_it_back(
    laboratory: Laboratory,
) -> None:
    await laboratory.start()
    laboratory.key.port.plug()
    first = await plugged_card(laboratory)
    laboratory.key.port.unplug()
    assert await first.gone()
    laboratory.key.port.plug()
    second = await laboratory.reader.card()
    assert (await second.ask(SELECT)).ok


async def plugged_card(laboratory: Laboratory) -> Slot:
    """The first card that answers; the look at the start whether a reader is there is no card."""
    while await_gone := await laboratory.reader.card():
        await_gone.order(4)
        try:
            if await await_gone.answer() == ATR:
                return await_gone
        except (asyncio.IncompleteReadError, ConnectionResetError):
            continue
    raise AssertionError


async def test_a_reader_that_comes_back_gets_the_card_again(laboratory: Laboratory) -> None:
    laboratory.key.port.plug()
    await laboratory.start()
    first = await laboratory.reader.card()
    assert (await first.ask(SELECT)).ok
    first.drop()
    second = await laboratory.reader.card()
    assert (await second.ask(SELECT)).ok


async def test_no_reader_is_said_in_a_sentence(laboratory: Laboratory) -> None:
    with socket.socket() as held:  # bound, and not listening: nobody answers there
        held.bind(("127.0.0.1", 0))
        reader = VirtualReader(laboratory.bus, laboratory.key.card, held.getsockname())
        with pytest.raises(EmulatorError, match="No virtual reader answers"):
            await reader.start()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:35964", ("127.0.0.1", 35_964)),
        ("localhost", ("127.0.0.1", DEFAULT_PORT)),
        ("[::1]:99", ("::1", 99)),
        ("[::1]", ("::1", DEFAULT_PORT)),
    ],
)
def test_a_reader_is_named_by_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize("text", ["127.0.0.1:0", "127.0.0.1:x", "127.0.0.1:99999", ":1", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(EmulatorError):
        address_of(text)


@pytest.mark.parametrize("host", ["0.0.0.0:35963", "192.0.2.1", "example.org:35963", "[::]:1"])
def test_a_reader_on_another_computer_is_refused(host: str) -> None:
    with pytest.raises(EmulatorError, match="loopback only"):
        address_of(host)


def test_a_key_is_plugged_in_at_one_place(tmp_path: object) -> None:
    words = ("serve", "--state", f"{tmp_path}/k", "--control", f"{tmp_path}/c")
    done = emukey_command(*words, "--vhci", "--vpicc", "127.0.0.1")
    assert done.returncode == 2
    assert "at one place" in done.stderr
