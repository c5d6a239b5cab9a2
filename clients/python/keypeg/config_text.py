"""config.toml and device.toml, read and written.

Promises: what is no TOML, or far too long, is FieldInvalid and names its file; a file that is not there is an empty table.
Every text survives being written and read.

Leaves to others: what the settings mean (profile).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from keypeg.errors import FieldInvalid

CONFIG_SIZE: Final = 1 << 20  # bytes; what a person writes by hand is far smaller


def read(path: Path) -> dict[str, Any]:
    """The table in a file."""
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_SIZE + 1)
        if len(data) > CONFIG_SIZE:
            raise FieldInvalid(f"{path} is longer than {CONFIG_SIZE} bytes.", field="config")
        return tomllib.loads(data.decode())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # TOML and UTF-8 errors are ValueErrors
        raise FieldInvalid(
            f"{path} can not be read: {error}; repair it, or set KEYPEG_CONFIG_DIR to another directory.",
            field="config",
        ) from error


def written(current: str, profiles: Mapping[str, Mapping[str, str | list[str]]]) -> bytes:
    """config.toml with these profiles."""
    lines = [f"current = {_quoted(current)}"]
    for name in sorted(profiles):
        lines += ["", f"[profiles.{_quoted(name)}]"]
        lines += [f"{key} = {_value(value)}" for key, value in profiles[name].items()]
    return ("\n".join(lines) + "\n").encode()


def _value(value: str | list[str]) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_quoted(text) for text in value)}]"
    return _quoted(value)


def _quoted(text: str) -> str:
    return json.dumps(text).replace("\x7f", "\\u007f")  # a TOML basic string, escapes and all
