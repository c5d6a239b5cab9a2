"""Reading settings: a TOML file, then the environment over it (`KEYPEGD_SECTION__KEY`).

Promises: `load` gives one frozen `Settings`; anything unknown, of the wrong type or out of its range is a
`SettingsError` of one sentence that names the place and what would be right. `describe` lists all settings.

Leaves to others: which settings there are (settings.py).
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, get_type_hints

from keypeg_server.address import AddressError, PostgresUrl
from keypeg_server.settings import CHOICES, Settings

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


def with_database(settings: Settings, database: str | None) -> Settings:
    """The same settings with another database, if there is one."""
    if database is None:
        return settings
    return _checked_together(
        dataclasses.replace(
            settings, storage=dataclasses.replace(settings.storage, database=database)
        ),
        "--database",
    )


def _together(values: Mapping[str, Mapping[str, Any]]) -> Settings:
    hints = get_type_hints(Settings)
    return _checked_together(
        Settings(**{name: hints[name](**found) for name, found in values.items()}),
        "storage.database",
    )


def _checked_together(settings: Settings, database: str) -> Settings:
    if settings.passwords.memory_kib < 8 * settings.passwords.lanes:
        raise SettingsError("passwords.memory_kib is at least 8 for each of passwords.lanes.")
    if bool(settings.server.tls_certificate) != bool(settings.server.tls_key):
        raise SettingsError("server.tls_certificate and server.tls_key go together; set both.")
    if settings.storage.database:
        try:
            PostgresUrl.read(settings.storage.database)
        except AddressError as error:
            raise SettingsError(f"{database}: {error}") from None  # nothing shows the URL
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


def duration(text: str) -> timedelta | None:
    """A whole number with a unit, such as 500ms, 60s, 10m, 12h or 30d; None for anything else."""
    match = _DURATION.fullmatch(text)
    return None if match is None else int(match[1]) * _UNITS[match[2]]


def _show(value: Any) -> str:
    if isinstance(value, timedelta):
        for unit in ("d", "h", "m", "s", "ms"):
            count, rest = divmod(value, _UNITS[unit])
            if not rest and count:
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
        value = duration(value) if isinstance(value, str) else None
        if value is None:
            raise SettingsError(f"{name} is a duration such as 500ms, 60s, 10m, 12h or 30d.")
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
