"""Reading a key that has just come: who it is, what it can do, what is on it.

Promises: one malformed slot costs that slot and leaves a note; a key that fails as a whole raises what the driver raises.
Blocks for as long as the key takes; runs on the key's own thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypeg_bridge.rack import contents
from keypeg_bridge.rack.contents import StoredDelegation, StoredLicense
from keypeg_bridge.rack.ports import Capabilities, Identity, OpenKey, SlotMalformed


@dataclass(frozen=True, slots=True)
class Reading:
    """All that the rack knows from a key."""

    identity: Identity
    capabilities: Capabilities
    licenses: tuple[StoredLicense, ...] = ()
    delegations: tuple[StoredDelegation, ...] = ()
    foreign_slots: tuple[int, ...] = ()
    """Slots that hold something else, which is left alone."""
    notes: tuple[str, ...] = ()
    """What was passed over, one clause each."""
    signals: tuple[str, ...] = ()
    """What makes the key suspicious, one clause each."""


def read_key(key: OpenKey) -> Reading:
    """Read everything."""
    capabilities = key.probe()
    identity = key.identity()
    notes: list[str] = []
    delegations: tuple[StoredDelegation, ...] = ()
    licenses: list[StoredLicense] = []
    foreign: list[int] = []
    for slot in range(capabilities.slot_count + 1):
        try:
            data = key.read(slot)
            if data is None:
                continue
            if slot == contents.DELEGATION_SLOT:
                delegations = contents.parse_delegations(data)
            else:
                licenses.append(contents.parse_license(slot, data))
        except SlotMalformed as error:
            foreign.append(slot)
            notes.append(str(error) or f"slot {slot} cannot be read")
    return Reading(
        identity,
        capabilities,
        tuple(licenses),
        delegations,
        tuple(foreign),
        tuple(notes),
        key.signals(),
    )
