"""The fingerprint of a computer: which parts it has, hashed, and whether enough of them are still there.

Promises: pure: values in, digests out (docs/formats.md, "Host fingerprint"); a license document shows nobody
what a computer is made of, since every part is hashed with the document's own salt.

Leaves to others: reading the parts of this computer (hostinfo.py), and how much change a publisher allows.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from keypeg.errors import DocumentMalformed, DocumentOtherDevice, FieldInvalid
from keypeg.v1.document_pb2 import HostFingerprint

SALT_BYTES: Final = 16
COMPONENT_COUNT: Final = 16  # more parts than any computer was seen to tell; bounds the work
VALUE_CHARACTERS: Final = 256  # a serial number or address; longer ones are cut

_DOMAIN: Final = b"keypeg fingerprint v1\0"
_KIND: Final = re.compile(r"[a-z0-9_]{1,32}", re.ASCII)

# What makers leave in when they do not write a part's number: it would match on every such computer.
_PLACEHOLDERS: Final = frozenset(
    {
        "",
        "none",
        "n/a",
        "unknown",
        "default string",
        "not specified",
        "not available",
        "system serial number",
        "to be filled by o.e.m.",
    }
)


@dataclass(frozen=True)
class Match:
    """How many parts of a fingerprint were found again, and how many must be."""

    found: tuple[str, ...]
    changed: tuple[str, ...]
    required_count: int

    @property
    def enough(self) -> bool:
        """Whether it is the same computer."""
        return len(self.found) >= self.required_count


def required_of(count: int) -> int:
    """How many of `count` parts must be found again, unless a publisher says otherwise: two thirds."""
    return -(-2 * count // 3)


def usable(values: Mapping[str, str]) -> dict[str, str]:
    """The parts that tell computers apart: cleaned, without placeholders and strings of one character."""
    cleaned = {kind: clean(value) for kind, value in values.items()}
    return {
        kind: value
        for kind, value in cleaned.items()
        if value not in _PLACEHOLDERS and len(set(value) - set("-:. ")) > 1
    }


def clean(value: str) -> str:
    """A value as it is hashed: trimmed, lower case, single spaces, at most 256 characters."""
    return " ".join(value.split()).lower()[:VALUE_CHARACTERS].rstrip()


def digest(salt: bytes, kind: str, value: str) -> bytes:
    """SHA-256 over the domain, salt, kind and cleaned value, each after its length in 4 bytes."""
    hashed = hashlib.sha256(_DOMAIN)
    for part in (salt, kind.encode(), clean(value).encode()):
        hashed.update(len(part).to_bytes(4, "big") + part)
    return hashed.digest()


def make(
    values: Mapping[str, str], salt: bytes, required_count: int | None = None
) -> HostFingerprint:
    """The fingerprint of these parts, in their order; FieldInvalid when none of them tells anything."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    parts = list(usable(values).items())[:COMPONENT_COUNT]
    required = required_of(len(parts)) if required_count is None else required_count
    if not parts or not 1 <= required <= len(parts):
        raise _invalid(
            f"This computer tells {len(parts)} of its parts, and {max(required, 1)} are needed to know it "
            "again; use a license for the cloud or a key here."
        )
    fingerprint = HostFingerprint(salt=salt, required_count=required)
    for kind, value in parts:
        if not _KIND.fullmatch(kind):
            raise _invalid(f"{kind[:32]!r} is no kind of part; use 1 to 32 of a-z, 0-9 and _.")
        fingerprint.components.add(kind=kind, digest=digest(salt, kind, value))
    return fingerprint


def match(fingerprint: HostFingerprint, values: Mapping[str, str]) -> Match:
    """Which parts are found again; DocumentMalformed when the fingerprint could fit any computer."""
    components = fingerprint.components
    kinds = [one.kind for one in components]
    if (
        not 1 <= len(components) <= COMPONENT_COUNT
        or not 1 <= fingerprint.required_count <= len(components)
        or len(set(kinds)) < len(kinds)
        or len(fingerprint.salt) != SALT_BYTES
    ):
        raise DocumentMalformed(
            "The license document's fingerprint is incomplete; ask its publisher for a new one."
        )
    here = usable(values)
    found: list[str] = []
    changed: list[str] = []
    for one in components:
        value = here.get(one.kind)
        same = value is not None and hmac.compare_digest(
            digest(fingerprint.salt, one.kind, value), one.digest
        )
        (found if same else changed).append(one.kind)
    return Match(tuple(found), tuple(changed), fingerprint.required_count)


def check(fingerprint: HostFingerprint, values: Mapping[str, str]) -> Match:
    """The match; DocumentOtherDevice when too few parts are found again."""
    result = match(fingerprint, values)
    if not result.enough:
        raise DocumentOtherDevice(
            f"The license is for another computer: {len(result.found)} of its parts are here, and "
            f"{result.required_count} are needed. Activate it for this computer.",
            found=",".join(result.found),
            changed=",".join(result.changed),
            required_count=str(result.required_count),
        )
    return result


def _invalid(sentence: str) -> FieldInvalid:
    return FieldInvalid(sentence, fields={"fingerprint": sentence})
