"""Signing in at outside providers, and who is linked to whom; the provider is a stand-in."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from keypeg import errors, names
from keypeg.v1.identity_service_pb2 import FinishProviderSignInRequest
from keypeg_server.domain import totp
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.id_token import Proven
from keypeg_server.domain.identity import IDENTITIES_LIMIT, Derived, Identity, SecondFactor
from keypeg_server.domain.rights import Right, Role
from keypeg_server.domain.sign_in import Method
from keypeg_server.oidc.registry import KnownProviders
from keypeg_server.rpc.persons import Persons
from keypeg_server.service.identities import Identities
from keypeg_server.service.people import Invited, Joining, PeopleService
from keypeg_server.service.provider_ports import TypedCode
from keypeg_server.service.provider_sign_ins import VALID_FOR, Begun, ProviderSignIns, digest_of
from keypeg_server.service.token_texts import TokenTexts
from keypeg_server.service.wrapping import AesGcmWrapping
from tests.server.service.office import PASSWORD, PUBLISHER, Office

HERE, ISSUER, BACK = "192.0.2.7", "https://id.example", "http://127.0.0.1:7/callback"


@dataclass
class Elsewhere:
    """A provider that says what it is told to; implements `Provider`."""

    says: Proven | errors.KeypegError = field(
        default_factory=lambda: Proven("ada-there", frozenset())
    )
    second_factor: SecondFactor = SecondFactor.OURS
    name: str = "work"
    issuer: str = ISSUER
    asked: list[str] = field(default_factory=list)

    async def authorization_url(self, redirect_uri: str, made: Derived) -> str:
        return f"{self.issuer}/authorize?state={made.state}"

    async def check_redirect(self, issuer: str) -> None:
        if issuer not in ("", self.issuer):
            raise errors.ProviderRefused("Another provider.")

    async def by_code(self, code: str, redirect_uri: str, made: Derived) -> Proven:
        self.asked.append(code)
        return self._said()

    async def begin_typed(self) -> TypedCode:
        holds, every = timedelta(minutes=5), timedelta(seconds=5)
        return TypedCode("device-code", "ABCD", f"{self.issuer}/device", "", holds, every)

    async def by_typed(self, device_code: str) -> Proven:
        self.asked.append(device_code)
        return self._said()

    def _said(self) -> Proven:
        if isinstance(self.says, errors.KeypegError):
            raise self.says
        return self.says


class World:
    """An office with a provider."""

    def __init__(self, office: Office) -> None:
        self.office, self.there = office, Elsewhere()
        new_id = iter(f"{number:032x}" for number in range(10**6, 10**7)).__next__
        providers, store, clock = KnownProviders({"work": self.there}), office.store, office.clock
        wrapping = AesGcmWrapping.of_master(b"m" * 32)
        self.proofs = ProviderSignIns(
            store, clock, office.sign_ins, office.factors, providers, wrapping
        )
        self.people = PeopleService(store, clock, new_id, office.passwords)
        self.identities = Identities(
            store,
            clock,
            new_id,
            providers,
            office.sign_ins,
            self.proofs,
            self.people,
            office.factors,
        )

    async def begin(self, redirect_uri: str = BACK) -> Begun:
        return await self.proofs.begin("work", redirect_uri, "pc", HERE)

    async def proven(self, subject: str = "ada-there", *methods: str) -> str:
        self.there.says = Proven(subject, frozenset(methods))
        begun = await self.begin()
        await self.proofs.prove(begun.secret, "code", begun.state, ISSUER)
        return begun.secret

    async def linked(self, login: str, subject: str = "ada-there") -> Caller:
        caller = await self.office.user(login)
        await self.identities.link(caller, await self.proven(subject), PASSWORD, HERE)
        return caller

    async def said(self, caller: Caller, subject: str, who: Caller = PUBLISHER) -> Identity:
        """An administrator says who somebody is."""
        done: list[Identity] = []
        account, id = names.USER.parse(caller.user)
        await self.identities.create(self.office.request(done), who, account, id, "work", subject)
        return done[0]


@pytest.fixture
async def world(office: Office) -> World:
    return World(office)


async def test_who_is_linked_signs_in_once(world: World) -> None:
    ada = await world.linked("ada")
    secret = await world.proven()
    new = await world.proofs.finish(secret, "", HERE)
    assert (new.sign_in.method, new.sign_in.client_name) == (Method.PROVIDER, "pc")
    assert (await world.office.tokens.authenticate(new.text)).caller.user == ada.user
    with pytest.raises(errors.NotFound):
        await world.proofs.finish(secret, "", HERE)


async def test_who_is_linked_to_nobody_is_told_who_they_are_there(world: World) -> None:
    await world.linked("ada")
    with pytest.raises(errors.IdentityUnknown) as unknown:
        await world.proofs.finish(await world.proven("somebody"), "", HERE)
    assert unknown.value.metadata["subject"] == "somebody"


async def test_a_redirect_is_asked_about_once_whatever_comes_of_it(world: World) -> None:
    begun = await world.begin()
    for code, state, issuer in (
        ("code", "x", ISSUER),
        ("", begun.state, ISSUER),
        ("code", begun.state, "https://other.example"),
    ):
        with pytest.raises(errors.ProviderRefused):
            await world.proofs.prove(begun.secret, code, state, issuer)
    assert not world.there.asked
    with pytest.raises(errors.NotFound):
        await world.proofs.finish(begun.secret, "", HERE)  # nothing is proven
    first = await world.proofs.prove(begun.secret, "code", begun.state, ISSUER)
    again = await world.proofs.prove(begun.secret, "other", "other", "")
    assert again == first
    assert world.there.asked == ["code"]


@pytest.mark.parametrize(
    "failure",
    [errors.ProviderRefused, errors.ProviderUnavailable, errors.Busy, errors.SignInDeclined],
)
async def test_a_redirect_that_failed_is_over(
    world: World, failure: type[errors.KeypegError]
) -> None:
    begun = await world.begin()
    world.there.says = failure("No.")
    with pytest.raises(failure):
        await world.proofs.prove(begun.secret, "code", begun.state, ISSUER)
    with pytest.raises(errors.NotFound):
        await world.proofs.prove(begun.secret, "code", begun.state, ISSUER)


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost:7/callback",
        "https://127.0.0.1:7/callback",
        "http://127.0.0.1/callback",
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:7/",
        "http://127.0.0.1:7/callback?x",
        "http://127.0.0.1:7@evil.example/callback",
        "http://user@127.0.0.1:7/callback",
        "http://127.0.0.1:99999/callback",
        "http://evil.example:7/callback",
        "http://[::1:7/callback",
    ],
)
async def test_a_redirect_goes_to_the_client_s_own_computer(world: World, uri: str) -> None:
    with pytest.raises(errors.FieldInvalid):
        await world.begin(uri)


async def test_a_redirect_may_go_to_the_newer_loopback(world: World) -> None:
    assert (await world.begin("http://[::1]:7/callback")).state


async def test_a_code_that_is_typed_is_asked_about_no_oftener_than_the_provider_wants(
    world: World,
) -> None:
    await world.linked("ada")
    begun = await world.begin("")
    assert begun.typed is not None
    assert begun.valid_for == timedelta(minutes=5)
    world.there.says = errors.SignInPending("Not yet.")
    world.there.asked.clear()
    for _ in range(3):
        with pytest.raises(errors.SignInPending) as pending:
            await world.proofs.prove(begun.secret, "", "", "")
        assert pending.value.retry_after == timedelta(seconds=5)
    assert world.there.asked == ["device-code"]
    world.office.clock.now += timedelta(seconds=5)
    world.there.says = errors.SignInPending("Slower.", retry_after=timedelta(seconds=5))
    with pytest.raises(errors.SignInPending) as slower:
        await world.proofs.prove(begun.secret, "", "", "")
    assert slower.value.retry_after == timedelta(seconds=10)
    world.office.clock.now += timedelta(seconds=5)
    world.there.says = errors.ProviderUnavailable("Down.")
    with pytest.raises(errors.ProviderUnavailable):  # and it goes on when it is up again
        await world.proofs.prove(begun.secret, "", "", "")
    world.office.clock.now += timedelta(seconds=10)
    world.there.says = Proven("ada-there", frozenset())
    await world.proofs.prove(begun.secret, "", "", "")
    assert (await world.proofs.finish(begun.secret, "", HERE)).sign_in.user.login == "ada"


async def test_who_proves_what_an_administrator_said_needs_no_room_for_it(world: World) -> None:
    ada = await world.office.user("ada")
    for number in range(IDENTITIES_LIMIT):
        await world.said(ada, f"ada-{number}")
    with pytest.raises(errors.LimitExceeded):
        await world.said(ada, "ada-there")
    proven = await world.identities.link(ada, await world.proven("ada-7"), PASSWORD, HERE)
    assert proven.proven
    account, id = names.USER.parse(ada.user)
    assert len(await world.identities.list(account, id)) == IDENTITIES_LIMIT


async def test_a_sign_in_ends(world: World) -> None:
    await world.linked("ada")
    begun, secret = await world.begin(), await world.proven()
    world.office.clock.now += VALID_FOR
    with pytest.raises(errors.NotFound):
        await world.proofs.prove(begun.secret, "code", begun.state, ISSUER)
    with pytest.raises(errors.NotFound):
        await world.proofs.finish(secret, "", HERE)


async def one_time_codes(world: World, caller: Caller) -> list[str]:
    user = await world.office.sign_ins.again(caller, PASSWORD, HERE)
    uri = await world.office.factors.begin(caller, user)
    secret = uri.partition("secret=")[2].partition("&")[0]
    world.office.clock.now += timedelta(minutes=1)
    return await world.office.factors.confirm(caller, code_now(world, secret))


def code_now(world: World, secret: str) -> str:
    raw = base64.b32decode(secret + "=" * (-len(secret) % 8))
    return totp.code(raw, totp.step_of(world.office.clock.now))


async def test_who_has_a_second_factor_links_after_a_sign_in_with_it(world: World) -> None:
    ada = await world.office.user("ada")
    recovery = await one_time_codes(world, ada)
    secret = await world.proven()
    with pytest.raises(errors.CodeRequired, match="10 minutes"):
        await world.identities.link(ada, secret, PASSWORD, HERE)
    new = await world.office.sign_ins.with_password("ada", PASSWORD, code=recovery[0])
    signed_in = replace(ada, token=new.sign_in.id)
    linked = await world.identities.link(signed_in, secret, PASSWORD, HERE)
    assert linked.proven


@pytest.mark.parametrize(
    ("setting", "methods", "asks"),
    [
        (SecondFactor.OURS, (), True),
        (SecondFactor.OURS, ("mfa",), True),
        (SecondFactor.AMR, ("pwd",), True),
        (SecondFactor.AMR, ("pwd", "mfa"), False),
        (SecondFactor.THEIRS, (), False),
    ],
)
async def test_one_time_codes_are_asked_for_as_the_settings_say(
    world: World, setting: SecondFactor, methods: tuple[str, ...], asks: bool
) -> None:
    ada = await world.linked("ada")
    recovery = await one_time_codes(world, ada)
    world.there.second_factor = setting
    secret = await world.proven("ada-there", *methods)
    if asks:
        with pytest.raises(errors.CodeRequired):
            await world.proofs.finish(secret, "", HERE)
        with pytest.raises(errors.CredentialsInvalid):
            await world.proofs.finish(secret, "000000", HERE)
    new = await world.proofs.finish(secret, recovery[0] if asks else "", HERE)
    assert new.sign_in.method is (Method.PROVIDER if asks else Method.TRUSTED_PROVIDER)


async def test_codes_are_guessed_so_many_times(world: World) -> None:
    ada = await world.linked("ada")
    recovery = await one_time_codes(world, ada)
    secret = await world.proven()
    for _ in range(10):
        with pytest.raises(errors.CredentialsInvalid):
            await world.proofs.finish(secret, "000000", "192.0.2.66")
    with pytest.raises(errors.LimitExceeded):
        await world.proofs.finish(secret, recovery[0], "192.0.2.66")


async def test_whoever_has_proven_a_subject_comes_before_who_is_said_to_be_it(world: World) -> None:
    thief = await world.office.user("thief")
    await world.said(thief, "ada-there")
    ada = await world.linked("ada")
    new = await world.proofs.finish(await world.proven(), "", HERE)
    assert new.sign_in.user.name == ada.user
    with pytest.raises(errors.AlreadyExists):
        await world.identities.link(thief, await world.proven(), PASSWORD, HERE)


async def test_an_administrator_s_word_counts_until_there_are_two(world: World) -> None:
    bea, eve = await world.office.user("bea"), await world.office.user("eve")
    assert not (await world.said(bea, "bea-there")).proven
    with pytest.raises(errors.AlreadyExists):
        await world.said(bea, "bea-there")
    await world.said(eve, "bea-there")
    with pytest.raises(errors.IdentityUnknown):
        await world.proofs.finish(await world.proven("bea-there"), "", HERE)
    [hers] = await world.identities.list(*names.USER.parse(eve.user))
    await world.identities.delete(world.office.request([]), eve, *names.IDENTITY.parse(hers.name))
    new = await world.proofs.finish(await world.proven("bea-there"), "", HERE)
    assert new.sign_in.user.name == bea.user
    [kept] = await world.identities.list(*names.USER.parse(bea.user))
    assert kept.proven


async def test_an_admin_says_nothing_of_owners(world: World) -> None:
    owner = await world.office.user("olga", role=Role.OWNER)
    admin = await world.office.user("adam", role=Role.ADMIN)
    with pytest.raises(errors.PermissionDenied):
        await world.said(owner, "adam-there", admin)
    hers = await world.said(owner, "olga-there")
    with pytest.raises(errors.PermissionDenied):
        await world.identities.delete(
            world.office.request([]), admin, *names.IDENTITY.parse(hers.name)
        )


async def test_linking_needs_the_password_and_no_api_key_will_do(world: World) -> None:
    ada = await world.office.user("ada")
    with pytest.raises(errors.CredentialsInvalid):
        await world.identities.link(ada, await world.proven(), "not her password", HERE)
    by_key = replace(ada, scopes=frozenset({Right.PEOPLE_WRITE}))
    with pytest.raises(errors.PermissionDenied):
        await world.identities.link(by_key, await world.proven(), PASSWORD, HERE)


async def test_an_invitation_is_accepted_as_who_one_is_there(world: World) -> None:
    done: list[Invited] = []
    await world.people.invite(
        world.office.request(done), PUBLISHER, "studio", "bea@x", Role.MEMBER, timedelta(days=1)
    )
    account, id = names.INVITATION.parse(done[0].invitation.name)
    wrong = Joining("bea", "Bea", "kpi_wrong", "")
    secret = await world.proven("bea-there")
    with pytest.raises(errors.InvitationInvalid):
        await world.identities.accept(account, id, wrong, secret)
    who = Joining("bea", "Bea", done[0].ticket, "")
    new = await world.identities.accept(account, id, who, secret)
    assert new.sign_in.user.login == "bea"
    again = await world.proofs.finish(await world.proven("bea-there"), "", HERE)
    assert again.sign_in.user.name == new.sign_in.user.name
    with pytest.raises(errors.CredentialsInvalid):  # nothing is a password of theirs
        await world.office.sign_ins.with_password("bea", "", address=HERE)


async def test_who_is_removed_is_linked_no_more(world: World) -> None:
    ada = await world.linked("ada")
    await world.office.user("olga", role=Role.OWNER)
    await world.office.accounts.delete_user(
        world.office.request([]), PUBLISHER, *names.USER.parse(ada.user)
    )
    with pytest.raises(errors.IdentityUnknown):
        await world.proofs.finish(await world.proven(), "", HERE)


async def test_what_is_kept_says_no_secret(world: World) -> None:
    begun = await world.begin("")
    kept = await world.office.store.read(
        lambda unit: unit.identities.sign_in(digest_of(begun.secret))
    )
    assert kept is not None
    shown = repr(sorted(kept.__dict__.items()))
    assert begun.secret not in shown
    assert "device-code" not in shown
    assert begun.secret not in repr(begun)


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_trusted_provider_is_a_second_factor_where_one_is_required(
    world: World, trusted: bool
) -> None:
    await world.linked("ada")
    office = world.office
    await office.accounts.require_second_factor(
        office.request([]), PUBLISHER, "studio", required=True
    )
    world.there.second_factor = SecondFactor.AMR
    secret = await world.proven("ada-there", *(["mfa"] if trusted else []))
    new = await world.proofs.finish(secret, "", HERE)
    assert new.owes_factor is not trusted
    assert (await office.tokens.authenticate(new.text)).caller.owes_factor is not trusted


async def test_a_call_that_finishes_is_served_where_the_account_of_who_it_is_has_its_home(
    world: World,
) -> None:
    await world.linked("ada")
    persons = Persons(world.office.store, TokenTexts(b"t" * 32, ""))
    for secret, parent in (
        (await world.proven(), "accounts/studio"),
        (await world.proven("nobody"), None),
        ((await world.begin()).secret, None),
        ("unknown", None),
    ):
        request = FinishProviderSignInRequest(sign_in=secret)
        assert await persons.parent(request, None) == parent
