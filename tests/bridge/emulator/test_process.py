"""keypeg-emukey as a process: its two ports under any bytes, its command line, its file, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keypeg.clock import monotonic
from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm, respond
from keypeg_bridge.emulator import control
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.usbip_server import MAX_CONNECTIONS
from keypeg_bridge.keys.opening import Drivers, open_driver
from keypeg_bridge.transport import usbip_client
from keypeg_bridge.transport.backends import make_backend
from keypeg_bridge.wire import piv, tlv, usbip
from keypeg_bridge.wire.apdu import Command, Response
from tests.bridge.emukey import Emukey, running

FEW = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
SECONDS = 10.0


def dial(key: Emukey) -> socket.socket:
    host, port = key.address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), SECONDS)


def listed(key: Emukey) -> list[str]:
    host, port = key.address.rsplit(":", 1)
    return [d.bus_id for d in usbip_client.list_devices(host, int(port), monotonic)]


def drain(connection: socket.socket) -> None:
    """Read to the end, which must come."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        return


def emukey_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from keypeg_bridge.emulator.main import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.behaviour("KEY-14")
def test_any_bytes_on_the_port_end_the_connection_only(emukey: Emukey) -> None:
    @FEW
    @given(st.binary(min_size=1, max_size=300))
    def send(raw: bytes) -> None:
        with closing(dial(emukey)) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            drain(connection)

    send()
    assert listed(emukey) == ["1-1"]


IMPORT = usbip.ImportRequest("1-1").encode()
FIELD = st.integers(0, 0xFFFFFFFF).map(lambda n: n.to_bytes(4, "big"))
SMALL = st.integers(0, 3).map(lambda n: n.to_bytes(4, "big"))


@pytest.mark.behaviour("KEY-14")
def test_any_transfers_end_the_connection_only(emukey: Emukey) -> None:
    headers = st.tuples(SMALL, FIELD, st.just(b"\x00\x01\x00\x01") | FIELD, SMALL, SMALL | FIELD)
    bodies = st.tuples(headers, SMALL | FIELD, SMALL | FIELD, st.binary(min_size=20, max_size=40))

    @FEW
    @given(st.lists(bodies | st.tuples(headers, st.binary(max_size=60)), max_size=4))
    def send(messages: list[tuple[object, ...]]) -> None:
        raw = b"".join(
            b"".join(part) if isinstance(part, tuple) else bytes(part)  # type: ignore[call-overload]
            for message in messages
            for part in message
        )
        with closing(dial(emukey)) as connection:
            connection.sendall(IMPORT + raw)
            connection.shutdown(socket.SHUT_WR)
            drain(connection)

    send()
    assert listed(emukey) == ["1-1"]


@pytest.mark.parametrize(
    "length", [0x7FFFFFFF, usbip.MAX_OUT_DATA + 1], ids=["two gigabytes", "one too many"]
)
def test_an_oversized_transfer_is_refused_before_it_is_received(
    emukey: Emukey, length: int
) -> None:
    before = psutil.Process(emukey.pid).memory_info().rss
    header = usbip.Submit(1, 0x10001, usbip.DIRECTION_OUT, 2, length).encode()
    with closing(dial(emukey)) as connection:
        connection.sendall(IMPORT + header)
        drain(connection)
    assert listed(emukey) == ["1-1"]
    assert psutil.Process(emukey.pid).memory_info().rss - before < 20_000_000


def test_a_flood_of_waiting_transfers_ends_the_connection(emukey: Emukey) -> None:
    configure = usbip.Submit(1, 0x10001, 0, 0, 0, bytes.fromhex("0009010000000000"))
    waiting = [usbip.Submit(n, 0x10001, usbip.DIRECTION_IN, 2, 64) for n in range(2, 200)]
    with closing(dial(emukey)) as connection:
        connection.sendall(IMPORT + b"".join(s.encode() for s in [configure, *waiting]))
        drain(connection)
    assert listed(emukey) == ["1-1"]


def test_connections_beyond_the_limit_are_closed_and_the_others_stay(emukey: Emukey) -> None:
    held = [dial(emukey) for _ in range(MAX_CONNECTIONS)]
    try:
        with closing(dial(emukey)) as extra:
            drain(extra)
        held[0].sendall(usbip.ListRequest().encode())
        assert held[0].recv(4) == bytes.fromhex("01110005")
    finally:
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\n", "Expected a line"),
        (b"[]\n", "Expected a line"),
        (b'"x"\n', "Expected a line"),
        (b"[" * 3_000 + b"\n", "Expected a line"),
        (b"\xff\xfe\n", "Expected a line"),
        (b'{"command": 5}\n', "must be a string"),
        (b'{"command": "explode"}\n', "unknown"),
        (b"x" * 300_000, "too long"),
    ],
    ids=["empty", "list", "text", "deep", "bytes", "number", "unknown", "long"],
)
def test_broken_control_lines_get_a_sentence(emukey: Emukey, line: bytes, said: str) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(SECONDS)
        connection.connect(str(emukey.control))
        connection.sendall(line)
        answer = json.loads(connection.makefile("rb").readline())
    assert answer["ok"] is False
    assert said in answer["error"]
    assert emukey.status()["plugged"] is True


def test_plug_and_unplug_can_be_repeated(emukey: Emukey) -> None:
    assert emukey.unplug()["plugged"] is False
    assert emukey.unplug()["plugged"] is False
    assert listed(emukey) == []
    assert emukey.plug()["plugged"] is True
    assert emukey.plug()["plugged"] is True
    assert listed(emukey) == ["1-1"]


def test_the_command_line_controls_a_served_key(emukey: Emukey) -> None:
    done = emukey_command("ctl", "--control", str(emukey.control), "unplug")
    assert done.returncode == 0
    assert json.loads(done.stdout)["plugged"] is False


def test_nobody_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    done = emukey_command("ctl", "--control", str(tmp_path / "none"), "status")
    assert done.returncode == 1
    assert "No emulated key answers" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_ready_line_says_that_it_is_emulated(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    with running(tmp_path, "--ready-file", str(ready_file)) as key:
        assert key.ready["emulated"] is True
        assert json.loads(ready_file.read_text()) == key.ready


def test_the_same_seed_gives_the_same_serial_and_card_id(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        with running(tmp_path, "--seed", "7", name=name) as key:
            contents.append(json.loads(key.state.read_text()))
    assert contents[0]["serial"] == contents[1]["serial"]
    assert contents[0]["guid"] == contents[1]["guid"]


def test_the_files_are_their_owners_only(emukey: Emukey) -> None:
    assert stat.S_IMODE(emukey.state.stat().st_mode) == 0o600
    assert stat.S_IMODE(emukey.control.stat().st_mode) == 0o600


def test_a_signal_ends_it_cleanly_with_a_host_attached(tmp_path: Path) -> None:
    with running(tmp_path) as key, closing(dial(key)) as connection:
        connection.sendall(IMPORT)
        assert connection.recv(4) == bytes.fromhex("01110003")
        os.kill(key.pid, signal.SIGTERM)
        drain(connection)
        assert key.wait() == 0
        assert not key.control.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_other_addresses_than_loopback_are_refused(tmp_path: Path, host: str) -> None:
    state = tmp_path / "key.json"
    done = emukey_command(
        "serve", "--state", str(state), "--control", str(tmp_path / "c"), "--host", host
    )
    assert done.returncode == 1
    assert "loopback only" in done.stderr
    assert not state.exists()


def test_what_cannot_be_used_is_refused_with_a_sentence(emukey: Emukey, tmp_path: Path) -> None:
    port = emukey.address.rsplit(":", 1)[1]
    broken = tmp_path / "broken.json"
    broken.write_text('{"format": 99}')
    other, control_path = str(tmp_path / "other.json"), str(tmp_path / "c")
    cases = {
        "in use by another keypeg-emukey": ["--state", str(emukey.state), "--port", "0"],
        "Cannot listen on": ["--state", other, "--port", port],
        "cannot be used": ["--state", str(broken), "--port", "0"],
        "Cannot use the state file": ["--state", str(tmp_path / "no" / "x"), "--port", "0"],
    }
    for said, arguments in cases.items():
        done = emukey_command("serve", "--control", control_path, *arguments)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    done = emukey_command("serve", "--state", other, "--control", str(emukey.control), "--port=0")
    assert "Another keypeg-emukey answers" in done.stderr
    assert emukey.status()["plugged"] is True


def test_another_seed_than_the_files_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, "--seed", "7") as key:
        state = str(key.state)
    done = emukey_command(
        "serve", "--state", state, "--control", str(tmp_path / "c"), "--port=0", "--seed", "8"
    )
    assert done.returncode == 1
    assert "another seed" in done.stderr


def test_a_refused_command_is_an_error_for_the_caller(emukey: Emukey) -> None:
    with pytest.raises(EmulatorError, match="unknown"):
        control.call(emukey.control, "explode")


@pytest.mark.parametrize("reader", ["short", "tpdu"])
def test_cards_serve_behind_readers_of_every_level(tmp_path: Path, reader: str) -> None:
    with running(tmp_path, "--reader", reader) as key:
        backend = make_backend(key.backend, monotonic)
        found, _ = backend.devices()
        driver = open_driver(backend, found[0], Drivers(monotonic, None, ("piv",)))
        asked = driver.begin_authorization()
        answer = respond(asked.algorithm, DEFAULT_MANAGEMENT_KEY, asked.challenge)
        driver.finish_authorization(answer)
        driver.generate_identity_key()
        license_bytes = bytes(i % 251 for i in range(2_900))
        driver.write(1, license_bytes)
        driver.end_authorization()
        assert driver.read(1) == license_bytes
        assert driver.probe().silent
        driver.close()


def test_a_card_s_key_waits_for_the_finger_over_usb(tmp_path: Path) -> None:
    with running(tmp_path, "--touch", "command") as key:
        backend = make_backend(key.backend, monotonic)
        found, _ = backend.devices()
        pipe = backend.open(found[0].handle)

        def send(ins: int, p1: int, p2: int, data: bytes) -> Response:
            apdu = Command(0, ins, p1, p2, data, 256).encode()
            return Response.decode(pipe.exchange(apdu, SECONDS))

        def authenticate(algorithm: int, slot: int, fields: bytes) -> Response:
            return send(piv.INS_AUTHENTICATE, algorithm, slot, tlv.encode(0x7C, fields))

        assert send(piv.INS_SELECT, 4, 0, piv.AID).ok
        asked = authenticate(0x0A, 0x9B, b"\x81\x00")
        challenge = tlv.find(tlv.unwrap(asked.data, 0x7C), 0x81) or b""
        answer = respond(ManagementAlgorithm.AES_192, DEFAULT_MANAGEMENT_KEY, challenge)
        assert authenticate(0x0A, 0x9B, tlv.encode(0x82, answer)).ok
        template = bytes.fromhex("ac06 800111 ab0102")  # a touch for each use
        assert send(piv.INS_GENERATE, 0, 0x9E, template).ok
        with ThreadPoolExecutor(1) as pool:
            signing = pool.submit(authenticate, 0x11, 0x9E, b"\x82\x00\x81\x20" + bytes(32))
            deadline = monotonic() + SECONDS
            while not key.status()["wants_touch"]:
                assert monotonic() < deadline
            assert not signing.done()
            key.touch()
            assert signing.result(SECONDS).ok
        pipe.close()
