"""What servers of one database tell each other: the events that matter beyond the home of an account.

Promises: `told` and `heard` are each other's reverse; an event of a kind that an older server does not know is
skipped by it. What happens in an account is no news to others: all of its sessions are at its home.

Leaves to others: writing it with what it is about (storage/news_store.py), carrying it (service/cluster.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from keypeg_server.domain.events import (
    ApiKeyChanged,
    CatalogChanged,
    CredentialEnded,
    Event,
    SecondFactorsChanged,
    TokenRevoked,
    UserChanged,
    UserRemoved,
)

KINDS: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {
        "api_key_changed": ApiKeyChanged,
        "catalog_changed": CatalogChanged,
        "credential_ended": CredentialEnded,
        "second_factors_changed": SecondFactorsChanged,
        "token_revoked": TokenRevoked,
        "user_changed": UserChanged,
        "user_removed": UserRemoved,
    }
)
_KIND_OF: Final = {event: kind for kind, event in KINDS.items()}


def told(event: Event) -> tuple[str, str] | None:
    """Kind and payload of an event for other servers; None when it is not theirs."""
    kind = _KIND_OF.get(type(event))
    if kind is None:
        return None
    return kind, json.dumps(dataclasses.asdict(event), separators=(",", ":"))


def heard(kind: str, payload: str) -> Event | None:
    """The event that another server told of; None when this one does not know its kind."""
    event = KINDS.get(kind)
    if event is None:
        return None
    wanted = {field.name for field in dataclasses.fields(event)}
    said = {key: value for key, value in json.loads(payload).items() if key in wanted}
    found: Event = event(**said)
    return found
