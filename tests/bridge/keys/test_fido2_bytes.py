"""Any bytes from a security key: a value or an error of the driver's own, in bounded time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from fido2 import cbor
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keypeg_bridge.keys.ctap import CtapLink
from keypeg_bridge.keys.errors import KeyDriverError
from keypeg_bridge.keys.fido2_commands import Fido2Key, Info, NewCredential, Signed
from keypeg_bridge.transport.errors import DeviceTimeout, TransportError
from keypeg_bridge.wire import ctaphid
from tests.bridge.one_answer import Link

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8)
values = st.recursive(
    scalars | st.binary(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(-8, 12), inner),
    max_leaves=12,
)


def encoded(value: object) -> bytes:
    try:
        return b"\x00" + cbor.encode(value)  # type: ignore[arg-type]
    except ValueError:  # None, for example
        return b"\x00"


def asked(answer: bytes) -> None:
    key = Fido2Key(Link(answer))  # type: ignore[arg-type]
    commands: list[tuple[Callable[[], object], tuple[type, ...]]] = [
        (key.info, (Info,)),
        (lambda: key.make_credential(bytes(16), bytes(32)), (NewCredential,)),
        (lambda: key.get_assertion([b"id"], bytes(32)), (Signed, type(None))),
    ]
    for command, kinds in commands:
        with contextlib.suppress(KeyDriverError):
            assert isinstance(command(), kinds)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=300))
@example(b"\x00" + b"\x81" * 3_000)
@example(b"\x00\xbb" + b"\xff" * 8)
@example(b"\x00\x9b" + b"\xff" * 8)
def test_any_answer_ends_in_a_value_or_a_refusal(answer: bytes) -> None:
    asked(answer)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.integers(0, 10), values, max_size=6))
@example({1: {"id": 3}, 2: b"", 3: b""})
@example({1: "packed", 2: bytes(300), 3: {}})
@example({1: "packed", 2: 1 << 40, 3: {}})
@example({1: ["FIDO_2_0"], 4: {"rk": 1}, 5: -1, 7: None, 8: "x"})
def test_any_value_ends_in_a_value_or_a_refusal(value: dict[int, object]) -> None:
    asked(encoded(value))


class Pipe:
    """Gives the reports of a test, then nothing; its clock goes on with each call."""

    gone = False

    def __init__(self, reports: list[bytes]) -> None:
        self._reports = reports
        self.now = 0.0

    def clock(self) -> float:
        self.now += 0.001
        return self.now

    def write(self, report: bytes, timeout: float) -> None:
        assert len(report) == ctaphid.PACKET_BYTES

    def read(self, timeout: float) -> bytes:
        if not self._reports:
            self.now += timeout
            raise DeviceTimeout("nothing")
        return self._reports.pop(0)

    def close(self) -> None:
        """Nothing is held."""


channels = st.sampled_from([ctaphid.BROADCAST, 1, 2])
packets = st.binary(max_size=70) | st.builds(
    lambda channel, rest: channel.to_bytes(4, "big") + rest,
    channels,
    st.builds(
        lambda command, length, data: bytes([command]) + length.to_bytes(2, "big") + data,
        st.sampled_from([0x86, 0x90, 0xBB, 0xBF, 0x00, 0x01]),
        st.integers(0, 120),
        st.binary(min_size=57, max_size=57),
    ),
)
opened = ctaphid.fragment(
    ctaphid.BROADCAST,
    ctaphid.Command.INIT,
    ctaphid.InitReply(bytes(8), 1, (1, 0, 0), ctaphid.Capability.CBOR).encode(),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(packets, max_size=12), st.booleans(), st.booleans())
def test_any_reports_end_in_an_answer_or_an_error(
    reports: list[bytes], after_opening: bool, touch: bool
) -> None:
    pipe = Pipe([*(opened if after_opening else []), *reports])
    link = CtapLink(pipe, pipe.clock, lambda size: bytes(size))
    for _ in range(2):
        begun = pipe.now
        with contextlib.suppress(KeyDriverError, TransportError):
            assert link.cbor(b"\x04", 2.0, touch=touch)
        assert pipe.now - begun < 6.0
