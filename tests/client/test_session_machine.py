"""What a session does, told by a machine and a stand-in host face to face."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keypeg import errors, events
from keypeg.errors import Reason
from keypeg.seat import SeatStage
from keypeg.session_frames import Connect, HangUp
from keypeg.session_state import State
from keypeg.testing import FakeClock, StandInHost, StandInPublisher
from keypeg.v1 import error_pb2, proof_pb2, session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from tests.client.bench import Bench, state_of

MINUTE = timedelta(seconds=60)


@pytest.fixture
def cloud() -> Bench:
    return Bench.of("cloud").open()


@pytest.fixture
def site() -> Bench:
    return Bench.of("site", seat_count=1, seat_required=True).open()


@pytest.fixture
def key() -> Bench:
    bench = Bench.of("key", valid_for=timedelta(seconds=30), renew_interval=timedelta(seconds=10))
    return bench.open()


def why(bench: Bench, seat: str) -> Reason:
    """Why a seat has ended."""
    error = bench.seats[seat].error
    assert error is not None
    return error.reason


# Time.


def test_an_open_session_may_run_from_when_it_was_asked_for(cloud):
    assert state_of(cloud) is State.RUNNING
    assert cloud.may_run
    assert cloud.machine.deadline == cloud.clock.monotonic() + 60
    assert cloud.names() == ["Running"]


def test_it_renews_for_as_long_as_the_server_answers(cloud):
    cloud.advance(3600)
    assert cloud.may_run
    assert cloud.names() == ["Running"]
    assert len(cloud.frames("renew")) == 180


def test_every_half_of_the_time_a_renewal_asks_for_a_proof(cloud):
    cloud.host.terms.renew_interval = timedelta(seconds=5)
    fast = Bench(cloud.host, cloud.clock).open()
    cloud.host.received.clear()
    fast.advance(120)
    nonces = [bool(frame.nonce) for frame in cloud.host.received and fast.frames("renew")]
    assert nonces.count(True) == 4
    assert nonces.count(False) == 20


def test_without_answers_it_stops_when_its_time_is_over(cloud):
    cloud.deaf = True
    cloud.advance(59.9)
    assert cloud.may_run
    assert state_of(cloud) is State.GRACE
    cloud.advance(0.2)
    assert state_of(cloud) is State.STOPPED
    assert isinstance(cloud.machine.error, errors.GrantExpired)
    assert "a valid license must be present" in str(cloud.machine.error)
    assert cloud.names() == ["Running", "ConnectionLost", "Stopped"]


def test_a_suspended_computer_may_not_run_when_it_wakes_too_late(cloud):
    cloud.clock.advance(61)
    assert not cloud.may_run
    assert state_of(cloud) is State.RUNNING  # nobody has called it yet


def test_the_wall_clock_has_nothing_to_do_with_it(cloud):
    cloud.clock.step_wall(timedelta(hours=-5))
    cloud.advance(30)
    cloud.clock.step_wall(timedelta(hours=9))
    cloud.advance(300)
    assert cloud.may_run


def test_the_frame_may_give_less_than_is_signed_and_never_more():
    bench = Bench.of("key", valid_for=timedelta(days=3000)).open()
    assert bench.machine.deadline == bench.clock.monotonic() + 30


# Connections.


def test_a_lost_connection_is_resumed_unnoticed(cloud):
    cloud.cut()
    assert state_of(cloud) is State.GRACE
    assert cloud.may_run
    cloud.advance(1)
    assert state_of(cloud) is State.RUNNING
    assert cloud.names() == ["Running", "ConnectionLost", "Reconnected"]
    assert cloud.events[-1].resumed
    (resume,) = cloud.frames("resume")
    assert resume.sequence > 1


def test_an_unanswered_renewal_means_a_dead_connection(cloud):
    cloud.advance(19)
    cloud.deaf = True
    cloud.advance(12)
    assert state_of(cloud) is State.GRACE
    cloud.deaf = False
    cloud.advance(10)
    assert state_of(cloud) is State.RUNNING


def test_it_tries_again_with_growing_pauses_until_the_server_is_back(cloud):
    cloud.host.go_away()
    cloud.hear()
    cloud.advance(40)
    tries = len(cloud.frames("resume"))
    assert 5 < tries < 30
    cloud.host.come_back()
    cloud.advance(10)
    assert state_of(cloud) is State.RUNNING
    assert cloud.may_run


def test_a_draining_server_is_left_at_once(cloud):
    cloud.host.drain()
    cloud.hear()
    assert state_of(cloud) is State.GRACE
    assert isinstance(cloud.events[-1].error, errors.ServerDraining)
    cloud.advance(0.1)
    assert state_of(cloud) is State.RUNNING


def test_a_server_that_says_when_is_not_asked_before(cloud):
    cloud.cut()
    cloud.host.refuse_next_open(errors.Busy("later", retry_after=timedelta(seconds=7)))
    cloud.advance(1)
    resumes = len(cloud.frames("resume"))
    cloud.advance(5)
    assert len(cloud.frames("resume")) == resumes
    cloud.advance(3)
    assert state_of(cloud) is State.RUNNING


def test_a_session_that_the_server_forgot_is_opened_anew(cloud):
    cloud.host.forget()
    cloud.hear()
    cloud.advance(1)
    assert state_of(cloud) is State.RUNNING
    assert not cloud.events[-1].resumed
    assert len(cloud.frames("open")) == 2


@pytest.mark.parametrize(
    "error",
    [
        errors.CloudSessionMoved("moved", device="device-b"),
        errors.LicenseRevoked("revoked"),
        errors.LicenseExpired("expired"),
        errors.SessionClosed("closed"),
        errors.SessionSuperseded("superseded"),
        errors.FrameReplayed("replayed"),
        errors.TokenInvalid("revoked"),
    ],
    ids=lambda error: error.reason.name,
)
def test_a_status_that_ends_the_session_stops_it_at_once(cloud, error):
    cloud.host.end(error)
    cloud.hear()
    assert state_of(cloud) is State.STOPPED
    assert not cloud.may_run
    assert cloud.reason is error.reason
    assert cloud.machine.next_time() is None
    assert not cloud.machine.must_tell


def test_a_refused_resume_stops_a_session_that_could_still_run(cloud):
    cloud.cut()
    cloud.host.refuse_next_open(errors.CloudSessionMoved("moved", device="device-b"))
    cloud.advance(1)
    assert cloud.reason is Reason.CLOUD_SESSION_MOVED


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (errors.LicenseMissing("none"), False),
        (errors.Unreachable("nobody there"), False),
        (errors.Busy("later"), True),
        (errors.ServerDraining("going"), True),
    ],
    ids=lambda value: value.reason.name if isinstance(value, errors.KeypegError) else "",
)
def test_the_first_open_is_repeated_only_for_a_server_that_said_later(error, opens):
    bench = Bench.of("cloud")
    bench.host.refuse_next_open(error)
    bench.open()
    bench.advance(5)
    assert bench.may_run is opens
    if not opens:
        assert bench.machine.error is error


def test_an_open_that_nobody_answers_ends():
    bench = Bench.of("cloud")
    bench.deaf = True
    bench.open()
    bench.advance(11)
    assert bench.reason is Reason.TIMED_OUT


def test_closing_is_acknowledged(cloud):
    cloud.do(cloud.machine.close())
    assert state_of(cloud) is State.STOPPED
    assert cloud.machine.error is None
    assert cloud.host.sessions == {}
    assert not cloud.machine.must_tell
    assert cloud.names()[-1] == "Stopped"


def test_a_stream_that_comes_after_the_end_is_hung_up(cloud):
    cloud.cut()
    cloud.clock.advance(5)
    (connect,) = cloud.machine.tick(cloud.now)
    assert isinstance(connect, Connect)
    cloud.do(cloud.machine.close())
    assert cloud.machine.connected(cloud.now) == [HangUp()]
    assert cloud.machine.next_time() is None


def test_a_renewal_that_was_denied_can_not_be_granted_later(cloud):
    answers = []

    def deny(frame: HoldSessionResponse) -> HoldSessionResponse:
        answers.append(frame)
        return denied(frame)

    cloud.host.tamper = deny
    cloud.advance(20)
    assert cloud.names()[-1] == "RenewalRefused"
    cloud.do(cloud.machine.received(answers[-1], cloud.now))
    assert cloud.reason is Reason.PROTOCOL_VIOLATION


def denied(frame):
    answer = session_pb2.Denied(sequence=frame.renewed.sequence)
    answer.explanation.reason = error_pb2.REASON_STORAGE_UNAVAILABLE
    return HoldSessionResponse(denied=answer)


def test_closing_without_a_connection_leaves_word_to_be_sent(cloud):
    cloud.cut()
    cloud.do(cloud.machine.close())
    assert state_of(cloud) is State.STOPPED
    assert cloud.machine.must_tell


# Keys.


def test_every_renewal_towards_a_bridge_brings_a_proof(key):
    key.advance(100)
    assert key.may_run
    assert all(len(frame.nonce) == 32 for frame in key.frames("renew"))


def test_an_unplugged_key_leaves_the_grace_of_the_license(key):
    key.host.unplug(timedelta(hours=1))  # the license says 30 s, whatever the bridge says
    key.hear()
    assert state_of(key) is State.MISSING
    assert key.may_run
    assert key.events[-1].may_run_for == timedelta(seconds=30)
    key.advance(29.9)
    assert key.may_run
    key.advance(0.2)
    assert state_of(key) is State.STOPPED
    assert key.reason is Reason.KEY_UNPLUGGED


def test_a_key_that_is_back_in_time_goes_on(key):
    key.host.unplug(timedelta(seconds=20))
    key.hear()
    key.advance(15)
    key.host.plug_in()
    key.hear()
    assert state_of(key) is State.RUNNING
    assert key.names() == ["Running", "KeyMissing", "KeyReturned"]
    key.advance(600)
    assert key.may_run


def test_a_key_that_flaps_gets_no_more_time(key):
    key.host.unplug(timedelta(seconds=20))
    key.hear()
    key.advance(15)
    key.host.unplug(timedelta(seconds=20))
    key.hear()
    key.advance(6)
    assert state_of(key) is State.STOPPED


def test_a_bridge_that_says_the_key_is_back_must_prove_it(key):
    key.host.unplug(timedelta(seconds=20))
    key.hear()
    key.host.change(session_pb2.CHANGE_KEY_RETURNED)
    key.hear()
    assert state_of(key) is State.MISSING
    assert key.names()[-1] == "RenewalRefused"
    key.advance(21)
    assert state_of(key) is State.STOPPED


def test_without_grace_it_stops_at_once(key):
    key.host.unplug(timedelta(0))
    key.hear()
    assert state_of(key) is State.STOPPED
    assert key.reason is Reason.KEY_UNPLUGGED


def test_a_bridge_that_restarts_may_need_a_moment_to_find_its_keys(key):
    key.host.forget()
    key.hear()
    key.host.refuse_next_open(
        errors.SessionExpired("not known"), errors.KeyMissing("none yet"), errors.KeyBusy("soon")
    )
    key.advance(10)
    assert state_of(key) is State.RUNNING


def test_a_bridge_that_is_lost_while_the_key_is_missing_adds_nothing(key):
    key.host.unplug(timedelta(seconds=20))
    key.hear()
    key.host.go_away()
    key.cut()
    assert state_of(key) is State.GRACE
    key.advance(21)
    assert key.reason is Reason.KEY_UNPLUGGED


# Verification.


def _other_root(bench):
    bench.host.publisher = StandInPublisher()


def _tampered(change):
    def apply(bench):
        def tamper(frame):
            altered = HoldSessionResponse()
            altered.CopyFrom(frame)
            change(altered)
            return altered

        bench.host.tamper = tamper

    return apply


FORGERIES = {
    "another publisher": (_other_root, Reason.SIGNER_UNKNOWN),
    "no proof": (_tampered(lambda f: f.opened.ClearField("proof")), Reason.DOCUMENT_TYPE),
    "a code of zeros": (
        _tampered(lambda f: setattr(f.opened, "mac", bytes(16))),
        Reason.FRAME_FORGED,
    ),
    "more time": (_tampered(lambda f: f.opened.valid_for.FromSeconds(9999)), Reason.FRAME_FORGED),
    "another session": (
        _tampered(lambda f: setattr(f.opened, "session", "sessions/other")),
        Reason.FRAME_FORGED,
    ),
    "another share": (
        _tampered(lambda f: setattr(f.opened, "key_share", bytes(range(32)))),
        Reason.FRAME_FORGED,
    ),
    "a cut signature": (
        _tampered(
            lambda f: setattr(f.opened.proof.cloud.grant.signatures[0], "signature", b"x" * 64)
        ),
        Reason.SIGNATURE_INVALID,
    ),
    "an answer to nobody": (
        _tampered(lambda f: setattr(f.opened, "sequence", 99)),
        Reason.PROTOCOL_VIOLATION,
    ),
    "another kind": (
        _tampered(lambda f: f.opened.proof.CopyFrom(proof_pb2.Proof(key=proof_pb2.KeyProof()))),
        Reason.DOCUMENT_TYPE,
    ),
    "a frame too early": (
        _tampered(lambda f: f.renewed.SetInParent()),
        Reason.PROTOCOL_VIOLATION,
    ),
}


@pytest.mark.parametrize(("forge", "reason"), FORGERIES.values(), ids=FORGERIES)
def test_a_forged_opening_does_not_run_and_says_why(forge, reason):
    bench = Bench.of("cloud")
    forge(bench)
    bench.open()
    assert state_of(bench) is State.STOPPED
    assert bench.reason is reason
    assert not bench.may_run


RENEWALS = {
    "a wrong code": (lambda f: setattr(f.renewed, "mac", bytes(16)), Reason.FRAME_FORGED),
    "more time": (lambda f: f.renewed.valid_for.FromSeconds(9999), Reason.FRAME_FORGED),
    "no proof": (lambda f: f.renewed.ClearField("proof"), Reason.FRAME_FORGED),
    "another sequence": (lambda f: setattr(f.renewed, "sequence", 77), Reason.PROTOCOL_VIOLATION),
}


@pytest.mark.parametrize(("change", "reason"), RENEWALS.values(), ids=RENEWALS)
def test_a_forged_renewal_stops_the_session(cloud, change, reason):
    _tampered(change)(cloud)
    cloud.advance(20)
    assert state_of(cloud) is State.STOPPED
    assert cloud.reason is reason


def test_a_replayed_proof_of_a_key_gives_no_time(key):
    key.advance(10)
    kept = []

    def replay(frame):
        if frame.WhichOneof("frame") != "renewed":
            return frame
        kept.append(frame.renewed.proof)
        altered = HoldSessionResponse()
        altered.CopyFrom(frame)
        altered.renewed.proof.CopyFrom(kept[0])
        return altered

    key.host.tamper = replay
    key.advance(20)
    assert key.reason is Reason.KEY_PROOF_INVALID


def test_a_bridge_gives_no_seats(key):
    key.host.terms.seat_count = 1
    key.acquire()
    assert key.reason is Reason.PROTOCOL_VIOLATION


# Seats.


def test_a_product_that_takes_a_seat_runs_only_with_one(site):
    assert state_of(site) is State.RUNNING
    assert isinstance(site.machine.view().refusal(site.clock.monotonic()), errors.SeatRequired)
    seat = site.acquire()
    assert site.stage(seat) is SeatStage.HELD
    assert site.may_run
    site.leave(seat)
    assert site.stage(seat) is SeatStage.ENDED
    assert not site.may_run
    assert site.names() == ["Running", "SeatAcquired", "SeatReleased"]


def test_no_seat_free_is_an_error_of_the_seat_alone(site):
    site.acquire()
    second = site.acquire()
    assert site.stage(second) is SeatStage.ENDED
    assert why(site, second) is Reason.POOL_EXHAUSTED
    assert state_of(site) is State.RUNNING


def test_a_waiter_hears_its_place_and_then_has_the_seat(site):
    other = Bench(site.host, site.clock).open()
    first = other.acquire()
    seat = site.acquire(wait=True)
    site.hear()
    assert site.seats[seat].place.position == 1
    assert site.names()[-1] == "Queued"
    other.leave(first)
    site.hear()
    assert site.stage(seat) is SeatStage.HELD


def test_leaving_the_queue_leaves_nothing(site):
    other = Bench(site.host, site.clock).open()
    other.acquire()
    seat = site.acquire(wait=True)
    site.hear()
    site.leave(seat)
    assert site.stage(seat) is SeatStage.ENDED
    assert site.host.pool.waiters == []


def test_a_seat_that_comes_after_it_was_given_up_is_given_back(site):
    other = Bench(site.host, site.clock).open()
    first = other.acquire()
    seat = site.acquire(wait=True)
    site.hear()
    other.leave(first)  # the seat is on its way to the one who waits
    site.leave(seat)
    site.hear()
    assert site.host.pool.leases == {}
    assert site.stage(seat) is SeatStage.ENDED
    assert "SeatAcquired" not in site.names()


def test_a_request_whose_answer_was_lost_is_the_same_request_again(site):
    site.mute = True
    seat = site.acquire()
    assert len(site.host.pool.leases) == 1
    site.mute = False
    site.cut()
    site.advance(1)
    assert site.stage(seat) is SeatStage.HELD
    first, second = site.frames("acquire")
    assert first.request_id == second.request_id
    assert second.sequence > first.sequence
    assert len(site.host.pool.leases) == 1


def test_a_request_without_a_connection_is_made_when_there_is_one(site):
    site.cut()
    seat = site.acquire()
    site.advance(1)
    assert site.stage(seat) is SeatStage.HELD


def test_a_seat_that_was_granted_while_the_stream_was_away_is_found(site):
    other = Bench(site.host, site.clock).open()
    first = other.acquire()
    seat = site.acquire(wait=True)
    site.cut()
    other.leave(first)
    site.advance(1)
    assert site.stage(seat) is SeatStage.HELD
    assert len(site.host.pool.leases) == 1


def test_a_place_survives_a_lost_connection_without_being_asked_for_again(site):
    other = Bench(site.host, site.clock).open()
    other.acquire()
    seat = site.acquire(wait=True)
    site.cut()
    site.advance(1)
    assert site.stage(seat) is SeatStage.QUEUED
    assert len(site.frames("acquire")) == 2  # one of each session
    assert len(site.host.pool.waiters) == 1


def test_a_seat_given_up_without_a_connection_is_given_back_on_the_next(site):
    site.mute = True
    seat = site.acquire()
    site.leave(seat)
    site.mute = False
    site.cut()
    site.advance(1)
    assert site.host.pool.leases == {}
    held = Bench.of("site", seat_count=1, seat_required=True).open()
    kept = held.acquire()
    held.cut()
    held.leave(kept)
    held.advance(1)
    assert held.host.pool.leases == {}
    assert held.stage(kept) is SeatStage.ENDED


def test_a_forgotten_session_loses_its_seats_and_asks_anew_for_the_others(site):
    site.host.terms.seat_count = 2
    seat = site.acquire()
    waiting = site.acquire(units=2, wait=True)
    site.host.forget()
    site.hear()
    site.advance(1)
    assert site.stage(seat) is SeatStage.ENDED
    assert why(site, seat) is Reason.LEASE_EXPIRED
    assert site.stage(waiting) is SeatStage.HELD
    assert "SeatLost" in site.names()
    ids = [frame.request_id for frame in site.frames("acquire")]
    assert len(set(ids)) == 3


def test_a_recalled_seat_is_gone_and_says_why(site):
    seat = site.acquire()
    site.host.recall("needed elsewhere")
    site.hear()
    assert site.stage(seat) is SeatStage.ENDED
    assert why(site, seat) is Reason.LEASE_RECALLED
    assert isinstance(site.events[-1], events.SeatRecalled)
    assert not site.may_run
    (given_back,) = site.frames("release")  # so that others need not wait for its time to be over
    assert given_back.name == site.events[-1].lease.name


def test_why_a_seat_was_recalled_is_told_also_when_it_was_lost_meanwhile(site):
    seat = site.acquire()
    (lease,) = (one.lease for one in site.events if isinstance(one, events.SeatAcquired))
    site.cut()
    site.host.pool.release(lease.name)  # recalled while nobody could hear of it
    site.advance(1)
    assert why(site, seat) is Reason.LEASE_EXPIRED
    (session,) = site.host.sessions.values()
    frame = session_pb2.Recalled(lease=lease.name)
    frame.explanation.reason = error_pb2.REASON_LEASE_RECALLED
    session.say(recalled=frame)
    site.hear()
    told = site.events[-1]
    assert isinstance(told, events.SeatRecalled)
    assert (told.lease, told.error.reason) == (lease, Reason.LEASE_RECALLED)
    assert site.frames("release")[-1].name == lease.name


def test_a_seat_that_the_signed_grant_does_not_list_is_lost(site):
    seat = site.acquire()
    site.host.pool.release(site.seats[seat].lease.name)
    site.advance(60)
    assert site.stage(seat) is SeatStage.ENDED
    assert site.names()[-1] == "SeatLost"


def test_a_seat_whose_release_the_server_refused_is_given_back_later(site):
    """Its disk was full: the seat would stay for as long as the app runs, and nobody uses it."""
    seat = site.acquire()
    site.deaf = True
    site.leave(seat)
    site.deaf = False
    refused = HoldSessionResponse()
    refused.denied.sequence = site.machine._sequence
    refused.denied.explanation.reason = error_pb2.REASON_STORAGE_UNAVAILABLE
    site.do(site.machine.received(refused, site.now))
    assert site.stage(seat) is SeatStage.ENDED
    assert len(site.host.pool.leases) == 1
    site.advance(60)
    assert site.host.pool.leases == {}


def test_an_old_fencing_number_is_refused(site):
    seat = site.acquire()
    site.leave(seat)
    old = site.host.pool._numbers
    site.host.pool._numbers = iter([1])
    site.acquire()
    site.host.pool._numbers = old
    assert state_of(site) is State.STOPPED
    assert site.reason is Reason.FENCING_STALE


def test_a_seat_with_a_forged_code_stops_the_session(site):
    _tampered(lambda f: setattr(f.acquired, "mac", bytes(16)))(site)
    site.acquire()
    assert site.reason is Reason.FRAME_FORGED


def test_the_end_of_the_session_ends_its_seats(site):
    seat = site.acquire()
    site.host.end(errors.SessionClosed("by an administrator"))
    site.hear()
    assert site.stage(seat) is SeatStage.ENDED
    assert why(site, seat) is Reason.SESSION_CLOSED


def test_something_changed_is_told_and_looked_at_at_once(cloud):
    cloud.host.terms.features = ("render",)
    cloud.host.change(session_pb2.CHANGE_LICENSE_CHANGED, "accounts/a/licenses/l")
    cloud.hear()
    assert cloud.names()[-1] == "Changed"
    assert cloud.machine.view().features == ("render",)


def test_a_refused_renewal_is_told_and_asked_again(cloud):
    cloud.host.tamper = denied
    cloud.advance(21)
    assert cloud.names()[-1] == "RenewalRefused"
    cloud.host.tamper = None
    cloud.advance(100)
    assert cloud.may_run


def test_a_license_of_this_computer_is_proven_by_a_bridge_too():
    clock = FakeClock()
    parts = {"machine_id": "0123456789abcdef", "board": "4711-0815"}
    host = StandInHost("demo", kind="host", clock=clock, parts=parts)
    bench = Bench(host, clock).open()
    assert bench.may_run
    host.terms.parts = {"machine_id": "fedcba9876543210", "board": "1234-5678"}
    elsewhere = Bench(host, clock)
    elsewhere.machine._guard._pinned = bench.pinned
    elsewhere.open()
    assert elsewhere.reason is Reason.DOCUMENT_OTHER_DEVICE
