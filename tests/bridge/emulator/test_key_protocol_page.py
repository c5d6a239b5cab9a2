"""docs/key-protocol.md says what the applet and its codec do: names, numbers, sizes and status words."""

from __future__ import annotations

import re
from pathlib import Path

from keypeg.possession import Counted, check_possession
from keypeg.v1.document_pb2 import KEY_ALGORITHM_SMARTKEY_P256, PublicKey
from keypeg_bridge.emulator import smartkey_state
from keypeg_bridge.emulator.smartkey_applet import SmartkeyApplet
from keypeg_bridge.keys.smartkey_counters import SAVE_EVERY
from keypeg_bridge.wire import smartkey
from keypeg_bridge.wire.conversation import CardChannel
from tests.bridge.emulator.test_smartkey_applet import MALFORMED, STRAY

PAGE = (Path(__file__).parents[3] / "docs" / "key-protocol.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The first table behind a heading, without its head."""
    table = PAGE.split(f"\n{heading}\n", 1)[1].split("\n|", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.split("\n")[2:]]


def test_the_name_is_the_page_s() -> None:
    spaced = smartkey.AID.hex(" ").upper()
    assert f"`{spaced}`" in PAGE
    assert f"00 A4 04 00 08 {smartkey.AID.hex().upper()} 00" in PAGE


def test_the_commands_are_the_page_s() -> None:
    named = {(row[1].split(",")[0], int(row[0], 16)) for row in rows("## Commands")}
    assert named == {
        (name.removeprefix("INS_").replace("_", " "), number)
        for name, number in vars(smartkey).items()
        if name.startswith("INS_") and name != "INS_SELECT"
    }
    parts = {row[1]: int(row[3], 16) for row in rows("## Commands") if "," in row[1]}
    assert parts == {"WRITE, begin": smartkey.P2_BEGIN, "WRITE, piece": smartkey.P2_PIECE}
    assert f"1 to {smartkey.MAX_PIECE} bytes" in PAGE


def test_the_information_is_laid_out_as_on_the_page() -> None:
    fields = [(int(row[0]), int(row[1])) for row in rows("### INFO")]
    assert [at for at, _ in fields] == [sum(size for _, size in fields[:n]) for n in range(9)]
    marked = smartkey.Info(
        management_algorithm=0x0C,
        management_is_default=True,
        slots=0x14,
        slot_bytes=0x1122,
        room=0x33445566,
        card_id=b"C" * 16,
        counter=0x4E4E4E4E4E4E4E4E,
        public_key=b"P" * 65,
    ).encode()
    assert [marked[at : at + size] for at, size in fields] == [
        b"\x01", b"\x03", b"\x0c", b"\x14", b"\x11\x22", b"\x33\x44\x55\x66", b"C" * 16, b"N" * 8,
        b"P" * 65,
    ]  # fmt: skip


def test_the_message_that_is_signed_is_the_page_s() -> None:
    message = smartkey.signed_message(7, bytes(32))
    label = message[: message.index(b"\0")].decode()
    assert f'the {len(message)} bytes `"{label}" 00 ‖ u64(counter) ‖ challenge`' in PAGE


def test_every_refusal_of_the_page_is_tried_and_no_other() -> None:
    named = set(re.findall(r"\b(6[0-9A-F]{3})\b", PAGE.split("## Name and selection")[1]))
    tried = {status for _, _, status in MALFORMED} | {f"{row[2]:04X}" for row in STRAY}
    # Each of these has a test of its own beside the tables.
    assert named == tried | {"6982", "6A82", "6A84", "6A88", "6581"}


def test_the_transcript_is_what_the_applet_says() -> None:
    text = PAGE.split("## A transcript")[1].split("```")[1]
    sent = [bytes.fromhex(line[2:]) for line in text.splitlines() if line.startswith("> ")]
    told = [bytes.fromhex(line[2:]) for line in text.splitlines() if line.startswith("< ")]
    state = smartkey_state.fresh("transcript")
    applet = SmartkeyApplet(
        "transcript", state, lambda state: None, lambda size: bytes(range(size))
    )
    channel = CardChannel(applet.handle)
    assert [channel.transmit(apdu) for apdu in sent[:-1]] == told[:-1]

    challenge = sent[-1][5:37]
    key = PublicKey(algorithm=KEY_ALGORITHM_SMARTKEY_P256, key=told[4][:-2])
    for answer in (told[-1], channel.transmit(sent[-1])):
        assert answer[-2:] == b"\x90\x00"
        assert check_possession(key, challenge, answer[:-2]) == Counted(1)


def test_sizes_are_within_what_the_page_says() -> None:
    assert f"every\n  {SAVE_EVERY} counts" in PAGE
    assert f"at most {SAVE_EVERY - 1} counts" in PAGE
    key = smartkey_state.FACTORY_KEY
    assert key == bytes(range(1, 9)) * 3
    assert smartkey.MANAGEMENT_SIZES[smartkey_state.FACTORY_ALGORITHM][0] == len(key)
    assert set(re.findall(r"\b(0[8AC]) (?:AES|with)", PAGE)) == {
        f"{number:02X}" for number in smartkey.MANAGEMENT_SIZES
    }
