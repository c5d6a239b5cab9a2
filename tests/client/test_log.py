"""The log's chain and its verification, on logs made here: every change is found, where it was made."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keypeg import log, log_verification
from keypeg.document import DELEGATION_TYPE, Ed25519Signer, seal
from keypeg.errors import FieldInvalid
from keypeg.v1 import document_pb2, log_pb2

NAME = "accounts/acme/logs/main"
PUBLISHER = "publishers/acme"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROOT, KEY = Ed25519Signer(bytes(range(32))), Ed25519Signer(bytes(range(1, 33)))


def delegation(*purposes: document_pb2.Purpose.ValueType) -> bytes:
    message = document_pb2.Delegation(publisher=PUBLISHER, generation=1)
    key = message.keys.add(public_key=KEY.public_key, purposes=purposes)
    key.not_before_time.FromDatetime(NOW - timedelta(days=1))
    key.not_after_time.FromDatetime(NOW + timedelta(days=1))
    message.issue_time.FromDatetime(NOW)
    return seal(message, DELEGATION_TYPE, ROOT).SerializeToString()


KEYS = delegation(document_pb2.PURPOSE_LOG)


def body(number: int) -> bytes:
    return json.dumps({"event": "granted", "time": number, "units": 1}).encode()


class Written:
    """A log as a server writes it."""

    def __init__(self, name: str = NAME, keys: bytes = KEYS) -> None:
        self.name = name
        self.keys = keys
        self.hashes = [log.genesis(name)]
        self.bodies: list[bytes] = []
        self.heads: list[int] = []

    def add(self, *bodies: bytes) -> None:
        for one in bodies:
            self.bodies.append(one)
            self.hashes.append(log.chained(self.hashes[-1], one))

    def head(self, number: int, occasion: log_pb2.LogOccasion.ValueType) -> bytes:
        made = log_pb2.LogHead(
            log=self.name,
            sequence=number,
            hash=self.hashes[number],
            occasion=occasion,
            publisher=PUBLISHER,
        )
        made.issue_time.FromDatetime(NOW)
        return log.head_line(log.sign_head(made, KEY).SerializeToString())

    def export(self, after: int = 0) -> list[bytes]:
        lines = [
            log.FIRST_LINE,
            log.begin_line(self.name, after, self.hashes[after], self.keys),
        ]
        for number in range(after + 1, len(self.hashes)):
            lines.append(log.record_line(number, self.hashes[number], self.bodies[number - 1]))
            if number in self.heads:
                lines.append(self.head(number, log_pb2.LOG_OCCASION_PERIOD))
        lines.append(self.head(len(self.bodies), log_pb2.LOG_OCCASION_EXPORT))
        return lines


def written(count: int = 20, heads: tuple[int, ...] = (5, 10)) -> Written:
    made = Written()
    made.add(*(body(number) for number in range(1, count + 1)))
    made.heads = list(heads)
    return made


def found(lines: list[bytes], **how) -> list[tuple[str, int]]:
    verdict = log_verification.verify(lines, root=ROOT.public_key.key, **how)
    assert verdict.ok is (not verdict.findings)
    return [(one.kind, one.sequence) for one in verdict.findings]


def line_of(lines: list[bytes], number: int) -> int:
    return next(at for at, line in enumerate(lines) if line.startswith(b"record %d " % number))


def test_a_log_as_it_was_written_is_whole() -> None:
    verdict = log_verification.verify(written().export(), root=ROOT.public_key.key)
    assert verdict.ok
    (one,) = verdict.logs
    assert (one.record_count, one.head_count, one.last.sequence) == (20, 3, 20)
    assert one.last == log.Seen.parse(str(one.last))


def test_an_empty_log_is_whole() -> None:
    assert found(Written().export()) == []


def test_several_logs_in_one_file() -> None:
    other = Written("accounts/acme/logs/other")
    other.add(body(1))
    assert found([*written().export(), *other.export()[1:]]) == []
    assert found([*written().export(), *written().export()[1:]]) == [("malformed", 0)]


def test_without_a_root_only_the_file_vouches_for_its_keys() -> None:
    verdict = log_verification.verify(written().export())
    assert verdict.ok
    assert not verdict.pinned


@pytest.mark.parametrize("number", [1, 2, 5, 6, 10, 11, 19])
def test_a_record_that_is_cut_out_is_missed_where_it_was(number: int) -> None:
    lines = written().export()
    del lines[line_of(lines, number)]
    kinds = found(lines)
    assert kinds[0] == ("cut", number - 1 if number in (5, 10) else number + 1)


def test_the_end_cut_off_is_missed() -> None:
    lines = written().export()
    assert found(lines[:-1]) == [("cut", 20)]
    assert found(lines[: line_of(lines, 10) + 2]) == [("cut", 10)]  # ends in a signed head
    assert found(lines[: line_of(lines, 7)]) == [("cut", 6)]
    assert found(lines[:1]) == [("cut", 0)]
    assert found([]) == [("cut", 0)]
    # The last records, but not the head over them.
    assert found(lines[: line_of(lines, 20)] + lines[-1:]) == [("cut", 19), ("cut", 19)]


def test_a_beginning_cut_off_is_missed_unless_the_log_says_that_it_was_removed() -> None:
    made = written()
    assert found(made.export(after=5)) == [("cut", 5)]
    made.add(b'{"event":"log_removed","time":21,"through":5}')
    assert found(made.export(after=5)) == []
    assert found(made.export(after=10)) == [("cut", 10)]


@pytest.mark.parametrize("number", [1, 5, 12, 20])
def test_an_edited_record_is_located(number: int) -> None:
    lines = written().export()
    at = line_of(lines, number)
    lines[at] = lines[at].replace(b'"units": 1', b'"units": 2')
    assert found(lines) == [("edited", number)]


def test_an_edited_record_with_a_hash_of_its_own_breaks_the_next_link_or_the_head() -> None:
    made = written()
    for number, expected in ((12, ("edited", 13)), (5, ("edited", 5)), (20, ("edited", 20))):
        lines = made.export()
        forged = body(number).replace(b"1}", b"2}")
        lines[line_of(lines, number)] = log.record_line(
            number, log.chained(made.hashes[number - 1], forged), forged
        )
        assert expected in found(lines)


def test_a_log_that_is_hashed_anew_breaks_the_next_head() -> None:
    made, forged = written(), written()
    forged.bodies[6] = body(99)
    forged.hashes = forged.hashes[:1]
    for one in forged.bodies:
        forged.hashes.append(log.chained(forged.hashes[-1], one))
    lines = [
        line if line.startswith(b"head") else new
        for line, new in zip(made.export(), forged.export(), strict=True)
    ]
    assert found(lines) == [("edited", 10), ("edited", 20), ("cut", 20)]
    sentence = log_verification.verify(lines, root=ROOT.public_key.key).findings[0].sentence
    assert "record 6 to 10" in sentence


def test_records_that_changed_places_are_located() -> None:
    lines = written().export()
    first, second = line_of(lines, 12), line_of(lines, 13)
    lines[first], lines[second] = lines[second], lines[first]
    assert found(lines) == [("reordered", 12)]
    lines = written().export()
    lines.insert(line_of(lines, 15), lines[line_of(lines, 3)])  # once more
    assert found(lines) == [("reordered", 3)]


def test_a_log_that_was_rolled_back_is_older_than_what_was_seen() -> None:
    now, before = written(20), written(10, (5,))
    seen = log.Seen(20, now.hashes[20])
    for name in ("", NAME):
        assert found(before.export(), seen={name: seen}) == [("rolled_back", 10)]
        assert found(now.export(), seen={name: seen}) == []
    assert found(now.export(), seen={"": log.Seen(10, before.hashes[10])}) == []
    assert found(now.export(), seen={"accounts/acme/logs/gone": seen}) == [("rolled_back", 0)]


def test_a_log_that_was_rolled_back_and_went_on_is_another_one() -> None:
    seen = log.Seen(15, written().hashes[15])
    again = written(12, (5,))
    again.add(*(body(number + 100) for number in range(10)))
    assert found(again.export(), seen={"": seen}) == [("rolled_back", 15)]


def test_another_signer_or_purpose_is_not_believed() -> None:
    lines = written().export()
    other = log_verification.verify(lines, root=bytes(32))
    assert [one.kind for one in other.findings] == ["signature", "cut"]
    made = written()
    made.keys = delegation(document_pb2.PURPOSE_GRANT)
    assert {kind for kind, _ in found(made.export())} == {"signature", "cut"}
    forged = written().export()
    envelope = document_pb2.Envelope.FromString(base64.b64decode(forged[-1].split()[1]))
    head = log_pb2.LogHead.FromString(envelope.payload)
    stranger = Ed25519Signer.generate()
    forged[-1] = log.head_line(log.sign_head(head, stranger).SerializeToString())
    assert found(forged) == [("signature", 0), ("cut", 20)]


def test_what_the_server_found_itself_is_reported() -> None:
    made = written()
    made.add(b'{"event":"log_broken","time":21,"why":"Record 7 was changed."}')
    assert found(made.export()) == [("reported", 21)]


@pytest.mark.parametrize("text", ["", "12", "x:" + "0" * 64, "1:00", "01:" + "0" * 64])
def test_a_head_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(FieldInvalid, match="NUMBER:HASH"):
        log.Seen.parse(text)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_change_of_a_byte_passes(data: st.DataObject) -> None:
    """Whatever byte of an export is another, something is found, and nothing is raised."""
    whole = b"\n".join(written(6, (3,)).export()) + b"\n"
    at = data.draw(st.integers(0, len(whole) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != whole[at]))
    copy = whole[:at] + bytes([byte]) + whole[at + 1 :]
    changed = [line + b"\n" for line in copy.split(b"\n")[:-1]]
    verdict = log_verification.verify(changed, root=ROOT.public_key.key)
    # A base64 text has bits that no byte needs, and a delegation and head are verified, not compared.
    in_text = whole[: at + 1].rpartition(b"\n")[2].startswith((b"head ", b"log "))
    assert verdict.findings or in_text


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_any_bytes_are_judged(lines: list[bytes]) -> None:
    verdict = log_verification.verify(lines, root=ROOT.public_key.key)
    assert not verdict.ok
    log_verification.verify([log.FIRST_LINE, *lines])
