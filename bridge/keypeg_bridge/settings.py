"""The bridge's settings: what can be set, what it is when it is not, and between which limits.

Promises: `load` reads a TOML file, then the environment over it (`KEYPEG_BRIDGE_SECTION__KEY`), and gives one frozen
`Settings`; anything unknown, of the wrong type or out of its range is a `SettingsError` of one sentence. docs/bridge.md
shows the same table, and a test compares the two.
"""

# ruff: noqa: RUF009 - setting() is dataclasses.field with what a setting says of itself
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from keypeg import settings_reading
from keypeg.settings_reading import setting

ENVIRONMENT_PREFIX: Final = "KEYPEG_BRIDGE_"


def _ms(count: int) -> timedelta:
    return timedelta(milliseconds=count)


@dataclass(frozen=True)
class Listen:
    """Where the bridge is found."""

    socket: str = setting(
        "",
        "The Unix socket; empty for `keypeg/bridge.sock` in the runtime directory of the user, where"
        " apps look for it.",
    )
    tls: str = setting(
        "",
        "Address and port to listen on with TLS too, for example 127.0.0.1:0; empty for none. Keys"
        " are never written to over it.",
    )
    lan: bool = setting(
        False,
        "Whether `tls` may be an address that other computers reach. Off until told otherwise.",
    )
    drain_time: timedelta = setting(
        _ms(2_000),
        "How long an ending bridge waits for apps to let go; they are told at its start.",
        low=_ms(0),
        high=_ms(60_000),
    )


@dataclass(frozen=True)
class Keys:
    """The ways to keys."""

    backends: tuple[str, ...] = setting(
        ("pcsc", "hidapi", "libusb"),
        "The ways to keys, the preferred first: `pcsc` (cards of the card service), `hidapi`, `libusb`,"
        " `usbip:HOST:PORT`; each may come once. Unless it is set, `pcsc` is left out where pyscard is"
        " not installed.",
    )
    drivers: tuple[str, ...] = setting(
        ("piv", "smartkey", "fido2"),
        "The drivers in the order in which a key with several sides is tried: `piv`, `smartkey`, `fido2`."
        " One that is left out is not used.",
    )
    piv_algorithms: tuple[str, ...] = setting(
        ("P-256", "P-384", "Ed25519", "RSA-2048"),
        "The kinds of identity key that a card is asked for when it is enrolled, the preferred first:"
        " `P-256`, `P-384`, `Ed25519`, `RSA-2048`. It makes the first that it knows; one that is left out"
        " is not made. Cards that are enrolled keep theirs.",
    )
    poll_interval: timedelta = setting(
        _ms(200),
        "How often each way is looked at: how late an arrival is seen. Departures need no look.",
        low=_ms(20),
        high=_ms(10_000),
    )
    write_time: timedelta = setting(
        _ms(30_000),
        "How long one program may keep a key to write to it: two calls to a server, and no longer"
        " than a dead program may block others.",
        low=_ms(1_000),
        high=_ms(300_000),
    )


@dataclass(frozen=True)
class Sessions:
    """What apps are given."""

    valid_for: timedelta = setting(
        _ms(30_000),
        "For how long one proof of a key lets an app run, as told; an app never believes more than"
        " 30 s.",
        low=_ms(1_000),
        high=_ms(30_000),
    )
    renew_interval: timedelta = setting(
        _ms(10_000), "How often an app asks for a new proof.", low=_ms(200), high=_ms(10_000)
    )
    limit: int = setting(
        4_096, "Sessions at once: more than a computer runs apps.", low=1, high=100_000
    )


@dataclass(frozen=True)
class Server:
    """The server that is asked about keys, where this bridge has one."""

    address: str = setting(
        "",
        "The server, HOST:PORT, that is asked about keys which come: whether they carry old contents, or"
        " were reported lost. Empty: none; then programs that reach both tell the bridge.",
    )
    ca_file: str = setting("", "Certificates to trust, PEM; empty for those of the system.")
    token_file: str = setting(
        "",
        "A file with the token of a user of the account whose keys these are; needed with `address`, unless there is a "
        "certificate.",
    )
    certificate: bool = setting(
        False,
        "Whether the bridge calls by its certificate (`keypeg-bridge certificate`) in place of a token. `address` then is "
        "what the server has as `server.bridge_listen`.",
    )
    interval: timedelta = setting(
        _ms(3_600_000),
        "How often it is asked again about keys that stay.",
        low=_ms(1_000),
        high=_ms(86_400_000),
    )


@dataclass(frozen=True)
class Limits:
    """How much one client may ask for."""

    max_message_bytes: int = setting(
        262_144,
        "The largest message that is read: a signed document of 64 KiB with its delegation, and"
        " room.",
        low=140_000,
        high=4_194_304,
    )
    max_concurrent_streams: int = setting(
        256, "Streams and calls at once on one connection.", low=4, high=100_000
    )


@dataclass(frozen=True)
class Logs:
    """What is written to standard error."""

    level: str = setting("info", "`debug`, `info`, `warning` or `error`.")
    format: str = setting(
        "auto", "`json`, `text`, or `auto`: text on a terminal, else one JSON object a line."
    )


@dataclass(frozen=True)
class Settings:
    """All sections."""

    listen: Listen = field(default_factory=Listen)
    keys: Keys = field(default_factory=Keys)
    sessions: Sessions = field(default_factory=Sessions)
    server: Server = field(default_factory=Server)
    limits: Limits = field(default_factory=Limits)
    logs: Logs = field(default_factory=Logs)


CHOICES: Final = {
    ("keys", "drivers"): ("piv", "smartkey", "fido2"),
    ("keys", "piv_algorithms"): ("P-256", "P-384", "Ed25519", "RSA-2048"),
    ("logs", "level"): ("debug", "info", "warning", "error"),
    ("logs", "format"): ("auto", "json", "text"),
}


def load(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """The settings of a file, if any, with the environment over them."""
    # Other variables begin so too: where apps look for the bridge.
    own = {
        name: text
        for name, text in environment.items()
        if "__" in name.removeprefix(ENVIRONMENT_PREFIX)
    }
    tables = {} if path is None else settings_reading.read(path)
    return settings_reading.load(
        Settings, tables, str(path), own, prefix=ENVIRONMENT_PREFIX, choices=CHOICES
    )


def describe() -> Iterator[tuple[str, str, str, str, str]]:
    """For every setting: its name, type, default, range and what it does."""
    return settings_reading.describe(Settings)
