"""Versions of apps, and which of them a license opens.

Promises: pure; the server and the app inside itself judge by the same rules. A version is its dotted numbers,
missing ones being 0, whatever a build adds after them. A license up to 7 opens 7, 7.0.3 and 7.9, and no 8;
one with an end of maintenance opens what was released before that.

Leaves to others: who says what an app is (the app itself, at `open`), and where the rules are kept
(LicenseDocument, the server's licenses).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Final

from keypeg.errors import VersionNotCovered
from keypeg.v1 import error_pb2, explanation_pb2

# Dotted numbers, with whatever a build adds after them: 2.11, 2.11.3-beta.
_VERSION: Final = re.compile(r"v?(\d{1,9}(?:\.\d{1,9}){0,7})", re.ASCII)

NEWEST_VERSION: Final = "newest_version"
MAINTENANCE_END: Final = "maintenance_end"


@dataclass(frozen=True)
class Release:
    """What an app says of itself."""

    version: str = ""  # empty when it says none
    time: datetime | None = None  # when this version was released


UNTOLD: Final = Release()


@dataclass(frozen=True)
class Coverage:
    """Which releases a license opens."""

    newest_version: str = ""  # dotted numbers; empty for every version
    maintenance_end: datetime | None = None

    def covers(self, release: Release) -> bool:
        """Whether it opens this release."""
        return not any(self._broken(release))

    def check(self, license: str, product: str, release: Release) -> None:
        """VersionNotCovered, with the rule, what is covered and what to do, when it does not open a release."""
        rule = next(self._broken(release), "")
        if rule:
            raise self._refusal(rule, license, product, release)

    def _broken(self, release: Release) -> Iterator[str]:
        if self.newest_version and not _within(release.version, self.newest_version):
            yield NEWEST_VERSION
        # An app that does not say when it was released is from before its publisher began to tell.
        ends = self.maintenance_end
        if ends is not None and release.time is not None and release.time >= ends:
            yield MAINTENANCE_END

    def _refusal(
        self, rule: str, license: str, product: str, release: Release
    ) -> VersionNotCovered:
        newest, ends = self.newest_version, self.maintenance_end
        facts = {"license": license, "product": product, "rule": rule}
        facts["version"] = release.version
        if newest:
            facts["newest_version"] = newest
        if ends is not None:
            facts["maintenance_end_time"] = ends.isoformat()
        if release.time is not None:
            facts["release_time"] = release.time.isoformat()
        this = f"version {release.version}" if release.version else "an app that tells no version"
        if rule == NEWEST_VERSION:
            why = f"{license} opens {product} up to version {newest}.x, and this is {this}."
            install = f"Install version {newest}.x"
            obtain = "get a license for newer versions from its publisher"
        else:
            assert ends is not None
            assert release.time is not None
            why = (
                f"Maintenance of {license} ended on {ends:%Y-%m-%d %H:%M} UTC: it opens releases of {product} "
                f"from before that, and this is {this}, released on {release.time:%Y-%m-%d}."
            )
            install = f"Install the newest release from before {ends:%Y-%m-%d}"
            if newest:
                install += f", up to version {newest}.x"
            obtain = "renew the maintenance with its publisher"
        sentence = f"{why} {install}, or {obtain}."
        explanation = explanation_pb2.Explanation(
            reason=error_pb2.REASON_VERSION_NOT_COVERED, sentence=sentence, metadata=facts
        )
        explanation.remedies.add(
            action="install_covered_version", resource=product, sentence=f"{install}."
        )
        explanation.remedies.add(
            action="extend_license",
            resource=license,
            sentence=f"{obtain[0].upper()}{obtain[1:]}.",
        )
        error = VersionNotCovered(sentence, explanation=explanation)
        error.metadata.update(facts)
        return error


def is_version(text: str) -> bool:
    """Whether a text begins with dotted numbers."""
    return _VERSION.match(text) is not None


def is_older(version: str, than: str) -> bool:
    """Whether a version is older than another; one that is not told is older than all but 0."""
    for mine, other in zip_longest(numbers(version), numbers(than), fillvalue=0):
        if mine != other:
            return mine < other
    return False


def numbers(version: str) -> tuple[int, ...]:
    """The dotted numbers of a version; none of an empty one."""
    found = _VERSION.match(version)
    return tuple(int(number) for number in found[1].split(".")) if found else ()


def _within(version: str, newest: str) -> bool:
    mine, last = numbers(version), numbers(newest)
    padded = mine + (0,) * (len(last) - len(mine))
    return bool(mine) and padded[: len(last)] <= last
