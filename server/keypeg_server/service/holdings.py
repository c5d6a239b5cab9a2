"""What each session holds and waits for, over all pools.

Promises: knows every session that ever asked for a seat here, and those found on disk, until it is forgotten.

Leaves to others: the seats themselves (domain/pool.py), sessions (presence.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.service.recalls import Recalls


class Holdings:
    """Pools by session."""

    def __init__(self, recalls: Recalls) -> None:
        self._recalls = recalls
        self._pools_of: dict[str, set[Pool]] = {}

    def came(self, pool: Pool) -> None:
        """A pool was read, with whoever has seats there."""
        for session in pool.sessions():
            self.asked(session, pool)

    def asked(self, session: str, pool: Pool) -> None:
        """A session asks for a seat."""
        pools = self._pools_of.get(session)
        if pools is None:
            self._pools_of[session] = {pool}
        else:
            pools.add(pool)

    def dropped(self, pools: Iterable[Pool]) -> set[str]:
        """These pools are here no more; who asked for seats there."""
        gone = set(pools)
        found = {session for session, asked in self._pools_of.items() if asked & gone}
        for session in found:
            self._pools_of[session] -= gone
            if not self._pools_of[session]:
                del self._pools_of[session]
        return found

    def all_of(self, pools: Iterable[Pool]) -> dict[str, list[Lease | Place]]:
        """All that sessions hold and wait for in these pools, by session."""
        found: dict[str, list[Lease | Place]] = {}
        for pool in pools:
            for session in pool.sessions():
                leases, places = pool.of_session(session)
                if leases or places:
                    found.setdefault(session, []).extend((*leases, *places))
        return found

    def of(self, session: str) -> tuple[list[Lease], list[Place]]:
        """What a session holds and waits for, as decided; what is recalled it holds no more."""
        leases: list[Lease] = []
        places: list[Place] = []
        for pool in self._pools_of.get(session, ()):
            held, waiting = pool.of_session(session)
            leases += held
            places += waiting
        if self._recalls:
            leases = [lease for lease in leases if self._recalls.get(lease.id) is None]
        return leases, places

    def count(self, session: str) -> int:
        """How many leases and places a session has."""
        return sum(pool.count_of_session(session) for pool in self._pools_of.get(session, ()))

    def pools_of(self, session: str) -> tuple[str, ...]:
        """The pools (names) of which a session has seats or waits for some."""
        return tuple(pool.name for pool in self.asked_of(session) if pool.count_of_session(session))

    def asked_of(self, session: str) -> tuple[Pool, ...]:
        """The pools that a session ever asked."""
        return tuple(self._pools_of.get(session, ()))

    def knows(self, session: str) -> bool:
        """Whether a session ever asked for a seat: if not, it has none, on disk neither."""
        return session in self._pools_of

    def forget(self, session: str) -> None:
        """A session is gone, and nothing of it is left."""
        self._pools_of.pop(session, None)
