"""What people, apps, devices and keys may, and for how long."""

# ruff: noqa: RUF009 - setting() is dataclasses.field with what a setting says of itself
from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from keypeg.settings_reading import setting


@dataclass(frozen=True)
class Tokens:
    """What signing in gives."""

    valid_for: timedelta = setting(
        timedelta(days=30),
        "How long a sign-in holds after it was last used. A month: who comes back now and then never signs in "
        "again, a lost computer is cut off.",
        low=timedelta(seconds=60),
        high=timedelta(days=365),
    )
    access: timedelta = setting(
        timedelta(minutes=15),
        "How long an access token holds; clients get the next one by themselves. For so long, a copy of one that "
        "somebody made is of use, unless its sign-in is ended. What it has opened goes on after it.",
        low=timedelta(seconds=1),
        high=timedelta(days=30),
    )
    audience: str = setting(
        "",
        "What this server is called in its tokens: servers with other names refuse them, whatever else they share. "
        "Set it on a copy of a server, for example one for trials, to something of its own.",
    )


@dataclass(frozen=True)
class SignInProvider:
    """An outside provider, at which people sign in with OpenID Connect."""

    name: str = setting("", "What people say to sign in there: `keypeg login --provider NAME`.")
    issuer: str = setting(
        "",
        "Its issuer, an https URL, exactly as it writes it itself: identities are of an issuer, and another one is "
        "somebody else's.",
    )
    client_id: str = setting("", "As what this server is registered there.")
    client_secret_file: str = setting(
        "",
        "Where the secret of that is: a file, or `credential:NAME`. Empty for a public client. Never the secret itself.",
    )
    scopes: tuple[str, ...] = setting(
        ("openid",), "What is asked for; nothing but who it is is needed, and `openid` is."
    )
    second_factor: str = setting(
        "ours",
        "Whose second factor counts for users with one-time codes: `ours` asks for a code after it, `theirs` does not, "
        "`amr` does unless the provider says that it asked for several factors.",
    )
    ca_file: str = setting(
        "", "PEM file of authorities that its certificate may be of, beside the system's."
    )


@dataclass(frozen=True)
class SignIn:
    """Signing in at outside providers."""

    providers: tuple[SignInProvider, ...] = setting(
        (), "The outside providers, one `[[sign_in.providers]]` each; none: nobody signs in so."
    )


@dataclass(frozen=True)
class Passkeys:
    """Signing in with security keys."""

    name: str = setting(
        "",
        "The name that passkeys are for (WebAuthn's relying party): the host name by which clients call the server, or "
        "a domain that it is in. Passkeys that were added for another name sign in no more. Empty: the host of "
        "`server.advertise`, else `localhost`.",
    )


@dataclass(frozen=True)
class Clients:
    """Which clients are served."""

    minimum_version: str = setting(
        "",
        "The oldest version of keypeg in apps, bridges and command lines that is served, for example `0.2`; older ones "
        "are told to update (UPDATE_REQUIRED), and can still give back what they hold. Empty for any.",
    )


@dataclass(frozen=True)
class Sessions:
    """How long apps may believe an answer."""

    seat_grant: timedelta = setting(
        timedelta(seconds=60),
        "For how long one answer lets an app use its seat. A killed app that nothing watches keeps its "
        "seat for so long; a lost connection is survived for so long.",
        low=timedelta(seconds=3),
        high=timedelta(seconds=3_600),
    )


@dataclass(frozen=True)
class Credentials:
    """Credential files, and on how many devices an account is in use."""

    token_valid_for: timedelta = setting(
        timedelta(minutes=15),
        "How long a sign-in with a credential file holds, and for how long its device counts as active; apps and "
        "the command line sign in again by themselves, after a minute.",
        low=timedelta(seconds=120),
        high=timedelta(hours=24),
    )
    longest: timedelta = setting(
        timedelta(days=366),
        "For how long a credential signs in at most: a year, and then somebody looks whether it is still needed.",
        low=timedelta(seconds=60),
        high=timedelta(days=3_660),
    )
    active_devices: int = setting(
        3,
        "On how many devices an account may be in use at once: those with a credential's token that holds, and "
        "the one with the cloud session. An account may have a number of its own.",
        low=1,
        high=10_000,
    )


@dataclass(frozen=True)
class Keys:
    """USB smart keys."""

    allow_emulated: bool = setting(
        False,
        "Whether emulated keys may be enrolled. Off outside of laboratories: what is emulated can be "
        "copied.",
    )
    attestation_roots: str = setting(
        "",
        "File (PEM) of makers' root certificates. Where it is set, a key is enrolled only if one of "
        "them vouches that its private key was made inside of it.",
    )


@dataclass(frozen=True)
class Audit:
    """The usage and audit log in the database: who used what, and who was refused."""

    keep: timedelta = setting(
        timedelta(days=400),
        "How long records are kept: a year, and a month to compare it with the one before.",
        low=timedelta(days=1),
        high=timedelta(days=36_500),
    )
    max_records: int = setting(
        10_000_000,
        "Records of one account's log; the oldest go first, so that no app in a loop fills the disk. "
        "A record takes about 0.5 KiB.",
        low=10_000,
        high=1_000_000_000,
    )
