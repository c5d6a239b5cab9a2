"""Options and values that several commands take.

Promises: a value that is not one is refused with an example of what is.

Leaves to others: names of resources, which only the server knows (resolve.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

account_option: Final[Callable[..., Any]] = click.option(
    "--account", metavar="ACCOUNT", help="The account, instead of your own."
)

UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
LOCATION_KINDS: Final = ("cloud", "key", "host", "site")


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """`90`, `90s`, `5min`, `2h`, `30d`."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?", str(value).strip())
        if not found:
            self.fail(f"{value!r} is no duration; write for example 90s, 5min, 2h or 30d.", param)
        return timedelta(seconds=float(found[1]) * UNITS[found[2] or "s"])


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """A day, or a time; without a zone it is UTC."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time; write 2027-01-31 or 2027-01-31T18:00:00Z.", param)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Version(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """`7`, `7.x` or `7.2`, as dotted numbers."""

    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        numbers = str(value).removeprefix("v").removesuffix(".x")
        if not re.fullmatch(r"(\d{1,9}(\.\d{1,9}){0,7})?", numbers, re.ASCII):
            self.fail(f"{value!r} is no version; write for example 7, 7.x or 7.2.", param)
        return numbers


class Units(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """`render` or `render=2`."""

    name = "feature"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | None]:
        if isinstance(value, tuple):
            return value
        feature, sign, count = str(value).partition("=")
        if not feature or (sign and not count.isdigit()):
            self.fail(f"{value!r} is no feature; write for example render or render=2.", param)
        return feature, int(count) if sign else None
