"""The parts that make the life of licenses, put together.

Promises: one gate (LicenseChanges) for all that is done to licenses.

Leaves to others: each part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keypeg_server.service.deactivations import Deactivations
from keypeg_server.service.license_acts import LicenseActs
from keypeg_server.service.license_changes import LicenseChanges
from keypeg_server.service.license_edits import LicenseEdits
from keypeg_server.service.license_life import LicenseLife
from keypeg_server.service.placing import Placing
from keypeg_server.service.ports import Clock
from keypeg_server.service.signing import Signing
from keypeg_server.service.store import Store


class LifeParts:
    """What others need of it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        signing: Signing,
        placing: Placing,
    ) -> None:
        self.deactivations: Final = Deactivations(clock, signing, new_id)
        acts = LicenseActs(placing, self.deactivations)
        self.changes: Final = LicenseChanges(
            store, clock, acts, LicenseEdits(placing, acts), new_id
        )
        self.use_cases: Final = LicenseLife(
            store, clock, new_id, acts, self.changes, self.deactivations, signing
        )
