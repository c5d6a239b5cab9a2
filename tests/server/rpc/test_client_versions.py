"""Old clients at the gate: what they hear, and what they may still do."""

from __future__ import annotations

import pytest

from keypeg.errors import FieldInvalid, UpdateRequired
from keypeg_server.rpc.authorization import TABLE
from keypeg_server.rpc.client_versions import ALWAYS, ANY, ClientVersions

OLD = (("te", "trailers"), ("user-agent", "keypeg-python/0.0.9 grpc-python/1.80.0"))


def test_an_old_client_is_told_the_version_that_it_needs() -> None:
    versions = ClientVersions("0.1")
    with pytest.raises(UpdateRequired, match=r"keypeg 0\.1 or newer") as refused:
        versions.check(OLD)
    assert refused.value.metadata == {
        "component": "client",
        "version": "0.0.9",
        "minimum_version": "0.1",
    }
    versions.check((("user-agent", b"keypeg-python/0.1.0"),))
    versions.check((("user-agent", "curl/8"),))
    versions.check(())
    versions.check(None)


def test_what_gives_back_and_what_is_everyones_is_open_to_any_client() -> None:
    versions = ClientVersions("0.1")
    assert set(TABLE) >= ALWAYS
    looked_at = {method for method in TABLE if versions.looks_at(method)}
    assert looked_at == {one for one in TABLE if one.startswith("/keypeg.")} - ALWAYS
    assert not any(map(ANY.looks_at, TABLE)), "costs nothing where it is not set"


def test_a_setting_that_is_no_version_is_refused_at_the_start() -> None:
    with pytest.raises(FieldInvalid, match=r"clients\.minimum_version is dotted numbers"):
        ClientVersions("newest")
