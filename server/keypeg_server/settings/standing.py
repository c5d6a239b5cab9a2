"""How the server stands: where it listens, by which certificates, and where it keeps things."""

# ruff: noqa: RUF009 - setting() is dataclasses.field with what a setting says of itself
from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from keypeg.settings_reading import secret_setting, setting


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
        "Address and port for callers by certificate (mutual TLS): bridges and sites; whoever has none gets no "
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
        timedelta(seconds=10),
        "How long a stopping server waits for streams and calls to end. Clients are told to reconnect at "
        "its start, so that little more than a round trip is needed.",
        low=timedelta(seconds=0),
        high=timedelta(seconds=600),
    )


@dataclass(frozen=True)
class Tls:
    """Certificates by which bridges and sites call."""

    client_certificates: str = setting(
        "off",
        "`off`; `accept`: accounts may have certificates for their bridges and sites, which call at "
        "`server.bridge_listen`; `require-for-bridges`: bridges that call with a token are refused as well. Sites have no "
        "token.",
    )
    certificate_valid_for: timedelta = setting(
        timedelta(days=90),
        "How long the certificate of a bridge or site holds, unless it was issued for another time. A bridge that runs gets "
        "the next one by itself when a third is left.",
        low=timedelta(seconds=60),
        high=timedelta(days=400),
    )


@dataclass(frozen=True)
class Logs:
    """What is written to standard error."""

    level: str = setting("info", "`debug`, `info`, `warning` or `error`.")
    format: str = setting(
        "auto", "`json`, `text`, or `auto`: text on a terminal, else one JSON object a line."
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
