"""Report descriptors: what an interface is for, and any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.wire import ctaphid, hid

KEYBOARD = bytes.fromhex("05010906a101050719e029e715002501750195088102c0")


@pytest.mark.parametrize(
    ("descriptor", "usages"),
    [
        (ctaphid.REPORT_DESCRIPTOR, [(0xF1D0, 1)]),
        (KEYBOARD, [(1, 6)]),
        (KEYBOARD + ctaphid.REPORT_DESCRIPTOR, [(1, 6), (0xF1D0, 1)]),
        (bytes.fromhex("0b0100d0f1a101c0"), [(0xF1D0, 1)]),
        (bytes.fromhex("fe0210aabb") + ctaphid.REPORT_DESCRIPTOR, [(0xF1D0, 1)]),
        (bytes.fromhex("06d0f10901a1010901a100c0c0"), [(0xF1D0, 1)]),
        (ctaphid.REPORT_DESCRIPTOR[:6], []),
        (b"", []),
    ],
    ids=["fido", "keyboard", "both", "usage of four bytes", "a long item", "nested", "cut off", "nothing"],
)  # fmt: skip
def test_an_interface_says_what_it_is_for(descriptor: bytes, usages: list[tuple[int, int]]) -> None:
    assert hid.top_usages(descriptor) == usages


@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_answer(descriptor: bytes) -> None:
    assert len(hid.top_usages(descriptor)) <= len(descriptor)
