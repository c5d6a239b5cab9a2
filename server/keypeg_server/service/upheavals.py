"""What befalls sessions from outside: cloud sessions that move, licenses that change, users who go.

Promises: every event that may make a session wrong ends it or has it looked at again, and keeps an admission
that is under way from being believed.

Leaves to others: ending (ending.py), looking again (admitting.py), who tells (the hub).
"""

from __future__ import annotations

from collections.abc import Iterable

from keypeg import errors, names
from keypeg.v1 import location_pb2, session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_server.domain import events
from keypeg_server.domain.credential import revoked
from keypeg_server.service.admitting import Admitting
from keypeg_server.service.ending import SessionEnding
from keypeg_server.service.events import EventHub
from keypeg_server.service.presence import Session, State
from keypeg_server.service.refusals import cut_off, role_changed, signed_out


class Upheavals:
    """Listens to the hub."""

    def __init__(self, hub: EventHub, admitting: Admitting, ending: SessionEnding) -> None:
        self._admitting = admitting
        self._ending = ending
        self._presence = ending.presence
        hub.subscribe(events.CloudSessionMoved, self._cloud_moved)
        hub.subscribe(events.CloudSessionClosed, self._cloud_closed)
        hub.subscribe(events.CloudModeChanged, self._cloud_mode_changed)
        hub.subscribe(events.MemberCutOff, self._member_cut_off)
        hub.subscribe(events.LicenseAdded, self._license_added)
        hub.subscribe(events.LicenseChanged, self._license_changed)
        hub.subscribe(events.LicenseRemoved, self._license_removed)
        hub.subscribe(events.UserRemoved, self._user_removed)
        hub.subscribe(events.TokenRevoked, self._token_revoked)
        hub.subscribe(events.CredentialEnded, self._credential_ended)
        hub.subscribe(events.UserChanged, self._user_changed)

    def _on_cloud(self, account: str, member: str) -> Iterable[Session]:
        for session in self._presence.of_account(account):
            on_cloud = session.admitted.location_kind == location_pb2.LOCATION_KIND_CLOUD
            if on_cloud and _is_of(session, member):
                yield session

    def _cloud_moved(self, event: events.CloudSessionMoved) -> None:
        self._admitting.changes += 1
        for session in self._on_cloud(event.account, event.member):
            if session.device is not None and session.device.id != event.to_device:
                where = event.to_host_name or event.to_device
                self._ending.end(
                    session,
                    errors.CloudSessionMoved(
                        f"The cloud session of {event.account} was opened on {where}; "
                        "open it here again to go on here.",
                        account=event.account,
                        device=event.to_device,
                        host_name=event.to_host_name,
                    ),
                )

    def _cloud_closed(self, event: events.CloudSessionClosed) -> None:
        self._admitting.changes += 1
        for session in self._on_cloud(event.account, event.member):
            here = session.device is not None and session.device.id == event.device
            where = "" if here or not event.device else f" on {event.host_name or event.device}"
            where = f" by an administrator ({event.why})" if event.why else where
            error = errors.CloudSessionClosed(
                f"The cloud session of {event.account} was closed{where}; open it to go on.",
                account=event.account,
                device=event.device,
                host_name=event.host_name,
            )
            if event.why:
                error.metadata["why"] = event.why
            self._ending.end(session, error)

    def _member_cut_off(self, event: events.MemberCutOff) -> None:
        self._admitting.changes += 1
        theirs = self._presence.of_account(event.account)
        for session in self._on_cloud(event.account, event.member) if event.suspended else theirs:
            if _is_of(session, event.member):
                self._ending.end(session, cut_off(event))

    def _cloud_mode_changed(self, event: events.CloudModeChanged) -> None:
        name = names.CLOUD_SESSION.build(*names.ACCOUNT.parse(event.account))
        if event.member:
            name = names.MEMBER_CLOUD_SESSION.build(*names.USER.parse(event.member))
        for session in self._on_cloud(event.account, event.member):
            _tell_changed(session, session_pb2.CHANGE_CLOUD_MODE, name)

    def _license_added(self, event: events.LicenseAdded) -> None:
        for session in self._presence.of_account(event.account):
            if session.product in event.products and _is_of(session, event.member):
                _tell_changed(session, session_pb2.CHANGE_LICENSE_ADDED, event.license)

    def _license_changed(self, event: events.LicenseChanged) -> None:
        self._license_differs(event.account, event.license, session_pb2.CHANGE_LICENSE_CHANGED)

    def _license_removed(self, event: events.LicenseRemoved) -> None:
        gone = session_pb2.CHANGE_LICENSE_REMOVED
        self._license_differs(event.account, event.license, gone, event.activation)

    def _license_differs(
        self,
        account: str,
        license: str,
        change: session_pb2.Change.ValueType,
        activation: str = "",
    ) -> None:
        self._admitting.changes += 1
        for session in self._presence.of_account(account):
            if activation not in ("", session.admitted.activation):
                continue  # by another one of the same license
            if session.admitted.license == license and session.state is State.LIVE:
                _tell_changed(session, change, license)
                self._admitting.readmit(session)

    def _user_removed(self, event: events.UserRemoved) -> None:
        self._admitting.changes += 1
        for session in self._presence:
            if session.caller is not None and session.caller.user == event.user:
                self._ending.end(
                    session,
                    errors.TokenInvalid(
                        f"{event.user} was removed; sign in as another user.", user=event.user
                    ),
                )

    def _token_revoked(self, event: events.TokenRevoked) -> None:
        self._admitting.changes += 1
        for session in self._presence:
            if session.caller is not None and session.caller.token == event.token:
                self._ending.end(session, signed_out())

    def _credential_ended(self, event: events.CredentialEnded) -> None:
        self._admitting.changes += 1
        for session in self._presence:
            caller = session.caller
            if caller is None or caller.credential != event.credential:
                continue
            if not event.device or event.device == caller.device:
                self._ending.end(session, revoked(event.credential))

    def _user_changed(self, event: events.UserChanged) -> None:
        for session in self._presence:
            if session.caller is not None and session.caller.user == event.user and session.link:
                session.link.outbox.end(role_changed())  # it is resumed in the new role


def _is_of(session: Session, member: str) -> bool:
    """Whether a session is of a member (name); every session, where none is named."""
    return not member or (session.caller is not None and session.caller.user == member)


def _tell_changed(session: Session, change: session_pb2.Change.ValueType, resource: str) -> None:
    if session.link is not None:
        session.link.outbox.push(
            HoldSessionResponse(changed=session_pb2.Changed(change=change, resource=resource))
        )
