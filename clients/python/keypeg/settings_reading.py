"""Reading the settings of keypeg's own programs: a TOML file, then the environment over it (`PREFIX_SECTION__KEY`).

Promises: `load` gives one frozen dataclass of sections, each of them one of settings; anything unknown, of the wrong
type or out of its range is a `SettingsError` of one sentence that names the place and what would be right.
`describe` lists all settings.

Leaves to others: which settings there are, and what they mean (each program's own settings). Apps need none of this.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_type_hints

_T = TypeVar("_T")

Choices = Mapping[tuple[str, str], tuple[str, ...]]  # by section and setting

_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_DURATION: Final = re.compile(r"(\d{1,9})(ms|s|m|h|d)")
_KIND_NAMES: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "number",
    str: "text",
    timedelta: "duration",
    tuple[str, ...]: "list of texts",
}
_WANTED: Final[Mapping[Any, str]] = {bool: "true or false", int: "a number", str: "a text"}


class SettingsError(Exception):
    """One sentence: which setting, what is wrong with it, what would be right."""


def setting(default: Any, what: str, *, low: Any = None, high: Any = None) -> Any:
    """A field of a section: its default, what it does and why, and its limits."""
    return dataclasses.field(default=default, metadata={"what": what, "low": low, "high": high})


def secret_setting(default: str, what: str) -> Any:
    """A field that may hold a secret: not in the repr."""
    metadata = {"what": what, "low": None, "high": None}
    return dataclasses.field(default=default, repr=False, metadata=metadata)


def load(
    kind: type[_T],
    tables: Mapping[str, Any],
    place: str,
    environment: Mapping[str, str],
    *,
    prefix: str,
    choices: Choices,
) -> _T:
    """The settings of what `read` gave of a file, `place`, with the environment over them."""
    values: dict[str, dict[str, Any]] = {}
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise SettingsError(
                f"{place}: {section!r} stands outside of a section; sections are {_names(kind)}."
            )
        _section(kind, place, section)
        values[section] = {
            key: _checked(kind, place, section, key, value, choices) for key, value in table.items()
        }
    for name, text in sorted(environment.items()):
        if name.startswith(prefix):
            section, _, key = name.removeprefix(prefix).lower().partition("__")
            value = _from_text(_field(kind, name, section, key)[0], text)
            checked = _checked(kind, name, section, key, value, choices)
            values.setdefault(section, {})[key] = checked
    hints = get_type_hints(kind)
    return kind(**{name: hints[name](**found) for name, found in values.items()})


def read(path: Path, *, may_be_absent: bool = False) -> dict[str, Any]:
    """The tables of a file."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        if may_be_absent and isinstance(error, FileNotFoundError):
            return {}
        raise SettingsError(f"{path}: the settings can not be read: {error.strerror}.") from error
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}.") from error


def describe(kind: type[Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """For every setting: its name, type, default, range and what it does; tables of a list after the list, as `[].`."""
    hints = get_type_hints(kind)
    for section in dataclasses.fields(kind):
        yield from _described(section.name, hints[section.name])


def _described(place: str, section: type[Any]) -> Iterator[tuple[str, str, str, str, str]]:
    kinds = get_type_hints(section)
    for item in dataclasses.fields(section):
        low, high = item.metadata["low"], item.metadata["high"]
        limits = "" if low is None else f"{_show(low)} to {_show(high)}"
        name, kind = f"{place}.{item.name}", kinds[item.name]
        table = _table_of(kind)
        named = "list of tables" if table is not None else _KIND_NAMES[kind]
        yield name, named, _show(item.default), limits, item.metadata["what"]
        if table is not None:
            yield from _described(f"{name}[]", table)


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
    if isinstance(value, tuple):
        return ", ".join(value) or "[]"
    return str(value) or '""'


def _names(kind: type[Any]) -> str:
    return ", ".join(item.name for item in dataclasses.fields(kind))


def _section(kind: type[Any], place: str, section: str) -> type[Any]:
    hints = get_type_hints(kind)
    if section not in hints:
        raise SettingsError(f"{place}: there is no section {section!r}; there are {_names(kind)}.")
    found: type[Any] = hints[section]
    return found


def _field(kind: type[Any], place: str, section: str, key: str) -> tuple[Any, Mapping[str, Any]]:
    found = _section(kind, place, section)
    for item in dataclasses.fields(found):
        if item.name == key:
            return get_type_hints(found)[key], item.metadata
    raise SettingsError(
        f"{place}: there is no setting {key!r} in [{section}]; there are {_names(found)}."
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


def _checked(
    settings: type[Any], place: str, section: str, key: str, value: Any, choices: Choices
) -> Any:
    kind, limits = _field(settings, place, section, key)
    name = f"{place}: {section}.{key}"
    table = _table_of(kind)
    if table is not None:
        return _tables(table, place, f"{section}.{key}", value, choices)
    return _plain(kind, limits, name, value, choices.get((section, key)))


def _table_of(kind: Any) -> type[Any] | None:
    """What is in a list of tables; None for any other setting."""
    item: Any = next(iter(get_args(kind)), None)
    return item if isinstance(item, type) and dataclasses.is_dataclass(item) else None


def _tables(
    kind: type[Any], place: str, path: str, value: Any, choices: Choices
) -> tuple[Any, ...]:
    """A list of tables, each one of these."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise SettingsError(f"{place}: {path} is written as tables, [[{path}]], and in a file.")
    hints = get_type_hints(kind)
    known = {item.name: item.metadata for item in dataclasses.fields(kind)}
    made = []
    for number, one in enumerate(value, 1):
        for key in one:
            if key not in known:
                raise SettingsError(
                    f"{place}: there is no setting {key!r} in [[{path}]]; there are {_names(kind)}."
                )
        values = {
            key: _plain(
                hints[key],
                known[key],
                f"{place}: {path}[{number}].{key}",
                found,
                choices.get((path, key)),
            )
            for key, found in one.items()
        }
        made.append(kind(**values))
    return tuple(made)


def _plain(
    kind: Any, limits: Mapping[str, Any], name: str, value: Any, allowed: tuple[str, ...] | None
) -> Any:
    """A value of a setting that is no list of tables."""
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
    for one in value if isinstance(value, tuple) else (value,):
        if allowed and one not in allowed:
            raise SettingsError(f"{name} is one of {', '.join(allowed)}; not {one!r}.")
    return value
