"""One class per reason, equal to the contract's list."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import timedelta

import pytest

from keypeg import errors
from keypeg.errors import KeypegError, Reason, error_class
from keypeg.v1 import error_pb2, explanation_pb2

FLOOR = (
    "document",
    "envelope",
    "errors",
    "fingerprint",
    "ids",
    "instants",
    "names",
    "possession",
    "proof",
    "sessionkey",
    "status",
)


def test_reasons_are_those_of_the_contract() -> None:
    contract = {
        name.removeprefix("REASON_"): number
        for name, number in error_pb2.Reason.items()
        if number != error_pb2.REASON_UNSPECIFIED
    }
    assert {reason.name: reason.value for reason in Reason} == contract


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_every_reason_has_a_class_that_says_when_it_is_raised(reason: Reason) -> None:
    cls = error_class(reason)
    assert cls.reason is reason
    assert getattr(errors, cls.__name__) is cls
    assert cls.__doc__ is not None
    assert cls.__doc__.endswith(".")
    assert cls.__doc__ != KeypegError.__doc__


def test_str_and_repr_show_the_sentence_and_no_variable() -> None:
    error = errors.TokenExpired("Sign in again.", token="kp-secret")
    assert str(error) == "Sign in again."
    assert repr(error) == "TokenExpired('Sign in again.')"
    assert error.metadata == {"token": "kp-secret"}


def test_what_is_not_given_is_empty_and_not_common_to_all() -> None:
    one, other = errors.Busy("Wait."), errors.Busy("Wait.")
    one.metadata["queue"] = "1"
    one.fields["units"] = "too many"
    assert (other.metadata, other.fields) == ({}, {})
    assert (other.explanation, other.retry_after) == (None, None)


def test_an_error_survives_pickling() -> None:
    error = errors.FieldInvalid(
        "units is 0; use 1 or more.",
        fields={"units": "is 0"},
        retry_after=timedelta(seconds=2),
        explanation=explanation_pb2.Explanation(sentence="x"),
        value="0",
    )
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is errors.FieldInvalid
    assert vars(again) == vars(error)


def test_a_class_below_keeps_the_reason_and_a_second_class_of_a_reason_is_refused() -> None:
    class Mine(errors.LeaseExpired):
        """An app's own."""

    assert Mine.reason is Reason.LEASE_EXPIRED
    assert error_class(Reason.LEASE_EXPIRED) is errors.LeaseExpired
    with pytest.raises(AssertionError, match="two classes"):
        type("Twice", (KeypegError,), {}, reason=Reason.BUSY)


def loaded_after(code: str) -> set[str]:
    script = f"{code}; import sys; print(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_floor_loads_no_grpc() -> None:
    loaded = loaded_after("import " + ", ".join(f"keypeg.{name}" for name in FLOOR))
    assert {"keypeg", "google", "cryptography"} <= loaded
    assert not loaded & {"grpc", "asyncio", "sqlite3", "click", "keypeg_server", "keypeg_bridge"}


def test_errors_and_ids_and_names_load_no_protobuf() -> None:
    loaded = loaded_after("import keypeg.errors, keypeg.ids, keypeg.names")
    assert not loaded & {"grpc", "google", "cryptography"}
