"""Resource names: the one place that builds them and takes them apart.

Promises: `PATTERN.build(*PATTERN.parse(name)) == name` for every name that a pattern matches; whatever else
comes in is refused with FieldInvalid, in time linear in a bounded length.

Leaves to others: whether the resource exists, and who may know of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from keypeg.errors import FieldInvalid

ID_LENGTH: Final = 63  # characters of one id: a DNS label, so that ids fit wherever names go
NAME_LENGTH: Final = 512  # characters of a whole name: over twice the longest that can be built
_ID: Final = re.compile(rf"[a-z0-9-]{{1,{ID_LENGTH}}}", re.ASCII)
_VARIABLE: Final = re.compile(r"\{(\w+)\}")


class Pattern:
    """The shape of one kind of name, for example `pools/{pool}/leases/{lease}`."""

    def __init__(self, template: str) -> None:
        self.template: Final = template
        self.variables: Final = tuple(_VARIABLE.findall(template))
        self._regex: Final = re.compile(_VARIABLE.sub(f"({_ID.pattern})", template), re.ASCII)

    def build(self, *ids: str) -> str:
        """The name with these ids, in order; FieldInvalid when one is not 1 to 63 of [a-z0-9-]."""
        if len(ids) != len(self.variables):
            raise TypeError(f"{self.template} takes {len(self.variables)} ids, not {len(ids)}")
        name = self.template
        for variable, one in zip(self.variables, ids, strict=True):
            if not _ID.fullmatch(one):
                raise _invalid(
                    f"The {variable} id {_shown(one)} is not 1 to {ID_LENGTH} characters of a-z, 0-9 and -; "
                    "use another id.",
                    variable,
                    one,
                )
            name = name.replace(f"{{{variable}}}", one, 1)
        return name

    def parse(self, name: str, field: str = "name") -> tuple[str, ...]:
        """The ids of a name, in order; FieldInvalid about `field` when it is not of this shape."""
        found = self._regex.fullmatch(name) if len(name) <= NAME_LENGTH else None
        if found is None:
            raise _invalid(
                f"{_shown(name)} is not a name of the form {self.template}; "
                "use the name as the server gave it.",
                field,
                name,
            )
        return found.groups()

    def matches(self, name: str) -> bool:
        """Whether a name is of this shape."""
        return len(name) <= NAME_LENGTH and self._regex.fullmatch(name) is not None

    def __repr__(self) -> str:
        return f"Pattern({self.template!r})"


ACCOUNT: Final = Pattern("accounts/{account}")
USER: Final = Pattern("accounts/{account}/users/{user}")
INVITATION: Final = Pattern("accounts/{account}/invitations/{invitation}")
API_KEY: Final = Pattern("accounts/{account}/users/{user}/apiKeys/{key}")
IDENTITY: Final = Pattern("accounts/{account}/users/{user}/identities/{identity}")
PASSKEY: Final = Pattern("accounts/{account}/users/{user}/passkeys/{passkey}")
CREDENTIAL: Final = Pattern("accounts/{account}/credentials/{credential}")
CERTIFICATE: Final = Pattern("accounts/{account}/certificates/{certificate}")
LICENSE: Final = Pattern("accounts/{account}/licenses/{license}")
ACTIVATION: Final = Pattern("accounts/{account}/licenses/{license}/activations/{activation}")
LICENSE_CHANGE: Final = Pattern("accounts/{account}/licenses/{license}/changes/{change}")
CAPACITY: Final = Pattern("accounts/{account}/licenses/{license}/capacities/{capacity}")
LOCATION: Final = Pattern("accounts/{account}/locations/{location}")
CLOUD_SESSION: Final = Pattern("accounts/{account}/cloudSession")
MEMBER_CLOUD_SESSION: Final = Pattern("accounts/{account}/users/{user}/cloudSession")
PUBLISHER: Final = Pattern("publishers/{publisher}")
PRODUCT: Final = Pattern("publishers/{publisher}/products/{product}")
POOL: Final = Pattern("pools/{pool}")
LEASE: Final = Pattern("pools/{pool}/leases/{lease}")
BORROW: Final = Pattern("pools/{pool}/borrows/{borrow}")
PLACE: Final = Pattern("pools/{pool}/places/{place}")
SESSION: Final = Pattern("sessions/{session}")
KEY: Final = Pattern("keys/{key}")
BRIDGE: Final = Pattern("bridges/{bridge}")
SIGN_IN: Final = Pattern("signIns/{sign_in}")


def patterns() -> Iterator[Pattern]:
    """Every pattern of this module."""
    return (value for value in globals().values() if isinstance(value, Pattern))


def parent(name: str) -> str:
    """The name of the resource that `name` lives in; FieldInvalid when it lives in none."""
    known = any(pattern.matches(name) for pattern in patterns())
    parts = name.split("/") if known else []
    # A singleton such as cloudSession is one segment, everything else a collection and an id.
    kept = parts[: -1 if len(parts) % 2 else -2]
    if not kept:
        raise _invalid(
            f"{_shown(name)} is not the name of a resource within another; "
            "use the name as the server gave it.",
            "name",
            name,
        )
    return "/".join(kept)


def _shown(text: str) -> str:
    """A foreign text for a sentence: quoted, escaped, and cut."""
    return repr(text if len(text) <= ID_LENGTH else text[:ID_LENGTH] + "...")


def _invalid(sentence: str, field: str, value: str) -> FieldInvalid:
    return FieldInvalid(sentence, fields={field: sentence}, name=value[:NAME_LENGTH])
