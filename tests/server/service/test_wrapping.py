"""Secrets that are wrapped come back only as they went in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_server.service.wrapping import AesGcmWrapping, UnwrapError

MASTER = bytes(range(32))
WRAPPING = AesGcmWrapping.of_master(MASTER)
WRAPPED = WRAPPING.wrap(b"a seed of twenty byte", "users/ada totp")


@given(st.binary(max_size=300), st.text(max_size=50))
def test_what_was_wrapped_comes_back(secret: bytes, context: str) -> None:
    assert WRAPPING.unwrap(WRAPPING.wrap(secret, context), context) == secret


def test_another_server_with_the_same_master_unwraps_it() -> None:
    assert AesGcmWrapping.of_master(MASTER).unwrap(WRAPPED, "users/ada totp")


def test_equal_secrets_do_not_look_equal() -> None:
    assert WRAPPING.wrap(b"same", "one") != WRAPPING.wrap(b"same", "one")


@pytest.mark.parametrize(
    ("wrapping", "wrapped", "context"),
    [
        pytest.param(WRAPPING, WRAPPED, "users/eve totp", id="moved to somebody else"),
        pytest.param(AesGcmWrapping(bytes(32)), WRAPPED, "users/ada totp", id="another key"),
        pytest.param(WRAPPING, b"\x02" + WRAPPED[1:], "users/ada totp", id="another version"),
        pytest.param(WRAPPING, WRAPPED[:20], "users/ada totp", id="truncated"),
        pytest.param(WRAPPING, b"", "users/ada totp", id="empty"),
    ],
)
def test_what_was_not_wrapped_so_is_refused(
    wrapping: AesGcmWrapping, wrapped: bytes, context: str
) -> None:
    with pytest.raises(UnwrapError, match="can not be read"):
        wrapping.unwrap(wrapped, context)


@given(st.integers(0, len(WRAPPED) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused(at: int, by: int) -> None:
    changed = bytearray(WRAPPED)
    changed[at] ^= by
    with pytest.raises(UnwrapError):
        WRAPPING.unwrap(bytes(changed), "users/ada totp")
