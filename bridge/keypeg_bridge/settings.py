"""The bridge's settings: what can be set, what it is when it is not, and between which limits.

Promises: `load` reads a TOML file, then the environment over it (`KEYPEG_BRIDGE_SECTION__KEY`), and gives one frozen
`Settings`; anything unknown, of the wrong type or out of its range is a `SettingsError` of one sentence. docs/bridge.md
shows the same table, and a test compares the two.
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

ENVIRONMENT_PREFIX: Final = "KEYPEG_BRIDGE_"

_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
}
_DURATION: Final = re.compile(r"(\d{1,6})(ms|s|m|h)")


class SettingsError(Exception):
    """One sentence: which setting, what is wrong with it, what would be right."""


def setting(default: Any, what: str, *, low: Any = None, high: Any = None) -> Any:
    """A field of a section: its default, what it does and why, and its limits."""
    return field(default=default, metadata={"what": what, "low": low, "high": high})


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
        ("libusb", "hidapi"),
        "The ways to keys: `libusb`, `hidapi`, `usbip:HOST:PORT`; each may come once.",
    )
    drivers: tuple[str, ...] = setting(
        ("piv", "fido2"),
        "The drivers in the order in which a key with several sides is tried: `piv`, `fido2`. One that"
        " is left out is not used.",
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
    limits: Limits = field(default_factory=Limits)
    logs: Logs = field(default_factory=Logs)


CHOICES: Final = {
    ("keys", "drivers"): ("piv", "fido2"),
    ("logs", "level"): ("debug", "info", "warning", "error"),
    ("logs", "format"): ("auto", "json", "text"),
}


def load(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """The settings of a file, if any, with the environment over them."""
    values: dict[str, dict[str, Any]] = {}
    for section, table in (_tables(path) if path is not None else {}).items():
        if not isinstance(table, dict):
            raise SettingsError(
                f"{path}: {section!r} stands outside of a section; sections are {_names(Settings)}."
            )
        kind = _section(str(path), section)
        values[section] = {
            key: _checked(str(path), section, kind, key, value) for key, value in table.items()
        }
    for name, text in sorted(environment.items()):
        section, separator, key = (
            name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
            if name.startswith(ENVIRONMENT_PREFIX)
            else ("", "", "")
        )
        if separator:
            kind = _section(name, section)
            value = _from_text(_field(name, section, kind, key)[0], text)
            values.setdefault(section, {})[key] = _checked(name, section, kind, key, value)
    hints = get_type_hints(Settings)
    return Settings(**{name: hints[name](**found) for name, found in values.items()})


def describe() -> Iterator[tuple[str, str, str, str]]:
    """For every setting: its name, default, range and what it does."""
    hints = get_type_hints(Settings)
    for section in dataclasses.fields(Settings):
        for item in dataclasses.fields(hints[section.name]):
            low, high = item.metadata["low"], item.metadata["high"]
            limits = "" if low is None else f"{_show(low)} to {_show(high)}"
            yield f"{section.name}.{item.name}", _show(item.default), limits, item.metadata["what"]


def _tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: the settings cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}.") from error


def _show(value: Any) -> str:
    if isinstance(value, timedelta):
        milliseconds = round(value.total_seconds() * 1_000)
        return f"{milliseconds}ms" if milliseconds % 1_000 else f"{milliseconds // 1_000}s"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value) or '""'


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


def _field(place: str, section: str, kind: type[Any], key: str) -> tuple[Any, Mapping[str, Any]]:
    for item in dataclasses.fields(kind):
        if item.name == key:
            return get_type_hints(kind)[key], item.metadata
    raise SettingsError(
        f"{place}: there is no setting {key!r} in [{section}]; there are {_names(kind)}."
    )


def _from_text(kind: Any, text: str) -> Any:
    """A value of the environment as TOML would have it."""
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind is int and re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    if kind == tuple[str, ...]:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _checked(place: str, section: str, section_kind: type[Any], key: str, value: Any) -> Any:
    kind, limits = _field(place, section, section_kind, key)
    name = f"{place}: {section}.{key}"
    if kind is timedelta:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise SettingsError(f"{name} is a duration such as 500ms, 30s or 5m.")
        value = int(match[1]) * _UNITS[match[2]]
    elif kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise SettingsError(f"{name} is a list of texts.")
        value = tuple(value)
    elif type(value) is not kind:
        wanted = {bool: "true or false", int: "a number", str: "a text"}[kind]
        raise SettingsError(f"{name} is {wanted}, not {type(value).__name__}.")
    low, high = limits["low"], limits["high"]
    if low is not None and not low <= value <= high:
        raise SettingsError(
            f"{name} is {_show(value)}; it goes from {_show(low)} to {_show(high)}."
        )
    choices = CHOICES.get((section, key))
    for one in value if isinstance(value, tuple) else (value,):
        if choices and one not in choices:
            raise SettingsError(f"{name} is one of {', '.join(choices)}; not {one!r}.")
    return value
