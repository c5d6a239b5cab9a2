"""The system's keyring: everything that can be the matter with it."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable

import pytest

from keypeg import keyring_trouble, system_keyring
from keypeg.keyring_trouble import KeyringTrouble, Trouble
from keypeg.testing import FakeClock
from tests.client.vaults import MemoryBackend, SlowBackend, keyring_of


class KeyringLocked(Exception):
    """As the library's own, which need not be installed."""


class NoKeyringError(Exception):
    """As the library's own."""


class SecretServiceNotAvailableException(Exception):
    """As the library's own."""


with_library = pytest.mark.skipif(
    importlib.util.find_spec("keyring") is None,
    reason="the library keyring is not installed: pip install 'keypeg[keyring]'",
)

FAULTS = {
    "locked": (KeyringLocked("s3cret"), Trouble.LOCKED),
    "none": (NoKeyringError("s3cret"), Trouble.ABSENT),
    "no bus": (SecretServiceNotAvailableException("s3cret"), Trouble.ABSENT),
    "a library is missing": (ModuleNotFoundError("s3cret"), Trouble.NOT_INSTALLED),
    "refuses": (RuntimeError("s3cret"), Trouble.REFUSED),
    "the system refuses": (OSError(5, "s3cret"), Trouble.REFUSED),
    "trouble": (KeyringTrouble(Trouble.CUT), Trouble.CUT),
}


@pytest.mark.parametrize(("fault", "trouble"), FAULTS.values(), ids=FAULTS)
def test_what_a_backend_raises_is_trouble_and_tells_none_of_its_text(
    fault: Exception, trouble: Trouble
) -> None:
    backend = MemoryBackend()
    vault = keyring_of(backend)
    vault.set("lab", "s3cret")
    backend.fault = fault
    calls: tuple[Callable[[], object], ...] = (
        vault.check,
        lambda: vault.get("lab"),
        lambda: vault.set("lab", "s3cret"),
        lambda: vault.delete("lab"),
    )
    for call in calls:
        with pytest.raises(KeyringTrouble) as raised:
            call()
        assert raised.value.trouble is trouble
        assert "s3cret" not in f"{raised.value} {raised.value.what} {raised.value.to_do}"
    backend.fault = None
    assert vault.get("lab") == "s3cret"


def test_one_that_does_not_answer_is_given_up_and_left_alone_for_a_minute() -> None:
    backend, clock = SlowBackend(), FakeClock()
    vault = system_keyring.SystemKeyring(backend.opened, clock, answer_time=0.05)
    with pytest.raises(KeyringTrouble, match=r"0\.05 s") as raised:
        vault.get("lab")
    assert raised.value.trouble is Trouble.SLOW
    assert backend.asked.wait(30)
    backend.asked.clear()
    backend.over.set()
    with pytest.raises(KeyringTrouble) as raised:
        vault.get("lab")
    assert raised.value.trouble is Trouble.SLOW
    assert not backend.asked.is_set(), "left alone"
    clock.advance(61)
    with contextlib.suppress(KeyringTrouble):  # its answer may be late, where much else is done
        vault.get("lab")
    assert backend.asked.wait(30), "asked again"


def test_taking_away_what_is_not_there_is_fine() -> None:
    vault = keyring_of(MemoryBackend())
    vault.delete("lab")
    vault.set("lab", "one")
    vault.delete("lab")
    assert vault.get("lab") is None


def test_every_trouble_says_what_to_do() -> None:
    for trouble in Trouble:
        error = KeyringTrouble(trouble)
        assert error.what
        assert error.to_do
        assert keyring_trouble.trouble_of(error) is error


@with_library
@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="they need no session bus")
def test_without_a_session_bus_there_is_none() -> None:
    with pytest.raises(KeyringTrouble) as raised:
        system_keyring.find({})
    assert raised.value.trouble is Trouble.ABSENT
    assert "DBUS_SESSION_BUS_ADDRESS" in raised.value.what


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KeyringTrouble) as raised:
        system_keyring.find({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/none"})
    assert raised.value.trouble is Trouble.NOT_INSTALLED
    assert "keypeg[keyring]" in raised.value.to_do


@with_library
@pytest.mark.parametrize(
    "named",
    ["keyring.backends.null.Keyring", "keyring.backends.fail.Keyring", "no.such.Keyring"],
)
def test_another_than_the_systems_is_never_used(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", named)
    with pytest.raises(KeyringTrouble) as raised:
        system_keyring.SystemKeyring(system_keyring.system_backend).check()
    assert raised.value.trouble is Trouble.ABSENT


@with_library
@pytest.mark.parametrize("address", ["unix:path=/none", "nonsense", "tcp:host=127.0.0.1,port=1"])
def test_a_session_bus_that_is_not_there_is_no_keyring(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    with pytest.raises(KeyringTrouble) as raised:
        system_keyring.SystemKeyring(system_keyring.system_backend).check()
    assert raised.value.trouble is Trouble.ABSENT
