"""The server's settings: what can be set, what it is when it is not, and between which limits.

Promises: one frozen dataclass a section; every setting says here what it does and why its limits are there.
docs/operations.md shows the same table, and a test compares the two.

Leaves to others: reading them (settings_reading.py), and what the values mean (app.py hands them out).
"""

# ruff: noqa: RUF009 - setting() is dataclasses.field with what a setting says of itself
from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from keypeg.settings_reading import secret_setting, setting


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@dataclass(frozen=True)
class Server:
    """Where the server listens and who it says it is."""

    listen: str = setting(
        "127.0.0.1:7400",
        "Address and port; port 0 takes a free one. Loopback until told otherwise: a license server is "
        "opened to a network on purpose.",
    )
    admin_listen: str = setting(
        "",
        "Address and port for administration, with the same certificate: what only the publisher's staff and "
        "resellers may do, and reflection, are served there and nowhere else; channelz too. Empty: where everything is, "
        "without channelz.",
    )
    bridge_listen: str = setting(
        "",
        "Address and port for bridges that call by a certificate (mutual TLS); whoever has none gets no "
        "connection there. Needed unless `tls.client_certificates` is `off`.",
    )
    advertise: str = setting(
        "",
        "Host and port at which clients and the other servers of a PostgreSQL database reach this one; empty "
        "for the address that it listens on. Its host belongs in the certificate: it is added to the "
        "development one.",
    )
    host_names: tuple[str, ...] = setting(
        (),
        "More names and addresses for the development certificate, beside localhost, the loopback "
        "addresses and the computer's own name.",
    )
    tls_certificate: str = setting(
        "", "PEM file with your own certificate and its chain; empty for the development one."
    )
    tls_key: str = setting("", "PEM file with the private key of `tls_certificate`.")
    tls_authority: str = setting(
        "",
        "PEM file with the authority that signed the certificates of the other servers of a PostgreSQL database, "
        "where they have their own; empty for the system's authorities. Development certificates need none.",
    )
    drain_time: timedelta = setting(
        seconds(10),
        "How long a stopping server waits for streams and calls to end. Clients are told to reconnect at "
        "its start, so that little more than a round trip is needed.",
        low=seconds(0),
        high=seconds(600),
    )


@dataclass(frozen=True)
class Limits:
    """How much one client, or all together, may ask for."""

    max_message_bytes: int = setting(
        262_144,
        "The largest message that is read. The largest legitimate one is a signed document of 64 KiB "
        "with its delegation.",
        low=65_536,
        high=4_194_304,
    )
    max_concurrent_streams: int = setting(
        4_096,
        "Streams and calls at once on one connection: an agent or a bridge multiplexes many apps.",
        low=16,
        high=1_000_000,
    )
    max_pending_requests: int = setting(
        100_000,
        "Calls that wait to be accepted. The library's own 1,000 drops part of a burst, for example when "
        "every client reconnects after a restart.",
        low=1_000,
        high=10_000_000,
    )
    open_files: int = setting(
        65_536,
        "Raises the process's limit of open files to this, as far as the system lets it: one connection "
        "takes one.",
        low=1_024,
        high=1_048_576,
    )
    queue_length: int = setting(
        10_000,
        "Places in the queue of one pool; whoever comes after them is refused with QUEUE_FULL. A longer "
        "queue is one that nobody waits out.",
        low=1,
        high=1_000_000,
    )
    user_queue_places: int = setting(
        2_000,
        "Places of one user in the queue of one pool; more are refused with QUEUE_FULL, so that nobody fills "
        "it alone. Programs that run under one login share them.",
        low=1,
        high=1_000_000,
    )
    user_calls: int = setting(
        2_000,
        "Calls of one user in a second; ten times as many in a burst. More are refused with LIMIT_EXCEEDED and "
        "when to come again. Seats on a stream are no calls.",
        low=10,
        high=1_000_000,
    )
    user_frames: int = setting(
        5_000,
        "Frames that one user's streams send in a second; ten times as many in a burst. More are not refused: the "
        "streams are read no faster. An app at rest sends one or two a minute.",
        low=100,
        high=10_000_000,
    )
    user_streams: int = setting(
        20_000,
        "Streams of one user at once: sessions of apps, and watchers; more are refused with LIMIT_EXCEEDED. Each "
        "takes some 28 KiB. Programs that run under one login share them.",
        low=10,
        high=1_000_000,
    )
    session_holdings: int = setting(
        100,
        "Leases and queue places of one session: one app's seats, not everyone's.",
        low=1,
        high=10_000,
    )
    session_unread_frames: int = setting(
        256,
        "Frames that wait for an app that does not read; more end its stream. A few times what an app "
        "with all its seats is told at once.",
        low=16,
        high=65_536,
    )
    pending_operations: int = setting(
        10_000,
        "Requests for seats that wait for the disk; more are refused with BUSY at once, instead of "
        "waiting longer than their callers do.",
        low=100,
        high=1_000_000,
    )
    sign_ins_at_once: int = setting(
        2,
        "Passwords that are checked at the same time; each takes the memory of `passwords.memory_kib` and a "
        "core.",
        low=1,
        high=64,
    )
    sign_ins_waiting: int = setting(
        256,
        "Sign-ins that wait for that; more are refused with BUSY, so that guessing cannot pile up work.",
        low=1,
        high=100_000,
    )


@dataclass(frozen=True)
class Passwords:
    """What a password costs to check (Argon2id, RFC 9106); kept with each password, so it can be raised."""

    memory_kib: int = setting(
        65_536, "Memory in KiB; RFC 9106's second recommendation.", low=8, high=4_194_304
    )
    iterations: int = setting(3, "Passes over that memory.", low=1, high=100)
    lanes: int = setting(4, "Lanes.", low=1, high=64)


@dataclass(frozen=True)
class Tokens:
    """What signing in gives."""

    valid_for: timedelta = setting(
        timedelta(days=30),
        "How long a sign-in holds after it was last used. A month: who comes back now and then never signs in "
        "again, a lost computer is cut off.",
        low=seconds(60),
        high=timedelta(days=365),
    )
    access: timedelta = setting(
        timedelta(minutes=15),
        "How long an access token holds; clients get the next one by themselves. For so long, a copy of one that "
        "somebody made is of use, unless its sign-in is ended. What it has opened goes on after it.",
        low=seconds(1),
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
class Tls:
    """Certificates by which bridges call."""

    client_certificates: str = setting(
        "off",
        "`off`; `accept`: accounts may have certificates for their bridges, which call at `server.bridge_listen`; "
        "`require-for-bridges`: bridges that call with a token are refused.",
    )
    certificate_valid_for: timedelta = setting(
        timedelta(days=90),
        "How long a certificate of a bridge holds, unless it was issued for another time. A bridge that runs gets the next "
        "one by itself when a third is left.",
        low=seconds(60),
        high=timedelta(days=400),
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
        seconds(60),
        "For how long one answer lets an app use its seat. A killed app that nothing watches keeps its "
        "seat for so long; a lost connection is survived for so long.",
        low=seconds(3),
        high=seconds(3_600),
    )


@dataclass(frozen=True)
class Credentials:
    """Credential files, and on how many devices an account is in use."""

    token_valid_for: timedelta = setting(
        timedelta(minutes=15),
        "How long a sign-in with a credential file holds, and for how long its device counts as active; apps and "
        "the command line sign in again by themselves, after a minute.",
        low=seconds(120),
        high=timedelta(hours=24),
    )
    longest: timedelta = setting(
        timedelta(days=366),
        "For how long a credential signs in at most: a year, and then somebody looks whether it is still needed.",
        low=seconds(60),
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
class Logs:
    """What is written to standard error."""

    level: str = setting("info", "`debug`, `info`, `warning` or `error`.")
    format: str = setting(
        "auto", "`json`, `text`, or `auto`: text on a terminal, else one JSON object a line."
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


@dataclass(frozen=True)
class Storage:
    """Where the database is."""

    database: str = secret_setting(
        "",
        "URL of a PostgreSQL database, `postgresql://user@host:5432/keypeg`; empty for the SQLite file in the data "
        "directory. The password may stand in it, or better in PGPASSFILE or PGPASSWORD.",
    )


@dataclass(frozen=True)
class Secrets:
    """How the files of `secrets/` lie on the disk."""

    wrapping_key: str = setting(
        "",
        "What they are wrapped under (AES-256-GCM): a file with 32 random bytes or more, `credential:NAME` for one that "
        "systemd gives, or `pkcs11:LABEL` for a secret key of the token; empty for bare files. Changed by `keypegd "
        "secrets rewrap`.",
    )


@dataclass(frozen=True)
class Hardware:
    """A token that holds keys: a hardware security module, or SoftHSM."""

    module: str = setting(
        "", "The PKCS#11 library of its maker; needs `pip install 'keypeg[pkcs11]'`."
    )
    token: str = setting("", "The token's label.")
    pin: str = setting("", "Where its PIN is: a file, or `credential:NAME`. Never the PIN itself.")


@dataclass(frozen=True)
class Settings:
    """All sections."""

    server: Server = field(default_factory=Server)
    limits: Limits = field(default_factory=Limits)
    passwords: Passwords = field(default_factory=Passwords)
    tokens: Tokens = field(default_factory=Tokens)
    sign_in: SignIn = field(default_factory=SignIn)
    tls: Tls = field(default_factory=Tls)
    passkeys: Passkeys = field(default_factory=Passkeys)
    clients: Clients = field(default_factory=Clients)
    sessions: Sessions = field(default_factory=Sessions)
    credentials: Credentials = field(default_factory=Credentials)
    keys: Keys = field(default_factory=Keys)
    logs: Logs = field(default_factory=Logs)
    audit: Audit = field(default_factory=Audit)
    storage: Storage = field(default_factory=Storage)
    secrets: Secrets = field(default_factory=Secrets)
    hardware: Hardware = field(default_factory=Hardware)

    @property
    def relying_party(self) -> str:
        """The name that passkeys are for."""
        return self.passkeys.name or self.server.advertise.rpartition(":")[0] or "localhost"


CHOICES: Final = {
    ("tls", "client_certificates"): ("off", "accept", "require-for-bridges"),
    ("logs", "level"): ("debug", "info", "warning", "error"),
    ("logs", "format"): ("auto", "json", "text"),
    ("sign_in.providers", "second_factor"): ("ours", "amr", "theirs"),
}
