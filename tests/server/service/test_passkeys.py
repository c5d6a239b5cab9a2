"""Passkeys: adding and removing them, signing in with them, and every answer that is refused."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from keypeg import errors
from keypeg.errors import KeypegError
from keypeg_server.domain import passkey as rules
from keypeg_server.domain import totp
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.domain.events import LogRecorded
from keypeg_server.domain.passkey import Passkey, handle_of
from keypeg_server.domain.sign_in import Method
from keypeg_server.service.passkey_challenges import Challenges
from keypeg_server.service.passkey_checks import PasskeyChecks
from keypeg_server.service.passkey_sign_ins import PasskeySignIns
from keypeg_server.service.passkeys import Added, PasskeyService
from keypeg_server.service.second_factors import owed
from keypeg_server.service.tokens import NewTokens
from keypeg_server.storage.log_writer import LogWriter
from tests.server.service.office import PASSWORD, PUBLISHER, Office
from tests.server.service.soft_passkey import NAME, PRESENT, Said, SoftPasskey
from tests.server.service.test_required_factors import require

THERE = "192.0.2.7"


class Desk:
    """An office where people have passkeys."""

    def __init__(self, office: Office) -> None:
        self.office = office
        challenges, checks = Challenges(b"t" * 32, office.clock), PasskeyChecks(NAME)
        ids = office.placing._new_id
        self.passkeys = PasskeyService(
            office.store, office.clock, ids, office.sign_ins, office.factors, checks, challenges
        )
        self.sign_ins = PasskeySignIns(
            office.store, office.clock, office.sign_ins, checks, challenges
        )

    async def add(
        self, caller: Caller, key: SoftPasskey, said: Said | None = None, code: str = ""
    ) -> Added:
        self.office.clock.now += timedelta(milliseconds=1)
        begun = await self.passkeys.begin_registration(caller, PASSWORD, code, "")
        assert begun.user is not None
        made = key.make(begun.challenge, handle_of(begun.user), said or Said())
        return await self.finish(caller, made)

    async def finish(self, caller: Caller, made: tuple[bytes, bytes]) -> Added:
        done: list[Added] = []
        await self.passkeys.finish_registration(self.office.request(done), caller, "blue", *made)
        return done[0]

    async def remove(self, caller: Caller, passkey: Passkey, code: str = "") -> None:
        await self.passkeys.delete(
            self.office.request([]), caller, passkey.name, PASSWORD, code, ""
        )

    async def asks(self, login: str = "") -> bytes:
        self.office.clock.now += timedelta(milliseconds=1)
        begun = await self.sign_ins.begin_sign_in(login, PASSWORD if login else "", "")
        return begun.challenge

    async def sign_in(self, key: SoftPasskey, said: Said | None = None) -> NewTokens:
        return await self.sign_ins.finish_sign_in(key.answer(await self.asks(), said or Said()), "")

    def as_signed_in(self, caller: Caller, new: NewTokens) -> Caller:
        """The caller, by this sign-in."""
        return replace(caller, token=new.sign_in.id)


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


@pytest.fixture
async def anna(office: Office) -> Caller:
    return await office.user("anna", role=Role.OWNER)


@pytest.mark.parametrize("algorithm", [-7, -8])
async def test_a_passkey_signs_in_alone(desk: Desk, anna: Caller, algorithm: int) -> None:
    key = SoftPasskey(algorithm)
    added = await desk.add(anna, key)
    assert len(added.recovery_codes) == 10
    new = await desk.sign_in(key)
    assert new.sign_in.method is Method.PASSKEY
    assert new.sign_in.user.name == anna.user
    (listed,) = await desk.passkeys.listed(anna)
    assert (listed.display_name, listed.use_time) == ("blue", desk.office.clock.now)


async def test_beside_a_password_a_touch_is_enough(desk: Desk, anna: Caller) -> None:
    key = SoftPasskey()
    await desk.add(anna, key)
    with pytest.raises(errors.CodeRequired) as refusal:
        await desk.office.sign_ins.with_password("anna", PASSWORD)
    assert refusal.value.metadata["factors"] == "passkey"
    touched = Said(flags=PRESENT)
    with pytest.raises(errors.CredentialsInvalid):
        await desk.sign_in(key, touched)
    answer = key.answer(await desk.asks("anna"), touched)
    new = await desk.sign_ins.finish_sign_in(answer, "")
    assert new.sign_in.method is Method.PASSWORD_AND_PASSKEY
    with pytest.raises(errors.CredentialsInvalid):
        await desk.sign_ins.begin_sign_in("anna", "wrong password", "")


async def test_a_recovery_code_stands_for_a_lost_passkey(desk: Desk, anna: Caller) -> None:
    added = await desk.add(anna, SoftPasskey())
    code = added.recovery_codes[0]
    await desk.office.sign_ins.with_password("anna", PASSWORD, code=code)
    with pytest.raises(errors.CredentialsInvalid):
        await desk.office.sign_ins.with_password("anna", PASSWORD, code=code)
    await desk.remove(anna, added.passkey, added.recovery_codes[1])
    await desk.office.sign_ins.with_password("anna", PASSWORD)
    assert await desk.passkeys.listed(anna) == []


async def test_another_one_takes_the_second_factor_of_now(desk: Desk, anna: Caller) -> None:
    first, second = SoftPasskey(), SoftPasskey()
    await desk.add(anna, first)
    with pytest.raises(errors.CodeRequired, match="10 minutes"):
        await desk.add(anna, second)
    by_passkey = desk.as_signed_in(anna, await desk.sign_in(first))
    added = await desk.add(by_passkey, second)
    assert added.recovery_codes == []
    desk.office.clock.now += timedelta(minutes=11)
    with pytest.raises(errors.CodeRequired):
        await desk.remove(by_passkey, added.passkey)
    with pytest.raises(errors.CredentialsInvalid):
        await desk.passkeys.begin_registration(by_passkey, "wrong password", "", "")


async def test_codes_are_set_up_beside_a_passkey_after_a_sign_in_with_it(
    desk: Desk, anna: Caller
) -> None:
    office, key = desk.office, SoftPasskey()
    user = await office.sign_ins.again(anna, PASSWORD, "")
    before = secret_in(await office.factors.begin(anna, user))
    await desk.add(anna, key)
    with pytest.raises(errors.AlreadyExists, match="begin to set codes up"):
        await office.factors.confirm(anna, shown(office, before))
    with pytest.raises(errors.CodeRequired, match="10 minutes"):
        await office.factors.begin(anna, user)
    by_passkey = desk.as_signed_in(anna, await desk.sign_in(key))
    secret = secret_in(await office.factors.begin(by_passkey, user))
    assert await office.factors.confirm(by_passkey, shown(office, secret))


def secret_in(uri: str) -> bytes:
    text = uri.partition("secret=")[2].partition("&")[0]
    return base64.b32decode(text + "=" * (-len(text) % 8))


def shown(office: Office, secret: bytes) -> str:
    return totp.code(secret, totp.step_of(office.clock.now))


async def test_the_last_passkey_stays_where_a_factor_is_required(desk: Desk, anna: Caller) -> None:
    key, spare = SoftPasskey(), SoftPasskey()
    await require(desk.office, anna)
    added = await desk.add(anna, key)
    user = added.passkey.user
    assert not await desk.office.store.read(lambda unit: owed(unit, user))
    me = desk.as_signed_in(anna, await desk.sign_in(key))
    with pytest.raises(errors.SecondFactorRequired, match="last one"):
        await desk.remove(me, added.passkey)
    await desk.add(me, spare)
    await desk.remove(me, added.passkey)
    with pytest.raises(errors.CredentialsInvalid):
        await desk.sign_in(key)
    assert (await desk.sign_in(spare)).sign_in.user.name == anna.user


async def test_passkeys_of_others_are_not_there(desk: Desk, anna: Caller) -> None:
    added = await desk.add(anna, SoftPasskey())
    berta = await desk.office.user("berta", role=Role.OWNER)
    with pytest.raises(errors.NotFound):
        await desk.remove(berta, added.passkey)
    done: list[Passkey] = []
    with pytest.raises(errors.NotFound):
        await desk.passkeys.rename(desk.office.request(done), berta, added.passkey.name, "mine")
    await desk.passkeys.rename(desk.office.request(done), anna, added.passkey.name, "red")
    assert [one.display_name for one in await desk.passkeys.listed(anna)] == ["red"]
    with pytest.raises(errors.PermissionDenied):
        await desk.passkeys.listed(replace(PUBLISHER, scopes=frozenset()))


async def test_what_is_answered_wrong_is_refused_and_nothing_is_lost_by_it(
    desk: Desk, anna: Caller
) -> None:
    key = SoftPasskey()
    await desk.add(anna, key)
    answer = key.answer(await desk.asks())
    for wrong in (
        replace(answer, credential_id=b"?" * 32),
        replace(answer, user_handle=b"berta"),
        replace(answer, signature=b"?"),
        replace(answer, client_data_json=answer.client_data_json + b" "),
    ):
        with pytest.raises(errors.CredentialsInvalid):
            await desk.sign_ins.finish_sign_in(wrong, "")
    with pytest.raises(errors.FieldInvalid):
        await desk.sign_ins.finish_sign_in(replace(answer, client_data_json=b"{}"), "")
    await desk.sign_ins.finish_sign_in(answer, "")


async def test_wrong_answers_are_taken_so_often(desk: Desk, anna: Caller) -> None:
    key = SoftPasskey()
    await desk.add(anna, key)
    for _ in range(10):
        wrong = replace(key.answer(await desk.asks()), signature=b"?")
        with pytest.raises(errors.CredentialsInvalid):
            await desk.sign_ins.finish_sign_in(wrong, "", THERE)
    right = key.answer(await desk.asks())
    with pytest.raises(errors.LimitExceeded):
        await desk.sign_ins.finish_sign_in(right, "", THERE)
    await desk.sign_ins.finish_sign_in(right, "", "192.0.2.8")


async def test_an_answer_is_good_once_and_ends_those_before_it(desk: Desk, anna: Caller) -> None:
    key = SoftPasskey()
    await desk.add(anna, key)
    older = await desk.asks()
    desk.office.clock.now += timedelta(seconds=1)
    answer = key.answer(await desk.asks())
    await desk.sign_ins.finish_sign_in(answer, "")
    for used in (answer, key.answer(older)):
        with pytest.raises(errors.CredentialsInvalid, match="used before"):
            await desk.sign_ins.finish_sign_in(used, "")


async def test_passkeys_go_on_signing_in_while_the_server_s_clock_stands(
    desk: Desk, anna: Caller
) -> None:
    key = SoftPasskey()
    await desk.add(anna, key)
    for _ in range(3):
        begun = await desk.sign_ins.begin_sign_in("", "", "")
        await desk.sign_ins.finish_sign_in(key.answer(begun.challenge), "")


async def test_a_challenge_has_its_time_its_ceremony_and_its_server(
    desk: Desk, anna: Caller
) -> None:
    key = SoftPasskey()
    await desk.add(anna, key)
    late = await desk.asks()
    desk.office.clock.now += rules.VALID_FOR
    with pytest.raises(errors.CredentialsInvalid, match="too long"):
        await desk.sign_ins.finish_sign_in(key.answer(late), "")
    registering = await desk.passkeys.begin_registration(
        desk.as_signed_in(anna, await desk.sign_in(key)), PASSWORD, "", ""
    )
    elsewhere = Challenges(b"u" * 32, desk.office.clock).new(rules.Ceremony.ALONE, None)
    for challenge in (registering.challenge, elsewhere, b"", b"x" * 64):
        with pytest.raises(errors.CredentialsInvalid):
            await desk.sign_ins.finish_sign_in(key.answer(challenge), "")


async def test_a_challenge_for_one_user_is_not_answered_by_another(
    desk: Desk, anna: Caller
) -> None:
    berta = await desk.office.user("berta")
    hers = SoftPasskey()
    await desk.add(anna, SoftPasskey())
    await desk.add(berta, hers)
    with pytest.raises(errors.CredentialsInvalid):
        await desk.sign_ins.finish_sign_in(hers.answer(await desk.asks("anna")), "")


async def test_a_counter_that_did_not_grow_is_refused_and_in_the_log(
    desk: Desk, anna: Caller
) -> None:
    desk.office.store.log = LogWriter(desk.office.signing.sign_log, b"a secret")
    told: list[str] = []
    desk.office.hub.subscribe(
        LogRecorded,
        lambda event: told.extend(json.loads(one.body)["event"] for one in event.entries),
    )
    key = SoftPasskey()
    await desk.add(anna, key)
    await desk.sign_in(key)
    key.counter -= 1
    with pytest.raises(errors.CredentialsInvalid, match="copy"):
        await desk.sign_in(key)
    assert told == ["passkey_added", "signed_in", "passkey_copied"]
    desk.office.clock.now += timedelta(seconds=1)
    key.counter += 5
    await desk.sign_in(key)


async def test_a_registration_is_good_once_and_of_who_began_it(desk: Desk, anna: Caller) -> None:
    berta = await desk.office.user("berta")
    begun = await desk.passkeys.begin_registration(anna, PASSWORD, "", "")
    with pytest.raises(errors.FieldInvalid):
        await desk.finish(berta, SoftPasskey().make(begun.challenge, b"anna"))
    key = SoftPasskey()
    made = key.make(begun.challenge, b"anna")
    await desk.finish(anna, made)
    refusals: tuple[type[KeypegError], ...] = (errors.AlreadyExists, errors.FieldInvalid)
    with pytest.raises(refusals):
        await desk.finish(anna, made)
    with pytest.raises(errors.FieldInvalid, match="used before"):
        await desk.finish(anna, SoftPasskey().make(begun.challenge, b"anna"))


async def test_there_are_so_many_passkeys_of_a_user(
    desk: Desk, anna: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keypeg_server.service.passkeys.PASSKEYS_LIMIT", 1)
    key = SoftPasskey()
    await desk.add(anna, key)
    me = desk.as_signed_in(anna, await desk.sign_in(key))
    with pytest.raises(errors.LimitExceeded):
        await desk.add(me, SoftPasskey())
