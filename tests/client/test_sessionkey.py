"""Session keys, and the codes of frames."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from keypeg import sessionkey
from keypeg.errors import FieldInvalid, FrameForged
from keypeg.sessionkey import FrameAuthenticator, KeyShare
from keypeg.v1.seat_pb2 import Lease

SESSION = "sessions/s1"
NONCE = bytes(range(32))


def lease(
    name: str = "pools/p/leases/e", units: int = 1, fencing: int = 7, **features: int
) -> Lease:
    made = Lease(name=name, units=units, fencing_number=fencing)
    for feature, count in features.items():
        made.features.add(feature=feature, units=count)
    return made


def test_both_ends_agree_on_the_same_key() -> None:
    client, server = KeyShare.generate(), KeyShare.generate()
    key = client.agree(server.public, NONCE, SESSION)
    assert key == server.agree(client.public, NONCE, SESSION)
    assert len(key) == 32


def test_another_nonce_session_or_peer_gives_another_key() -> None:
    client, server, other = (KeyShare.generate() for _ in range(3))
    keys = {
        client.agree(server.public, NONCE, SESSION),
        client.agree(server.public, NONCE[::-1], SESSION),
        client.agree(server.public, NONCE, "sessions/s2"),
        client.agree(other.public, NONCE, SESSION),
    }
    assert len(keys) == 4


@pytest.mark.parametrize("share", [b"", bytes(31), bytes(33), bytes(32), b"\x01" + bytes(31)])
def test_a_share_that_is_none_or_makes_the_key_guessable_is_refused(share: bytes) -> None:
    with pytest.raises(FieldInvalid) as refused:
        KeyShare.generate().agree(share, NONCE, SESSION)
    assert set(refused.value.fields) == {"key_share"}


def test_secrets_are_in_no_repr() -> None:
    private = bytes(range(32))
    assert private.hex() not in repr(KeyShare(private))
    assert repr(FrameAuthenticator(private)) == "FrameAuthenticator()"


@pytest.mark.parametrize("length", [0, 16, 33])
def test_a_key_of_another_length_is_a_mistake_of_the_program(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        FrameAuthenticator(bytes(length))


def test_every_code_differs_by_kind_of_frame_and_by_every_part() -> None:
    codes = FrameAuthenticator(bytes(32))
    made = [
        codes.renew(1, b""),
        codes.renew(2, b""),
        codes.renew(1, NONCE),
        codes.renewed(1, 0),
        codes.renewed(1, 60_000_000),
        codes.resume(1, SESSION, NONCE, b""),
        codes.resume(1, SESSION, b"", NONCE),
        codes.resume(1, "", SESSION.encode(), NONCE),
        codes.opened(1, SESSION, 60, False, []),
        codes.opened(1, SESSION, 60, True, []),
        codes.opened(1, SESSION, 60, False, [lease()]),
        codes.opened(1, SESSION, 60, False, [lease(), lease()]),
        codes.opened(1, SESSION, 60, False, [lease(name="pools/p/leases/f")]),
        codes.acquired(1, "r", lease()),
        codes.acquired(0, "r", lease()),
        codes.acquired(1, "s", lease()),
        codes.acquired(1, "r", lease(units=2)),
        codes.acquired(1, "r", lease(fencing=8)),
        codes.acquired(1, "r", lease(render=1)),
        codes.acquired(1, "r", lease(render=2)),
        codes.acquired(1, "r", lease(export=1)),
        codes.acquired(1, "r", lease(render=1, export=1)),
        FrameAuthenticator(b"\1" + bytes(31)).renew(1, b""),
    ]
    assert len(set(made)) == len(made)
    assert {len(one) for one in made} == {16}


def test_a_code_is_the_same_each_time() -> None:
    codes = FrameAuthenticator(bytes(32))
    assert (
        codes.renew(1, NONCE)
        == codes.renew(1, NONCE)
        == FrameAuthenticator(bytes(32)).renew(1, NONCE)
    )


@pytest.mark.parametrize("given", [b"", bytes(15), bytes(16), bytes(17)])
def test_another_code_is_forged(given: bytes) -> None:
    right = FrameAuthenticator(bytes(32)).renew(1, b"")
    sessionkey.check(right, right, "renew")
    with pytest.raises(FrameForged) as refused:
        sessionkey.check(right, given, "renew")
    assert refused.value.metadata == {"frame": "renew"}
    assert right.hex() not in str(refused.value)


def test_durations_are_covered_in_whole_microseconds() -> None:
    assert sessionkey.microseconds(Duration(seconds=60, nanos=1_999)) == 60_000_001
    assert sessionkey.microseconds(Duration()) == 0
    assert sessionkey.microseconds(Duration(seconds=-5)) == 0
