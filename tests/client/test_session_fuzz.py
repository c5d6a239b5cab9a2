"""Whatever the other side sends: an answer that was changed on its way stops the session or changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from keypeg.session_state import State
from keypeg.v1 import seat_pb2, session_pb2
from keypeg.v1.explanation_pb2 import Explanation
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from tests.client.bench import Bench

small = st.integers(0, 2**32 - 1)
names = st.sampled_from(["", "pools/stand-in/leases/1", "pools/x/leases/9", "sessions/x", "\0"])
ids = st.sampled_from(["", "request-1-1", "x"])


@dataclass(frozen=True)
class Edit:
    """One change of some bytes, wherever they end."""

    kind: str
    where: float  # from 0, the beginning, to 1
    bit: int
    more: bytes

    def of(self, data: bytes) -> bytes:
        position = int(self.where * max(0, len(data) - 1))
        match self.kind:
            case "flip" if data:
                changed = data[position] ^ (1 << self.bit)
                return data[:position] + bytes([changed]) + data[position + 1 :]
            case "cut":
                return data[:position]
            case "insert":
                return data[:position] + self.more + data[position:]
            case _:
                return data + data[position:]


edits = st.builds(
    Edit,
    st.sampled_from(["flip", "cut", "insert", "double"]),
    st.floats(0, 1),
    st.integers(0, 7),
    st.binary(min_size=1, max_size=4),
)


@settings(max_examples=250)
@given(kind=st.sampled_from(["cloud", "site", "key"]), at=st.integers(0, 4), edit=edits)
def test_a_changed_answer_stops_the_session_or_changes_nothing(kind, at, edit):
    bench = Bench.of(kind)
    seen = 0

    def tamper(frame: HoldSessionResponse) -> HoldSessionResponse:
        nonlocal seen
        seen += 1
        if seen != at + 1:
            return frame
        try:
            return HoldSessionResponse.FromString(edit.of(frame.SerializeToString()))
        except DecodeError:
            return frame

    bench.host.tamper = tamper
    bench.open()
    if kind == "site" and bench.state is not State.STOPPED:
        bench.acquire()
    bench.advance(70)
    if bench.may_run:
        last = max(bench.answered)
        assert bench.clock.monotonic() < last + bench.host.terms.valid_for.total_seconds()
    assert (bench.machine.next_time() is None) == (bench.state is State.STOPPED)


frames = st.one_of(
    st.builds(
        lambda s, n, v: {"renewed": session_pb2.Renewed(sequence=s, mac=n), "v": v},
        small,
        st.binary(max_size=20),
        small,
    ),
    st.builds(
        lambda s, r, n: {
            "acquired": session_pb2.Acquired(sequence=s, request_id=r, lease=seat_pb2.Lease(name=n))
        },
        small,
        ids,
        names,
    ),
    st.builds(
        lambda s, r, n: {
            "queued": session_pb2.Queued(
                sequence=s, request_id=r, place=seat_pb2.QueuePlace(name=n)
            )
        },
        small,
        ids,
        names,
    ),
    st.builds(
        lambda s, r, n: {
            "denied": session_pb2.Denied(
                sequence=s, request_id=r, explanation=Explanation(reason=n)
            )
        },
        st.integers(0, 9),
        ids,
        st.integers(-(2**31), 2**31 - 1),
    ),
    st.builds(lambda s, n: {"released": session_pb2.Released(sequence=s, name=n)}, small, names),
    st.builds(lambda n: {"recalled": session_pb2.Recalled(lease=n)}, names),
    st.builds(
        lambda c, n: {"changed": session_pb2.Changed(change=c, resource=n)},
        st.integers(-(2**31), 2**31 - 1),
        names,
    ),
    st.builds(
        lambda r, s, n: {
            "missing": session_pb2.Missing(reason=r, grace=Duration(seconds=s, nanos=n))
        },
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(2**31), 2**31 - 1),
    ),
    st.just({"draining": session_pb2.Draining()}),
    st.just({"closed": session_pb2.Closed()}),
    st.just({}),
)


@settings(max_examples=250)
@given(kind=st.sampled_from(["cloud", "site", "key"]), said=st.lists(frames, max_size=6))
def test_frames_that_nobody_asked_for_give_nothing(kind, said):
    bench = Bench.of(kind).open()
    if kind == "site":
        bench.acquire()
    deadline = bench.machine.deadline
    assert deadline is not None
    for frame in said:
        frame.pop("v", None)
        bench.do(bench.machine.received(HoldSessionResponse(**frame), bench.now))
    reached = bench.machine.deadline
    if reached is not None:
        assert reached <= deadline
    bench.advance(0)
