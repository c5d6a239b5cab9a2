"""`keypeg login --passkey` and `keypeg login passkey`: signing in with security keys, and which ones may.

Promises: passwords and PINs are asked for, or lines of standard input, never on the command line.

Leaves to others: the security key (security_key.py), the profile (login.py), keeping tokens (keypeg.sign_in).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, entry, moment

if TYPE_CHECKING:
    from types import ModuleType

    from keypeg.cli.link import Link
    from keypeg.cli.security_key import SecurityKey
    from keypeg.profile import Profile
    from keypeg.v1 import passkey_pb2
    from keypeg.v1.sign_in_pb2 import SignedIn

PASSKEYS: Final[list[Column[passkey_pb2.Passkey]]] = [
    Column("PASSKEY", lambda one: Name(one.name)),
    Column("CALLED", lambda one: one.display_name),
    Column("SINCE", lambda one: moment(one, "create_time")),
    Column("USED", lambda one: moment(one, "use_time")),
]
usbip_option: Final[Callable[..., Any]] = click.option(
    "--usbip", metavar="HOST:PORT", help="The security key that is served there over USB/IP."
)


@click.group("passkey", cls=Group)
def passkey_group() -> None:
    """Security keys that sign you in.

    \b
    Example:
      keypeg login passkey add --name "blue key"
    """


@passkey_group.command("add")
@click.option("--name", default="security key", show_default=True, help="What to call it.")
@usbip_option
@click.option("--code", "asks_code", is_flag=True, help="Ask for a one-time or recovery code too.")
@pass_cli
async def add(cli: Cli, name: str, usbip: str | None, asks_code: bool) -> None:
    """Add the security key that is plugged in to those that sign you in.

    Asks for your password, and for the PIN of the security key, which must have
    one. Who has a second factor gives a code (--code), or has signed in with a
    passkey in the last 10 minutes. From then on, the password alone signs in no
    more. Keep the recovery codes that the first second factor brings. Without a
    terminal, what is asked for are lines of standard input.

    \b
    Example:
      keypeg login passkey add --name "blue key"
    """
    from fido2 import webauthn

    from keypeg.cli.link import request_id
    from keypeg.cli.one_time_codes import ask_line
    from keypeg.v1 import passkey_service_pb2 as pb
    from keypeg.v1 import passkey_service_pb2_grpc as rpc

    keys = _security_key()
    async with cli.server() as link:
        stub = rpc.PasskeyServiceStub(link.channel)
        request = pb.BeginPasskeyRegistrationRequest(password=ask_line("Password"))
        if asks_code:
            request.code = ask_line("Code")
        begun = await link.call(stub.BeginPasskeyRegistration, request)
        origin = keys.origin_for(link.target, begun.relying_party)
        options = webauthn.PublicKeyCredentialCreationOptions(
            rp=webauthn.PublicKeyCredentialRpEntity(name="keypeg", id=begun.relying_party),
            user=webauthn.PublicKeyCredentialUserEntity(
                id=begun.user_handle,
                name=begun.user_name,
                display_name=begun.user_display_name or begun.user_name,
            ),
            challenge=begun.challenge,
            pub_key_cred_params=[
                webauthn.PublicKeyCredentialParameters(
                    type=webauthn.PublicKeyCredentialType.PUBLIC_KEY, alg=one
                )
                for one in begun.algorithms
            ],
            exclude_credentials=_descriptors(begun.exclude_credential_ids),
            authenticator_selection=webauthn.AuthenticatorSelectionCriteria(
                resident_key=webauthn.ResidentKeyRequirement.REQUIRED,
                user_verification=webauthn.UserVerificationRequirement.REQUIRED,
            ),
        )
        with keys.opened(usbip) as key:
            client = _client(cli, key, origin, verified=True)
            made = await keys.within(
                begun.valid_for.ToTimedelta().total_seconds(),
                lambda give_up: client.make_credential(options, event=give_up),
            )
        done = await link.call(
            stub.FinishPasskeyRegistration,
            pb.FinishPasskeyRegistrationRequest(
                request_id=request_id(),
                display_name=name,
                client_data_json=bytes(made.response.client_data),
                attestation_object=bytes(made.response.attestation_object),
            ),
        )
    shown = {
        "name": Name(done.passkey.name),
        "display_name": done.passkey.display_name,
        "recovery_codes": list(done.recovery_codes),
    }
    titles = {"name": "PASSKEY", "display_name": "CALLED", "recovery_codes": "RECOVERY CODES"}
    cli.printer.item(shown, [entry(title, key) for key, title in titles.items()])
    cli.printer.note("This security key signs you in from now on: keypeg login --passkey")


@passkey_group.command("list")
@pass_cli
async def list_passkeys(cli: Cli) -> None:
    """List the security keys that sign you in.

    \b
    Example:
      keypeg login passkey list
    """
    async with cli.server() as link:
        found = await _listed(link)
    cli.printer.listing(found, PASSKEYS, nothing="You have no passkeys.")


@passkey_group.command("rename")
@click.argument("passkey")
@click.argument("name")
@pass_cli
async def rename(cli: Cli, passkey: str, name: str) -> None:
    """Call PASSKEY otherwise: NAME; by what it is called now, or by its id.

    \b
    Example:
      keypeg login passkey rename "blue key" "key in the safe"
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import passkey_service_pb2 as pb
    from keypeg.v1 import passkey_service_pb2_grpc as rpc

    async with cli.server() as link:
        found = await _named(link, passkey)
        request = pb.UpdatePasskeyRequest(
            name=found.name, request_id=request_id(), display_name=name
        )
        done = await link.call(rpc.PasskeyServiceStub(link.channel).UpdatePasskey, request)
    cli.printer.item(done.passkey, PASSKEYS)


@passkey_group.command("remove")
@click.argument("passkey")
@click.option("--code", "asks_code", is_flag=True, help="Ask for a one-time or recovery code too.")
@pass_cli
async def remove(cli: Cli, passkey: str, asks_code: bool) -> None:
    """Let PASSKEY sign in no more, by what it is called or by its id.

    Asks for your password; and give a code (--code), or have signed in with a
    passkey in the last 10 minutes. The key itself keeps what is on it, which is
    good for nothing.

    \b
    Example:
      keypeg login passkey remove "blue key"
    """
    from keypeg.cli.link import request_id
    from keypeg.cli.one_time_codes import ask_line
    from keypeg.v1 import passkey_service_pb2 as pb
    from keypeg.v1 import passkey_service_pb2_grpc as rpc

    async with cli.server() as link:
        found = await _named(link, passkey)
        request = pb.DeletePasskeyRequest(
            name=found.name, request_id=request_id(), password=ask_line("Password")
        )
        if asks_code:
            request.code = ask_line("Code")
        await link.call(rpc.PasskeyServiceStub(link.channel).DeletePasskey, request)
    cli.printer.note(f"{found.display_name} signs in no more.")


async def sign_in_by_passkey(
    cli: Cli, profile: Profile, login: str, password: str, usbip: str | None, client_name: str
) -> tuple[Profile, SignedIn]:
    """Sign in with a passkey alone, or beside a password; the profile as it is kept, and the answer."""
    from fido2 import webauthn

    from keypeg import sign_in
    from keypeg.cli.link import Link
    from keypeg.v1 import passkey_service_pb2 as pb
    from keypeg.v1 import passkey_service_pb2_grpc as rpc

    keys = _security_key()
    link = Link.to_server(replace(profile, token=""))
    stub = rpc.PasskeyServiceStub(link.channel)
    try:
        request = pb.BeginPasskeySignInRequest(login=login, password=password)
        begun = await link.call(stub.BeginPasskeySignIn, request)
        origin = keys.origin_for(link.target, begun.relying_party)
        verified = begun.user_verification_required
        requirement = webauthn.UserVerificationRequirement
        options = webauthn.PublicKeyCredentialRequestOptions(
            challenge=begun.challenge,
            rp_id=begun.relying_party,
            allow_credentials=_descriptors(begun.credential_ids) or None,
            user_verification=requirement.REQUIRED if verified else requirement.DISCOURAGED,
        )
        with keys.opened(usbip) as key:
            client = _client(cli, key, origin, verified=verified)
            found = await keys.within(
                begun.valid_for.ToTimedelta().total_seconds(),
                lambda give_up: client.get_assertion(options, event=give_up),
            )
        answer = found.get_response(_chosen(found.get_assertions()))
        at = cli.now()
        done = await link.call(
            stub.FinishPasskeySignIn,
            pb.FinishPasskeySignInRequest(
                credential_id=answer.raw_id,
                client_data_json=bytes(answer.response.client_data),
                authenticator_data=bytes(answer.response.authenticator_data),
                signature=answer.response.signature,
                user_handle=answer.response.user_handle or b"",
                client_name=client_name,
            ),
        )
    finally:
        await link.close()
    return sign_in.keep(profile, done.signed_in, at), done.signed_in


def _security_key() -> ModuleType:
    """What speaks to security keys, which is an extra."""
    from keypeg.errors import KeyUnsuitable

    try:
        from keypeg.cli import security_key
    except ImportError as error:
        raise KeyUnsuitable(
            f"Security keys need {error.name}. Run: pip install 'keypeg[passkeys]'"
        ) from error
    return security_key


def _client(cli: Cli, key: SecurityKey, origin: str, *, verified: bool) -> Any:
    from keypeg.cli.one_time_codes import ask_line

    pin = ask_line("PIN of the security key") if key.needs_pin(verified=verified) else ""
    return key.client(origin, pin, cli.printer.note)


def _descriptors(credential_ids: Any) -> list[Any]:
    from fido2 import webauthn

    kind = webauthn.PublicKeyCredentialType.PUBLIC_KEY
    return [webauthn.PublicKeyCredentialDescriptor(type=kind, id=one) for one in credential_ids]


def _chosen(assertions: Any) -> int:
    """Which of several people who have a passkey on one key; asks."""
    if len(assertions) == 1:
        return 0
    from keypeg.cli.one_time_codes import ask_line
    from keypeg.errors import NotFound

    logins = [str(one.user.get("name", "")) if one.user else "" for one in assertions]
    click.echo(f"This security key signs in: {', '.join(logins)}.", err=True)
    wanted = ask_line("Login")
    if wanted not in logins:
        raise NotFound(f"This security key has no passkey of {wanted}; choose one of those above.")
    return logins.index(wanted)


async def _listed(link: Link) -> list[passkey_pb2.Passkey]:
    from keypeg.v1 import passkey_service_pb2 as pb
    from keypeg.v1 import passkey_service_pb2_grpc as rpc

    stub = rpc.PasskeyServiceStub(link.channel)
    return list((await link.call(stub.ListPasskeys, pb.ListPasskeysRequest())).passkeys)


async def _named(link: Link, text: str) -> passkey_pb2.Passkey:
    """The one that is called so, or whose id or name this is."""
    from keypeg.errors import FieldInvalid, NotFound

    passkeys = await _listed(link)
    found = [one for one in passkeys if one.name == text or one.name.endswith(f"/{text}")]
    found = found or [one for one in passkeys if one.display_name == text]
    if not found:
        raise NotFound(
            f"You have no passkey {text!r}; keypeg login passkey list shows those there are."
        )
    if len(found) > 1:
        raise FieldInvalid(f"{len(found)} passkeys are called {text!r}; name one by its id.")
    return found[0]
