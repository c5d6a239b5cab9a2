"""Reading a key that has just come: who it is, what it can do, what is on it.

Promises: one malformed slot costs that slot and leaves a note; a key that fails as a whole raises what the driver raises.
Blocks for as long as the key takes; runs on the key's own thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keypeg_bridge.rack import contents
from keypeg_bridge.rack.contents import StoredDelegation, StoredLicense
from keypeg_bridge.rack.index import INDEX_SLOT, Index, StoredContents, parse_index
from keypeg_bridge.rack.ports import Capabilities, Identity, OpenKey, SlotMalformed

NOTHING: Final = Index()


@dataclass(frozen=True, slots=True)
class Reading:
    """All that the rack knows from a key."""

    identity: Identity
    capabilities: Capabilities
    licenses: tuple[StoredLicense, ...] = ()
    index: Index = NOTHING
    foreign_slots: tuple[int, ...] = ()
    """Slots that hold something else, which is left alone."""
    notes: tuple[str, ...] = ()
    """What was passed over, one clause each."""
    signals: tuple[str, ...] = ()
    """What makes the key suspicious, one clause each."""

    @property
    def delegations(self) -> tuple[StoredDelegation, ...]:
        """One for each publisher."""
        return self.index.delegations

    def contents_of(self, publisher: str) -> StoredContents | None:
        """What it should carry of a publisher, as it says."""
        return self.index.of(publisher)


def read_key(key: OpenKey) -> Reading:
    """Read everything."""
    capabilities = key.probe()
    identity = key.identity()
    notes: list[str] = []
    index = NOTHING
    licenses: list[StoredLicense] = []
    foreign: list[int] = []
    for slot in range(capabilities.slot_count + 1):
        try:
            data = key.read(slot)
            if not data:
                continue
            if slot == INDEX_SLOT:
                index = parse_index(data)
            else:
                licenses.append(contents.parse_license(slot, data))
        except SlotMalformed as error:
            foreign.append(slot)
            notes.append(str(error) or f"slot {slot} cannot be read")
    return Reading(
        identity,
        capabilities,
        tuple(licenses),
        index,
        tuple(foreign),
        tuple(notes),
        key.signals(),
    )
