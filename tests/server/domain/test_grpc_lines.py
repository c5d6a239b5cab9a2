"""What is made of gRPC's own lines: recorded ones, and whatever a client has put into them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_server.domain.grpc_lines import LAST, SAID, WHY, last_words, records

PLACE = "I1122 14:58:39.732290    5603 ssl_transport_security.cc:2563] "
FAILED = "Handshake failed with error SSL_ERROR_SSL: error:100000f7:SSL routines:OPENSSL_internal:"
NO_DETAIL = ": Invalid certificate verification context"
WARNING = "W1122 15:03:01.862640    9643 tcp_server.cc:102] no more file descriptors"
NOISE = "W1122 15:03:01.862640    9643 log.cc:102] Log level INFO is not suitable for production."
NAME = (
    "E1122 15:03:08.083479    9649 ssl_transport_security.cc:3238] No match found for server name: "
)

HANDSHAKES = {
    "plain text": ("WRONG_VERSION_NUMBER" + NO_DETAIL, "no TLS: plain text, or another protocol"),
    "plain HTTP": ("HTTP_REQUEST" + NO_DETAIL, "no TLS: plain HTTP"),
    "TLS 1.1": ("UNSUPPORTED_PROTOCOL" + NO_DETAIL, "no version of TLS from 1.2 on"),
    "untrusting, TLS 1.2": (
        "TLSV1_ALERT_UNKNOWN_CA",
        "the client does not trust this server's certificate",
    ),
    "untrusting, TLS 1.3": (
        "BAD_PACKET_LENGTH",
        "the client broke off: it may not trust this server's certificate",
    ),
    "no certificate": (
        "PEER_DID_NOT_RETURN_A_CERTIFICATE" + NO_DETAIL,
        "the client showed no certificate",
    ),
    "another authority": (
        "CERTIFICATE_VERIFY_FAILED: self signed certificate",
        "the client's certificate is not of this server's authority",
    ),
    "ended": (
        "CERTIFICATE_VERIFY_FAILED: certificate has expired",
        "the client's certificate has ended",
    ),
    "unknown": ("SOMETHING_NEW", "as the reason says"),
}


@pytest.mark.parametrize("said", HANDSHAKES)
def test_a_handshake_that_failed_has_its_reason_in_plain_words(said: str) -> None:
    text, why = HANDSHAKES[said]
    (record,) = records(PLACE + FAILED + text + "\n")
    reason, _, detail = text.partition(": ")
    exactly = {} if detail == NO_DETAIL[2:] or not detail else {"detail": detail}
    assert (record.event, record.level) == ("handshake failed", "info")
    assert record.fields == {"reason": reason, "why": why, **exactly}


def test_a_handshake_without_a_reason_of_the_library_has_the_kind_of_its_error() -> None:
    (record,) = records(PLACE + "Handshake failed with error SSL_ERROR_SYSCALL")
    assert record.fields == {"reason": "SSL_ERROR_SYSCALL", "why": "as the reason says"}


def test_warnings_and_errors_are_told_by_their_place_and_the_rest_is_not() -> None:
    text = "\n".join([WARNING, NOISE, PLACE + "all is well", WARNING.replace("W", "E", 1)])
    warning, error = records(text)
    assert (warning.event, warning.level) == ("gRPC says", "warning")
    assert warning.fields == {"place": "tcp_server.cc:102", "said": "no more file descriptors"}
    assert (error.level, error.kind) == ("error", warning.kind)


def test_a_client_that_asks_for_another_server_is_no_error_of_this_one() -> None:
    one, other = records(f"{NAME}a.example\n{NAME}b.example\n")
    assert (one.level, one.fields) == ("info", {"name": "a.example"})
    assert one.kind == other.kind, "who makes names up fills no log"


def test_what_is_no_line_of_grpc_s_is_told_as_one() -> None:
    first, others = records(f"Traceback:\n  File x\n{WARNING}\nMemoryError\n")
    assert first.event == "gRPC says"
    assert others.event == "words on standard error"
    assert others.fields == {"said": "Traceback: |   File x | MemoryError"}


def test_last_words_are_what_may_have_to_do_with_an_end() -> None:
    told = PLACE + FAILED + "HTTP_REQUEST" + NO_DETAIL
    assert last_words(f"{told}\n{NOISE}\n") == ""
    fatal = "F1122 15:03:01.862640    9643 work.cc:7] Check failed: x"
    assert last_words(f"{told}\n{fatal}\n*** aborted") == f"{fatal} | *** aborted"
    assert last_words("x" * 9_000 + "end").endswith("xend"), "the end is what counts"


@given(st.text(max_size=9_000), st.sampled_from(["", PLACE + FAILED, NAME, WARNING]))
def test_whatever_is_in_them_comes_out_printable_and_bounded(text: str, before: str) -> None:
    for record in records(before + text):
        for value in record.fields.values():
            assert value.isprintable()
            assert len(value) <= max(LAST + 4, SAID)
        assert sum(map(len, record.kind)) <= 2 * LAST
    assert last_words(before + text).isprintable()


def test_why_is_a_sentence_s_part_for_each_reason() -> None:
    assert all(reason.isupper() and why and why[-1] != "." for reason, why in WHY.items())
