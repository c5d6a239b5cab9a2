"""Which key opens a product: the first fitting license of the keys that are there, and else why there is none.

Promises: pure; parses, and verifies nothing: the app does. A license that has run out, or does not open this version of
the app, is chosen only when there is no other, so that the app can say what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from keypeg.document import instant
from keypeg.errors import KeyFaulty, KeyMissing, KeypegError
from keypeg.proof_checks import coverage_of
from keypeg.v1 import document_pb2, explanation_pb2
from keypeg.versions import UNTOLD, Release
from keypeg_bridge.rack.contents import StoredLicense, delegation_of
from keypeg_bridge.rack.reading import Reading
from keypeg_bridge.rack.record import KeyRecord
from keypeg_bridge.rack.states import State


@dataclass(frozen=True, slots=True)
class Choice:
    """A key, and the license on it that opens the product."""

    key: str
    license: StoredLicense
    delegation: document_pb2.Envelope
    contents: document_pb2.Envelope | None = None


Judge = Callable[[Reading, StoredLicense], KeypegError | None]
"""Why a license on a key is refused here; None when it is not."""


def nothing_seen(reading: Reading, stored: StoredLicense) -> KeypegError | None:
    """The judge that knows of nothing to refuse."""
    return None


def choose(
    records: Iterable[KeyRecord],
    product: str,
    now: datetime,
    judge: Judge = nothing_seen,
    release: Release = UNTOLD,
) -> list[Choice]:
    """The licenses for `product`, the best first; at least one. Raises KeyMissing, KeyFaulty, and what the judge says.

    `release` is the app as it says it is: a license that does not open it comes last.
    """
    known = list(records)
    present = [record for record in known if record.state is State.PRESENT]
    found = [choice for record in present for choice in fitting(record, product, judge)]
    if not found:
        for record in present:
            for choice in fitting(record, product):
                error = _judged(record, choice, judge)
                if error is not None:
                    raise error
        raise _refusal(known, product)

    def drawbacks(one: Choice) -> tuple[bool, bool]:
        document = one.license.document
        return is_over(document, now), not coverage_of(document).covers(release)

    return sorted(found, key=drawbacks)


def fitting(record: KeyRecord, product: str, judge: Judge = nothing_seen) -> list[Choice]:
    """The licenses of one key that name it and open the product, have a delegation on it, and are not refused."""
    reading = record.reading
    if reading is None or reading.identity.public_key is None:
        return []
    found = []
    for stored in reading.licenses:
        delegation = delegation_of(stored.document.publisher, reading.delegations)
        if (
            product in stored.document.opens_products
            and stored.document.location_key.key == reading.identity.public_key
            and delegation is not None
        ):
            carried = reading.contents_of(stored.document.publisher)
            contents = None if carried is None else carried.envelope
            found.append(Choice(record.name, stored, delegation, contents))
    return [one for one in found if judge(reading, one.license) is None]


def again(
    record: KeyRecord,
    product: str,
    activation: str,
    now: datetime,
    judge: Judge = nothing_seen,
    release: Release = UNTOLD,
) -> Choice:
    """The license that a session goes on with: its own as it is now, else another one of its key."""
    fit = fitting(record, product, judge)
    own = [one for one in fit if one.license.document.activation == activation]
    return own[0] if own else choose([record], product, now, judge, release)[0]


def _judged(record: KeyRecord, choice: Choice, judge: Judge) -> KeypegError | None:
    return None if record.reading is None else judge(record.reading, choice.license)


def is_over(document: document_pb2.LicenseDocument, now: datetime) -> bool:
    """Whether the license's term, or the document's own, has ended."""
    return any(
        document.HasField(field) and now >= instant(getattr(document, field))
        for field in ("expire_time", "renew_before_time")
    )


def _refusal(records: list[KeyRecord], product: str) -> KeypegError:
    """Why no key opens the product, with what was seen of each."""
    seen = "; ".join(f"{one.name}: {_seen(one, product)}" for one in records) or "none"
    for record in records:
        if not fitting(record, product):
            continue
        if record.state is State.FAULTY:
            return KeyFaulty(
                f"The key {record.name} has a license for {product}, but it cannot be used:"
                f" {record.fault} Unplug it and plug it in again.",
                key=record.name,
                product=product,
                detail=record.fault,
            )
        return _missing(
            f"The key {record.name} has a license for {product}, but it was unplugged. Plug it in"
            " again.",
            product,
            seen,
            record.name,
        )
    if not records:
        sentence = (
            f"No key is plugged in, so none has a license for {product}. Plug in the key that it"
            " was activated to."
        )
    else:
        sentence = (
            f"No plugged-in key has a license for {product}. Plug in the key that it was activated"
            f" to, or activate it to one of those here: {seen}."
        )
    return _missing(sentence, product, seen, "")


def _missing(sentence: str, product: str, seen: str, key: str) -> KeyMissing:
    explanation = explanation_pb2.Explanation(
        remedies=[
            explanation_pb2.Remedy(
                action="plug_in",
                resource=key,
                sentence="Plug in the key that carries the license.",
            )
        ]
    )
    return KeyMissing(sentence, explanation=explanation, product=product, keys=seen)


def _seen(record: KeyRecord, product: str) -> str:
    reading = record.reading
    if record.state is not State.PRESENT or reading is None:
        return f"{record.state.name.lower()}, {record.fault}" if record.fault else "unplugged"
    if reading.identity.public_key is None:
        return "not enrolled"
    count = len(reading.licenses)
    foreign = [
        one
        for one in reading.licenses
        if product in one.document.opens_products
        and one.document.location_key.key != reading.identity.public_key
    ]
    if foreign:
        return "its license for the product names another key"
    if any(product in one.document.opens_products for one in reading.licenses):
        return "it lacks the delegation of its license for the product"
    if not count:
        return "no licenses"
    return f"{count} license{'s' if count > 1 else ''} for other products"
