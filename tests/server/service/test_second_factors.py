"""One-time codes beside passwords."""

from __future__ import annotations

import asyncio
import base64
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select

from keypeg import errors
from keypeg_server.domain import totp
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.sign_in import Method
from keypeg_server.storage.tables_sign_in import RecoveryCodeRow, TotpRow
from tests.server.service.office import PASSWORD, Office

SECRET = b"12345678901234567890"  # RFC 6238, appendix B


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ],
)
def test_codes_are_those_of_the_standard(seconds: int, expected: str) -> None:
    now = datetime.fromtimestamp(seconds, UTC)
    assert totp.code(SECRET, totp.step_of(now)) == expected
    assert totp.matching_step(SECRET, f"{expected[:3]} {expected[3:]}", now, 0) == seconds // 30


@pytest.mark.parametrize(
    ("drift", "fits"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)]
)
def test_a_clock_may_be_off_by_a_step(drift: int, fits: bool) -> None:
    now = datetime.fromtimestamp(1_111_111_111, UTC)
    shown = totp.code(SECRET, totp.step_of(now) + drift)
    assert (totp.matching_step(SECRET, shown, now, 0) is not None) is fits


@pytest.mark.parametrize("text", ["", "1", "12345a", "\u00e9" * 6, "1" * 32])
def test_what_is_no_code_fits_nothing(text: str) -> None:
    assert totp.matching_step(SECRET, text, datetime.fromtimestamp(59, UTC), 0) is None


class Authenticator:
    """What a user has in the pocket."""

    def __init__(self, office: Office, uri: str) -> None:
        found = re.fullmatch(r"otpauth://totp/keypeg:anna\?secret=([A-Z2-7]+)&issuer=keypeg", uri)
        assert found is not None, uri
        self._office = office
        self._secret = base64.b32decode(found[1] + "=" * (-len(found[1]) % 8))

    def shows(self) -> str:
        return totp.code(self._secret, totp.step_of(self._office.clock.now))


async def set_up(office: Office) -> tuple[Caller, Authenticator, list[str]]:
    anna = await office.user("anna")
    user = await office.sign_ins.again(anna, PASSWORD, "")
    device = Authenticator(office, await office.factors.begin(anna, user))
    await office.sign_ins.with_password(
        "anna", PASSWORD
    )  # nothing is asked for before it is confirmed
    with pytest.raises(errors.FieldInvalid):
        await office.factors.confirm(anna, "wrong")
    codes = await office.factors.confirm(anna, device.shows())
    office.clock.now += timedelta(seconds=30)
    return anna, device, codes


async def test_a_code_is_asked_for_and_is_good_once(office: Office) -> None:
    _, device, _ = await set_up(office)
    with pytest.raises(errors.CodeRequired):
        await office.sign_ins.with_password("anna", PASSWORD)
    with pytest.raises(errors.CredentialsInvalid, match="name or password"):
        await office.sign_ins.with_password("anna", "wrong password", code=device.shows())
    new = await office.sign_ins.with_password("anna", PASSWORD, code=device.shows())
    assert new.sign_in.method is Method.PASSWORD_AND_CODE
    with pytest.raises(errors.CredentialsInvalid, match="used before"):
        await office.sign_ins.with_password("anna", PASSWORD, code=device.shows())
    office.clock.now += timedelta(seconds=30)
    await office.sign_ins.with_password("anna", PASSWORD, code=device.shows())


async def test_codes_are_of_the_date_where_the_server_s_clock_was_ahead_once(
    office: Office,
) -> None:
    _, device, _ = await set_up(office)
    shown = device.shows()
    office.clock.now += timedelta(days=1)
    office.clock.ahead = timedelta(days=1)
    await office.sign_ins.with_password("anna", PASSWORD, code=shown)


async def test_a_recovery_code_is_good_once(office: Office) -> None:
    _, _, codes = await set_up(office)
    assert len(set(codes)) == totp.RECOVERY_CODES
    await office.sign_ins.with_password("anna", PASSWORD, code=codes[3].upper().replace("-", " "))
    with pytest.raises(errors.CredentialsInvalid):
        await office.sign_ins.with_password("anna", PASSWORD, code=codes[3])
    await office.sign_ins.with_password("anna", PASSWORD, code=codes[4])


async def test_codes_are_guessed_so_many_times(office: Office) -> None:
    _, device, _ = await set_up(office)
    for number in range(10):
        with pytest.raises(errors.CredentialsInvalid):
            await office.sign_ins.with_password("anna", PASSWORD, code=f"{number:06d}x")
    with pytest.raises(errors.LimitExceeded):
        await office.sign_ins.with_password("anna", PASSWORD, code=device.shows())


async def test_showing_the_password_alone_brings_no_more_guesses(office: Office) -> None:
    _, device, _ = await set_up(office)
    for number in range(10):
        await office.sign_ins.knows("anna", PASSWORD, "")
        with pytest.raises(errors.CredentialsInvalid):
            await office.sign_ins.with_password("anna", PASSWORD, code=f"{number:06d}x")
    with pytest.raises(errors.LimitExceeded):
        await office.sign_ins.knows("anna", PASSWORD, "")
    with pytest.raises(errors.LimitExceeded):
        await office.sign_ins.with_password("anna", PASSWORD, code=device.shows())


async def test_a_try_that_its_caller_gave_up_counts(office: Office) -> None:
    """It was carried out all the same: who gives each up could else guess without end, and see what became of it."""
    anna, device, _ = await set_up(office)
    user = await office.sign_ins.again(anna, PASSWORD, "")
    guarded = office.sign_ins.guarded

    async def give_up(code: str) -> None:
        begun = asyncio.ensure_future(
            guarded.attempt("anna", "", lambda: office.factors.remove(user, code))
        )
        await asyncio.sleep(0)
        begun.cancel()
        with pytest.raises(asyncio.CancelledError):
            await begun

    for number in range(10):
        await give_up(f"{number:06d}x")
    with pytest.raises(errors.LimitExceeded):
        await guarded.attempt("anna", "", lambda: office.factors.remove(user, device.shows()))


async def test_codes_are_removed_with_password_and_code(office: Office) -> None:
    anna, device, _ = await set_up(office)
    user = await office.sign_ins.again(anna, PASSWORD, "")
    with pytest.raises(errors.AlreadyExists):
        await office.factors.begin(anna, user)
    with pytest.raises(errors.CodeRequired):
        await office.factors.remove(user, "")
    await office.factors.remove(user, device.shows())
    await office.sign_ins.with_password("anna", PASSWORD)
    with pytest.raises(errors.AlreadyExists):
        await office.factors.remove(user, device.shows())


async def test_neither_the_secret_nor_recovery_codes_are_kept(office: Office) -> None:
    _, device, codes = await set_up(office)
    row = await office.database.read(lambda session: session.exec(select(TotpRow)).one())
    assert device._secret not in row.wrapped_secret
    kept = await office.database.read(lambda session: session.exec(select(RecoveryCodeRow)).all())
    assert not any(code.encode() in one.digest for code in codes for one in kept)
