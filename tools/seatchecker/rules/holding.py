"""The rules of who holds a seat: `capacity`, `lost` and `expired`.

Promises: pure; a belief is accused only where the journals prove it.

Leaves to others: what was believed (beliefs), seats that stay taken (leaked).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from seatchecker.beliefs import Beliefs, Hold
from seatchecker.finding import Finding
from seatchecker.history import Entry, History, Snapshot


def capacity(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    """More believed holders than there are seats."""
    edges: list[tuple[float, int, int]] = []  # time, ends before begins, which
    for number, hold in enumerate(beliefs.holds):
        for begin, until in hold.spans:
            if until > begin:
                edges += [(begin, 1, number), (until, 0, number)]
    held: set[int] = set()
    since: float | None = None
    most: list[Hold] = []
    for at, begins, number in sorted(edges):
        if begins:
            held.add(number)
        else:
            held.discard(number)
        if len(held) > history.limits.seats:
            since = at if since is None else since
            if len(held) > len(most):
                most = [beliefs.holds[one] for one in sorted(held)]
        elif since is not None:
            yield Finding(
                "capacity",
                since,
                at,
                f"{len(most)} believe that they hold one of {history.limits.seats} seats: "
                + ", ".join(f"{hold.client} (fencing number {hold.fence})" for hold in most)
                + ".",
                tuple(entry for hold in most for entry in (hold.held, *hold.said)),
            )
            since, most = None, []


def lost(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    """Acknowledged seats that were taken from their holders too early."""
    for hold in beliefs.holds:
        lost, back = hold.lost, hold.given_back
        if lost is not None and lost.at < hold.lost_until:
            yield Finding(
                "lost",
                lost.at,
                hold.lost_until,
                f"{hold.client} was told that it has lost its seat ({lost.facts.get('reason')}), "
                f"{hold.lost_until - lost.at:.2f} s before the time that it was given was over.",
                (hold.held, *hold.said),
            )
        if back is not None and not back.facts.get("held", True) and _first_try(back):
            until = float(back.facts.get("until", 0.0))
            if back.at < until:
                yield Finding(
                    "lost",
                    back.at,
                    until,
                    f"{hold.client} gave its seat back in time, and the server said that it held none.",
                    (hold.held, *hold.said),
                )
    for hold, snapshot in _missing(history, beliefs):
        yield Finding(
            "lost",
            snapshot.sent,
            snapshot.answered,
            f"{hold.client} believes that it holds a seat, and the server does not list it.",
            (hold.held, *hold.said),
        )


def _first_try(back: Entry) -> bool:
    return int(back.facts.get("tries", 1)) == 1


def _missing(history: History, beliefs: Beliefs) -> Iterator[tuple[Hold, Snapshot]]:
    """Beliefs that cover a snapshot without their lease; the first of each."""
    snapshots = sorted(history.snapshots, key=lambda one: one.sent)
    names = [{listed.lease for listed in snapshot.leases} for snapshot in snapshots]
    begins = [snapshot.sent for snapshot in snapshots]
    for hold in beliefs.holds:
        for begin, until in hold.spans:
            position = bisect_left(begins, begin)
            found = None
            while position < len(snapshots) and snapshots[position].answered < until:
                if hold.lease not in names[position]:
                    found = snapshots[position]
                    break
                position += 1
            if found is not None:
                yield hold, found
                break


def expired(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    """Uses of a seat after its time."""
    for hold in beliefs.holds:
        for use in hold.late[:1]:
            gone = hold.giving_back or hold.lost
            why = "after it was over" if use.facts.get("until") is None else "when it might not"
            if gone is not None and gone.at <= use.at:
                why = "after it was given back or lost"
            yield Finding(
                "expired",
                hold.end,
                use.at,
                f"{hold.client} used its seat (fencing number {hold.fence}) {why}.",
                (hold.held, use, *hold.said),
            )
