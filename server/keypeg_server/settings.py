"""The server's settings: what can be set, what it is when it is not, and between which limits.

Promises: `load` reads a TOML file, then the environment over it (`KEYPEGD_SECTION__KEY`), and gives one
frozen `Settings`; anything unknown, of the wrong type or out of its range is a `SettingsError` of one
sentence that names the place and what would be right. Every setting says here what it does and why its
limits are there; docs/operations.md shows the same table, and a test compares the two.

Leaves to others: what the values mean (app.py hands them out).
"""

# ruff: noqa: RUF009 - setting() is dataclasses.field with what a setting says of itself
from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, get_type_hints

FILE_NAME: Final = "keypegd.toml"
ENVIRONMENT_PREFIX: Final = "KEYPEGD_"

_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_DURATION: Final = re.compile(r"(\d{1,9})(ms|s|m|h|d)")


class SettingsError(Exception):
    """One sentence: which setting, what is wrong with it, what would be right."""


def setting(default: Any, what: str, *, low: Any = None, high: Any = None) -> Any:
    """A field of a section: its default, what it does and why, and its limits."""
    return field(default=default, metadata={"what": what, "low": low, "high": high})


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
    host_names: tuple[str, ...] = setting(
        (),
        "More names and addresses for the development certificate, beside localhost, the loopback "
        "addresses and the computer's own name.",
    )
    tls_certificate: str = setting(
        "", "PEM file with your own certificate and its chain; empty for the development one."
    )
    tls_key: str = setting("", "PEM file with the private key of `tls_certificate`.")
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
        timedelta(hours=12),
        "How long a token holds. A working day; the cloud session itself outlives it.",
        low=seconds(60),
        high=timedelta(days=365),
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
class Keys:
    """USB smart keys."""

    allow_emulated: bool = setting(
        False,
        "Whether emulated keys may be enrolled. Off outside of laboratories: what is emulated can be "
        "copied.",
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

    server: Server = field(default_factory=Server)
    limits: Limits = field(default_factory=Limits)
    passwords: Passwords = field(default_factory=Passwords)
    tokens: Tokens = field(default_factory=Tokens)
    sessions: Sessions = field(default_factory=Sessions)
    keys: Keys = field(default_factory=Keys)
    logs: Logs = field(default_factory=Logs)


CHOICES: Final = {
    ("logs", "level"): ("debug", "info", "warning", "error"),
    ("logs", "format"): ("auto", "json", "text"),
}


def load(path: Path, environment: Mapping[str, str]) -> Settings:
    """The settings of a file, which may be absent, with the environment over them."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raw = b""
    except OSError as error:
        raise SettingsError(f"{path}: the settings can not be read: {error.strerror}.") from error
    try:
        tables = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}.") from error
    values: dict[str, dict[str, Any]] = {}
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise SettingsError(
                f"{path}: {section!r} stands outside of a section; sections are {_names(Settings)}."
            )
        for key, value in table.items():
            values.setdefault(section, {})[key] = _checked(str(path), section, key, value)
        if not table:
            _section(str(path), section)
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
            value = _from_text(name, section, key, text)
            values.setdefault(section, {})[key] = _checked(name, section, key, value)
    return _together(values)


def _together(values: Mapping[str, Mapping[str, Any]]) -> Settings:
    hints = get_type_hints(Settings)
    settings = Settings(**{name: hints[name](**found) for name, found in values.items()})
    if bool(settings.server.tls_certificate) != bool(settings.server.tls_key):
        raise SettingsError("server.tls_certificate and server.tls_key go together; set both.")
    return settings


def describe() -> Iterator[tuple[str, str, str, str, str]]:
    """For every setting: its name, type, default, range and what it does; docs/operations.md shows it."""
    hints = get_type_hints(Settings)
    for section in dataclasses.fields(Settings):
        kinds = get_type_hints(hints[section.name])
        for item in dataclasses.fields(hints[section.name]):
            low, high = item.metadata["low"], item.metadata["high"]
            limits = "" if low is None else f"{_show(low)} to {_show(high)}"
            name = f"{section.name}.{item.name}"
            yield (
                name,
                _KIND_NAMES[kinds[item.name]],
                _show(item.default),
                limits,
                item.metadata["what"],
            )


_KIND_NAMES: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "number",
    str: "text",
    timedelta: "duration",
    tuple[str, ...]: "list of texts",
}


def _show(value: Any) -> str:
    if isinstance(value, timedelta):
        for unit in ("d", "h", "m", "s", "ms"):
            count, rest = divmod(value, _UNITS[unit])
            if not rest and (count or unit == "ms"):
                return f"{count}{unit}"
        return "0s"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return '""' if value == "" else "[]" if value == () else str(value)


def _names(kind: type[Any]) -> str:
    return ", ".join(item.name for item in dataclasses.fields(kind))


def _section(place: str, section: str) -> type[Any]:
    hints = get_type_hints(Settings)
    if section not in hints:
        raise SettingsError(
            f"{place}: there is no section {section!r}; there are {_names(Settings)}."
        )
    kind: type[Any] = hints[section]
    return kind


def _field(place: str, section: str, key: str) -> tuple[Any, Mapping[str, Any]]:
    kind = _section(place, section)
    for item in dataclasses.fields(kind):
        if item.name == key:
            return get_type_hints(kind)[key], item.metadata
    raise SettingsError(
        f"{place}: there is no setting {key!r} in [{section}]; there are {_names(kind)}."
    )


def _from_text(place: str, section: str, key: str, text: str) -> Any:
    kind, _ = _field(place, section, key)
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind is int and re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    if kind == tuple[str, ...]:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _checked(place: str, section: str, key: str, value: Any) -> Any:
    kind, limits = _field(place, section, key)
    name = f"{place}: {section}.{key}"
    if kind is timedelta:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise SettingsError(f"{name} is a duration such as 500ms, 60s, 10m, 12h or 30d.")
        value = int(match[1]) * _UNITS[match[2]]
    elif kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise SettingsError(f"{name} is a list of texts.")
        value = tuple(value)
    elif type(value) is not kind:
        raise SettingsError(f"{name} is {_WANTED[kind]}, not {type(value).__name__}.")
    low, high = limits["low"], limits["high"]
    if low is not None and not low <= value <= high:
        raise SettingsError(
            f"{name} is {_show(value)}; it goes from {_show(low)} to {_show(high)}."
        )
    choices = CHOICES.get((section, key))
    if choices and value not in choices:
        raise SettingsError(f"{name} is one of {', '.join(choices)}; not {value!r}.")
    return value


_WANTED: Final[Mapping[Any, str]] = {bool: "true or false", int: "a number", str: "a text"}
