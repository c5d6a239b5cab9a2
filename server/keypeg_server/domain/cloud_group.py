"""Who of a group has a license: for refusals that say what would help.

Promises: pure. A license of n activations is in the clouds of n members at most; who comes too late is told who they
are, and on which computers.

Leaves to others: when it is refused (admission.py, service/placing.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from keypeg.errors import ActivationsExhausted
from keypeg.status import explain

from .cloud_session import CloudSession
from .license import Activation, License

SHOWN: Final = 5  # members: an explanation must fit into the metadata of a status


def held_by_members(
    license: License, activations: Sequence[Activation], sessions: Iterable[CloudSession]
) -> ActivationsExhausted | None:
    """The refusal of a license that others have; `activations` are all of it. None where no member has one."""
    places = {one.location for one in activations}
    by = [one for one in sessions if one.member and one.place in places]
    if not by:
        return None
    told = [_told(one) for one in by[:SHOWN]]
    if len(by) > SHOWN:
        told.append(f"{len(by) - SHOWN} more members")
    if len(by) < len(activations):
        told.append(f"{len(activations) - len(by)} at other places")
    holders = ", ".join(told)
    error = ActivationsExhausted(
        f"All {len(activations)} activations of {license.name} are used: {holders}. One of them can close the cloud "
        "session, or an administrator can end it.",
        license=license.name,
        activation_count=str(license.activation_count),
        holders=holders,
    )
    explanation = explain(error)
    for one in by[:SHOWN]:
        explanation.remedies.add(
            action="end_cloud_session",
            resource=one.name,
            sentence=f"An administrator ends the cloud session of {one.login}: keypeg session end {one.login}",
        )
    error.explanation = explanation
    return error


def _told(session: CloudSession) -> str:
    where = f"on {session.holder.called}" if session.holder else "reserved, while it is closed"
    return f"{session.login} ({where})"
