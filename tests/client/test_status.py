"""Errors over the wire and back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from keypeg import errors, status
from keypeg.errors import KeypegError, Reason, error_class
from keypeg.v1 import error_pb2, explanation_pb2


def same(one: KeypegError, other: KeypegError) -> bool:
    return type(one) is type(other) and vars(one) == vars(other)


def unpacked(made: status_pb2.Status, message: Any) -> list[Any]:
    found = []
    for detail in made.details:
        if detail.Is(message.DESCRIPTOR):
            found.append(message.FromString(detail.value))
    return found


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_every_reason_goes_over_the_wire_and_back(reason: Reason) -> None:
    error = error_class(reason)("It did not work; try again.", pool="pools/p1", held="5")
    made = status.to_status(error)
    assert made.code == status.CODES[reason] != code_pb2.OK
    assert same(status.from_status(status_pb2.Status.FromString(made.SerializeToString())), error)


def test_a_status_has_exactly_one_error_info_in_our_domain() -> None:
    made = status.to_status(errors.PoolExhausted("All 5 seats are held.", pool="pools/p1"))
    (info,) = unpacked(made, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("POOL_EXHAUSTED", "keypeg")
    assert dict(info.metadata) == {"pool": "pools/p1"}
    assert len(made.details) == 1


def test_everything_that_an_error_says_goes_over_the_wire_and_back() -> None:
    explanation = explanation_pb2.Explanation(
        reason=error_pb2.REASON_LIMIT_EXCEEDED, sentence="Too many streams."
    )
    explanation.holders.add(host_name="laptop", units=1)
    error = errors.LimitExceeded(
        "Too many streams; close one.",
        explanation=explanation,
        retry_after=timedelta(seconds=1.5),
        fields={"app.name": "is too long", "units": "is 0"},
        limit="streams_per_user",
    )
    made = status.to_status(error)
    assert same(status.from_status(made), error)
    (bad,) = unpacked(made, error_details_pb2.BadRequest)
    assert [one.field for one in bad.field_violations] == ["app.name", "units"]
    (retry,) = unpacked(made, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 1500
    (quota,) = unpacked(made, error_details_pb2.QuotaFailure)
    assert quota.violations[0].subject == "streams_per_user"
    other = status.to_status(errors.PoolRule("No.", limit="streams_per_user"))
    assert unpacked(other, error_details_pb2.QuotaFailure) == []


def test_an_explanation_of_very_many_holders_is_cut_so_that_grpc_can_carry_it() -> None:
    explanation = explanation_pb2.Explanation(sentence="All are held.")
    for number in range(2_000):
        explanation.holders.add(host_name=f"workstation-{number}", units=1)
    error = errors.PoolExhausted("All are held.", explanation=explanation, pool="pools/p1")
    made = status.to_status(error)
    assert made.ByteSize() <= status.STATUS_BYTES
    again = status.from_status(made)
    assert again.metadata == {"pool": "pools/p1"}
    assert again.explanation is not None
    assert 10 < len(again.explanation.holders) < 2_000
    assert again.explanation.holders[0].host_name == "workstation-0"
    assert len(explanation.holders) == 2_000  # the error itself keeps all


def test_an_explanation_is_left_out_when_its_remedies_alone_are_too_large() -> None:
    explanation = explanation_pb2.Explanation()
    explanation.remedies.add(sentence="r" * 9_000)
    error = errors.PoolRule("No.", explanation=explanation, rule="limit")
    error.fields["units"] = "is more than 2"
    made = status.to_status(error)
    assert made.ByteSize() <= status.STATUS_BYTES
    assert same(status.from_status(made), errors.PoolRule("No.", fields=error.fields, rule="limit"))


def test_values_are_cut_when_the_metadata_alone_is_too_large() -> None:
    error = errors.KeyFaulty("No.", fields={"slot": "is 9"}, detail="d" * 9_000, key="keys/k1")
    again = status.from_status(status.to_status(error))
    assert again.metadata == {"detail": "d" * 128, "key": "keys/k1"}
    assert again.fields == {"slot": "is 9"}


def test_fields_are_left_out_when_they_alone_are_too_large() -> None:
    many = {f"field-{number}": "is wrong" for number in range(1_000)}
    error = errors.FieldInvalid("No.", fields=many, retry_after=timedelta(seconds=1), name="n")
    made = status.to_status(error)
    assert made.ByteSize() <= status.STATUS_BYTES
    again = status.from_status(made)
    assert same(again, errors.FieldInvalid("No.", retry_after=timedelta(seconds=1)))


@settings(max_examples=60, deadline=None)
@given(
    sentence=st.text(max_size=50).map(lambda text: text * 60),
    metadata=st.dictionaries(
        st.text(min_size=1, max_size=200), st.text(max_size=20).map(lambda t: t * 99), max_size=20
    ),
    fields=st.dictionaries(st.text(max_size=100), st.text(max_size=300), max_size=60),
    holders=st.integers(0, 300),
    remedy=st.integers(0, 9_000),
)
def test_a_status_is_never_too_large_and_always_says_its_reason(
    sentence: str, metadata: dict[str, str], fields: dict[str, str], holders: int, remedy: int
) -> None:
    explanation = explanation_pb2.Explanation()
    explanation.remedies.add(sentence="r" * remedy)
    for _ in range(holders):
        explanation.holders.add(host_name="workstation")
    error = errors.FeatureUnknown(sentence, explanation=explanation, fields=fields)
    error.metadata.update(metadata)
    made = status.to_status(error)
    assert made.ByteSize() <= status.STATUS_BYTES
    assert type(status.from_status(made)) is errors.FeatureUnknown


def packed(*details: Any, code: int = code_pb2.NOT_FOUND) -> status_pb2.Status:
    made = status_pb2.Status(code=code, message="No.")
    for detail in details:
        made.details.add().Pack(detail)
    return made


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (code_pb2.NOT_FOUND, errors.NotFound),
        (code_pb2.UNAVAILABLE, errors.Unreachable),
        (code_pb2.UNAUTHENTICATED, errors.SignInRequired),
        (code_pb2.DATA_LOSS, errors.Internal),
        (99, errors.Internal),
    ],
)
def test_a_reason_of_a_newer_server_becomes_the_nearest_by_code(
    code: int, expected: type[KeypegError]
) -> None:
    info = error_details_pb2.ErrorInfo(
        reason="ORBIT_WRONG", domain="keypeg", metadata={"sentence": "x", "self": "y"}
    )
    error = status.from_status(packed(info, code=code))
    assert type(error) is expected
    assert error.sentence == "No."
    assert error.metadata == {"reason": "ORBIT_WRONG", "sentence": "x", "self": "y"}


def test_another_domain_s_reason_is_not_taken_for_ours() -> None:
    info = error_details_pb2.ErrorInfo(reason="POOL_EXHAUSTED", domain="example.com")
    error = status.from_status(packed(info))
    assert type(error) is errors.NotFound
    assert error.metadata == {}


def test_details_that_cannot_be_read_are_passed_over() -> None:
    made = status.to_status(errors.PoolRule("No.", rule="r"))
    broken = made.details.add()
    broken.type_url = "type.googleapis.com/google.rpc.RetryInfo"
    broken.value = b"\xff"
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.seconds = 2**62
    made.details.add().Pack(retry)
    assert same(status.from_status(made), errors.PoolRule("No.", rule="r"))


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_of_trailing_metadata_are_an_error_or_nothing(data: bytes) -> None:
    found = status.from_trailing_metadata([("grpc-status-details-bin", data)])
    assert found is None or isinstance(found, KeypegError)


def test_trailing_metadata_without_details_is_nothing() -> None:
    assert status.from_trailing_metadata(None) is None
    assert status.from_trailing_metadata([("x-request-id", "1")]) is None


def test_an_error_explains_itself_by_its_sentence_and_variables() -> None:
    explained = status.explain(errors.QueueFull("The queue is full; come back.", pool="pools/p1"))
    assert explained.reason == error_pb2.REASON_QUEUE_FULL
    assert explained.sentence == "The queue is full; come back."
    assert dict(explained.metadata) == {"pool": "pools/p1"}


def test_an_explanation_keeps_what_it_says_and_goes_both_ways() -> None:
    own = explanation_pb2.Explanation(sentence="Ada has it.", metadata={"pool": "pools/p2"})
    other = explanation_pb2.Explanation(reason=error_pb2.REASON_POOL_RULE)
    kept = status.explain(errors.PoolExhausted("Held.", explanation=other))
    assert kept.reason == error_pb2.REASON_POOL_RULE
    own.remedies.add(action="wait")
    error = errors.PoolExhausted("Held.", explanation=own, pool="pools/p1", held="1")
    explained = status.explain(error)
    assert explained.sentence == "Ada has it."
    assert dict(explained.metadata) == {"pool": "pools/p2", "held": "1"}
    assert own.reason == error_pb2.REASON_UNSPECIFIED  # the error's own is left as it was
    again = status.from_explanation(explained)
    assert type(again) is errors.PoolExhausted
    assert again.sentence == "Ada has it."
    assert again.explanation == explained


@pytest.mark.parametrize("number", [0, 9_999])
def test_an_explanation_of_an_unknown_reason_is_internal(number: int) -> None:
    explanation = explanation_pb2.Explanation()
    explanation.reason = number  # type: ignore[assignment]
    error = status.from_explanation(explanation)
    assert type(error) is errors.Internal
    assert error.sentence
