"""What is told to somebody whose second factors were taken away."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from keypeg.factor_reset import told_in
from keypeg.v1.account_service_pb2 import SignInResponse
from keypeg.v1.sign_in_pb2 import SecondFactorReset, SignedIn


@pytest.mark.parametrize("kind", [SignInResponse, SignedIn])
@pytest.mark.parametrize(
    ("codes", "passkeys", "said"),
    [
        (True, 0, "(one-time codes)"),
        (False, 1, "(a passkey)"),
        (True, 2, "(one-time codes and 2 passkeys)"),
    ],
)
def test_it_says_what_by_whom_and_when(
    kind: type[SignInResponse] | type[SignedIn], codes: bool, passkeys: int, said: str
) -> None:
    reset = SecondFactorReset(by_login="olga", one_time_codes=codes, passkey_count=passkeys)
    reset.reset_time.FromDatetime(datetime(2026, 11, 1, 9, 30, tzinfo=UTC))
    told = told_in(kind(second_factor_reset=reset))
    assert f"{said} were taken away by olga at 2026-11-01 09:30 UTC" in told


def test_it_says_nothing_where_nothing_was_taken_away() -> None:
    assert told_in(SignInResponse()) == told_in(SignedIn()) == ""
