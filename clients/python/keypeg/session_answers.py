"""What each frame of the other side does to a session.

Promises: pure, as session_core; an answer that fails a check, or was not asked for, raises why the session ends.

Leaves to others: when frames come (session_machine), the checks (session_guard), the seats (seat_ledger).
"""

from __future__ import annotations

from dataclasses import replace

from keypeg import events, status
from keypeg.errors import (
    KeyUnplugged,
    ProtocolViolation,
    Reason,
    ServerDraining,
    error_class,
)
from keypeg.instants import span
from keypeg.seat_ledger import News
from keypeg.session_core import SessionCore
from keypeg.session_frames import HangUp, Held, Moment, Prove
from keypeg.session_state import DRAIN_JITTER, Happening, State, next_state
from keypeg.v1 import session_pb2


class SessionAnswers(SessionCore):
    """One method for each kind of frame, `_on_` and its name in the contract."""

    def _on_opened(self, frame: session_pb2.Opened, now: Moment) -> None:
        if self._first is None or frame.sequence != self._first[0]:
            raise ProtocolViolation("The other side sent an 'opened' that was not asked for.")
        sequence, sent = self._first
        went_on = frame.resumed and self.held is not None
        if frame.resumed and (self.held is None or frame.session != self.held.session):
            raise ProtocolViolation("The other side went on with a session that is not this one.")
        was = self.state
        admission = self._guard.opened(frame, now.wall)
        self._first = None
        self._open = True
        self._attempt = 0
        self.route.worked()
        self._renewals.clear()
        self._extend(
            sequence, sent, admission.valid_for, span(frame.renew_interval).total_seconds()
        )
        self._prove(sent, admission.verified, now)
        self._ticket = frame.resume_ticket
        fresh = self.held is None
        self.held = Held(
            frame.session, frame.location, tuple(frame.pools), bytes(frame.release_token)
        )
        self._found(Happening.OPENED)
        if was is State.CONNECTING:
            self._tell(
                events.Running(
                    session=frame.session,
                    location=frame.location,
                    may_run_for=self._left(now),
                    features=admission.verified.features,
                    seat_required=admission.verified.seat_required,
                )
            )
        else:
            self._tell(events.Reconnected(frame.session, resumed=went_on))
        if went_on:
            self._news(self._ledger.resumed(frame.leases, frame.places))
        elif not fresh or was is not State.CONNECTING:
            self._news(self._ledger.reopened(self._randomness.request_id, self._guard.fencing()))

    def _on_renewed(self, frame: session_pb2.Renewed, now: Moment) -> None:
        sent = self._renewals.pop(frame.sequence, None)
        if sent is None or self._term is None:
            raise ProtocolViolation(
                f"The other side answered a renewal (sequence {frame.sequence}) that it was not asked "
                "for; open a new session."
            )
        admission, proven = self._guard.renewed(frame, now.wall)
        if self.state is State.MISSING and not proven:
            return  # sent before it went missing; it proves nothing now
        self._extend(frame.sequence, sent, admission.valid_for, self._term.renew_interval)
        if proven:
            self._prove(sent, admission.verified, now)
        returned = self.state is State.MISSING
        missing = self._missing
        self._found(Happening.PROVEN)
        if returned:
            self._tell(events.KeyReturned(missing))
        if proven and admission.verified.grant is not None:
            listed = frozenset(lease.lease for lease in admission.verified.leases)
            self._news(self._ledger.listed(listed, frame.sequence))

    def _on_acquired(self, frame: session_pb2.Acquired, now: Moment) -> None:
        pool = frame.lease.name.partition("/leases/")[0]
        self._guard.acquired(frame, above=self._ledger.above(frame.request_id, pool))
        self._news(self._ledger.acquired(frame.request_id, frame.lease, self._sequence))

    def _on_queued(self, frame: session_pb2.Queued, now: Moment) -> None:
        self._news(self._ledger.queued(frame.request_id, frame.place))

    def _on_denied(self, frame: session_pb2.Denied, now: Moment) -> None:
        error = status.from_explanation(frame.explanation)
        if frame.sequence in self._renewals:
            del self._renewals[frame.sequence]
            assert self._term is not None
            self._renew_at = now.monotonic + max(1.0, min(5.0, self._term.renew_interval))
            self._tell(events.RenewalRefused(self._left(now), error))
        elif frame.sequence in self._releasing:
            self._news(self._ledger.released(self._releasing.pop(frame.sequence), error))
        else:
            request_id = frame.request_id or self._asked.get(frame.sequence, "")
            self._news(self._ledger.refused(request_id, error))

    def _on_released(self, frame: session_pb2.Released, now: Moment) -> None:
        self._releasing.pop(frame.sequence, None)
        self._news(self._ledger.released(frame.name))

    def _on_recalled(self, frame: session_pb2.Recalled, now: Moment) -> None:
        news = self._ledger.recalled(frame, status.from_explanation(frame.explanation))
        self._news(replace(news, releases=()))  # the app hears of it before the other side does
        self._news(News(releases=news.releases))

    def _on_changed(self, frame: session_pb2.Changed, now: Moment) -> None:
        known = {kind.value for kind in events.ChangeKind}
        kind = events.ChangeKind(frame.change if frame.change in known else 0)
        if (
            kind is not events.ChangeKind.KEY_RETURNED
        ):  # that is told once the key has proven itself
            self._tell(events.Changed(kind, frame.resource))
        self._renew(now, proof=True)

    def _on_missing(self, frame: session_pb2.Missing, now: Moment) -> None:
        known = {reason.value for reason in Reason}
        cls = error_class(Reason(frame.reason)) if frame.reason in known else KeyUnplugged
        verified = self._guard.verified
        assert verified is not None
        # The bridge may say less than the license allows, never more; and saying it twice adds nothing.
        grace = min(
            max(0.0, span(frame.grace).total_seconds()), verified.unplug_grace.total_seconds()
        )
        until = now.monotonic + grace
        self._until = until if self._until is None else min(until, self._until)
        self._missing = frame.resource
        self._why_missing = cls(
            f"The key {frame.resource} is not plugged in; plug it in again.",
            resource=frame.resource,
        )
        if self._until <= now.monotonic:
            self._stop(self._time_over_error(), Happening.TIME_OVER)
            return
        self.state = next_state(self.state, Happening.MISSED)
        self._tell(events.KeyMissing(frame.resource, self._left(now), self._why_missing))

    def _on_prove_device(self, frame: session_pb2.ProveDevice, now: Moment) -> None:
        if self.held is not None:
            self._out.append(Prove(frame.mark, self.held.session, frame.nonce))

    def _on_draining(self, frame: session_pb2.Draining, now: Moment) -> None:
        self._out.append(HangUp())
        error = ServerDraining("The server is going away; connecting again.")
        self._lost(error, now)
        if self.state is not State.STOPPED:
            self._connect_at = now.monotonic + DRAIN_JITTER * self._randomness.jitter()

    def _on_closed(self, frame: session_pb2.Closed, now: Moment) -> None:
        if not self._closing:
            raise ProtocolViolation("The other side closed a session that the app did not close.")
        self._over_there = True
        self._stop(None)
