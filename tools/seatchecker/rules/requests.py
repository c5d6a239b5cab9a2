"""The rules of requests and of those who make them: `retry` and `crashed`.

Promises: pure; what was given up without an answer may still be heard for a while, and accuses nobody.

Leaves to others: what the answers were worth (holding, order).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from seatchecker.beliefs import Beliefs, Request
from seatchecker.finding import Finding
from seatchecker.history import History

NAMED: Final = 5  # refusals that are told when nobody had a seat
UNSURE: Final = 30.0  # seconds in which a request that was given up may still make a seat


def retry(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    """Requests that made more than one seat."""
    for request in beliefs.requests:
        yield from _differing(request)
    kinds = {life.device: life for life in beliefs.lives.values() if life.kind == "unary"}
    unsure: dict[str, list[float]] = defaultdict(list)  # given up, and may still have been heard
    for entry in history.entries:
        if entry.what == "refused" and entry.facts.get("uncertain"):
            unsure[entry.who].append(entry.at)
    told: set[str] = set()
    for snapshot in history.snapshots:
        of_device: dict[str, list[str]] = defaultdict(list)
        for listed in snapshot.leases:
            of_device[listed.device].append(listed.lease)
        for device, leases in of_device.items():
            if len(leases) > 1 and device in kinds and device not in told:
                client = kinds[device].name
                if any(0 < snapshot.answered - at < UNSURE for at in unsure[client]):
                    continue
                told.add(device)
                last = [one.asked for one in beliefs.requests if one.client == client]
                yield Finding(
                    "retry",
                    snapshot.sent,
                    snapshot.answered,
                    f"The server lists {len(leases)} seats of {client}, which asks for the next only "
                    "when it has given back the last, and repeats what was not answered.",
                    tuple([one for one in last if one.at < snapshot.answered][-1:]),
                )


def _differing(request: Request) -> Iterator[Finding]:
    leases = {str(answer.facts["lease"]) for answer in request.answers}
    fences = {int(answer.facts["fence"]) for answer in request.answers}
    if len(leases) > 1 or len(fences) > 1:
        yield Finding(
            "retry",
            request.answers[0].at,
            request.answers[-1].at,
            f"{request.client} asked with one request id and was answered with {len(leases)} leases "
            f"(fencing numbers {', '.join(map(str, sorted(fences)))}).",
            (request.asked, *request.answers),
        )


def crashed(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    """Client programs that came to harm, and runs that checked nothing."""
    if history.entries and not beliefs.holds and history.until == math.inf:
        last = max(history.entries, key=lambda one: one.at)
        why = [one for one in history.entries if one.what in ("not_open", "refused")][-NAMED:]
        yield Finding(
            "crashed",
            last.at,
            last.at,
            "No client ever had a seat: nothing was checked.",
            tuple(why),
        )
    for fault in history.faults:
        if fault.what == "died":
            yield Finding(
                "crashed",
                fault.at,
                fault.at,
                f"{fault.facts['client']} ended by itself: {fault.facts.get('why', '')}",
                (fault,),
            )
