"""What launches are tried with: an account, what it owns, and who answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from keypeg.launch_survey import Cloud, Host, Key, Owned, Survey, Used
from keypeg.launch_works import Terms

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PRODUCT = "publishers/acme/products/cad"
TERMS = Terms(PRODUCT, "CAD", PRODUCT)
HERE = "device-here"
CLOSED = Cloud(is_open=False, mode="automatic")
MANAGED = Cloud(is_open=False, mode="managed")
OPEN_HERE = Cloud(True, "automatic", HERE, "here", NOW)
ELSEWHERE = Cloud(True, "automatic", "device-there", "studio-1", NOW.replace(hour=10, minute=2))


def owned(
    *used: str,
    count: int = 1,
    allowed: str = "cloud key",
    state: str = "active",
    counted: bool = False,
) -> Owned:
    """A license with activations at these kinds of place; `here` is the key or computer of these cases."""
    kinds = {"this-key": ("key", KEY_PLACE), "this-host": ("host", HOST_PLACE)}
    places = [kinds.get(kind, (kind, f"accounts/studio/locations/other-{kind}")) for kind in used]
    return Owned(
        name="accounts/studio/licenses/one",
        state=state,
        allowed=frozenset(allowed.split()),
        activation_count=count,
        used=tuple(Used(kind, f"on the {kind}", where) for kind, where in places),
        is_counted=counted,
    )


def survey(*licenses: Owned, cloud: Cloud = CLOSED, **other: Any) -> Survey:
    """What ada's account owns."""
    fields: dict[str, Any] = {
        "user": "accounts/studio/users/ada",
        "login": "ada",
        "account": "accounts/studio",
        "licenses": licenses,
        "cloud": cloud,
        "device": HERE,
        "now": NOW,
        "keys": (),
        "host": Host("desk-1"),
    }
    return Survey(**{**fields, **other})


KEY_PLACE = "accounts/studio/locations/key-12"
HOST_PLACE = "accounts/studio/locations/desk-1"
KEY = Key("SmartKey 12", enrolled=True, name="keys/12", location=KEY_PLACE)
