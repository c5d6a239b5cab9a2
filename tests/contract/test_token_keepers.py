"""Whoever keeps tokens: the file, the keyring, the place that a profile chooses, and memory."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from keypeg.errors import FieldInvalid
from keypeg.token_file import Tokens
from keypeg.token_keeping import FileKeeper, Keeper, KeyringKeeper, MemoryKeeper, alone
from keypeg.token_place import PlacedKeeper, Setting
from tests.client.vaults import MemoryBackend, keyring_of

FIRST = Tokens("kpa_first", 1_790_000_000.5, "kpr_first", "0199aaaa-0000-7000-8000-000000000001")
SECOND = Tokens("kpa_second", 1_790_000_900.0, "kpr_second")
LASTING = Tokens("a-token-that-nothing-follows")

Another = Callable[[], Keeper]
"""Another keeper of the same tokens, as in another program."""


def _file(path: Path) -> Another:
    return lambda: FileKeeper(path)


def _keyring(path: Path) -> Another:
    vault = keyring_of(MemoryBackend())
    return lambda: KeyringKeeper(lambda: vault, "lab of /home/ada", path)


def _placed(setting: Setting) -> Callable[[Path], Another]:
    def made(path: Path) -> Another:
        vault = keyring_of(MemoryBackend())
        return lambda: PlacedKeeper(path, setting, lambda: vault)

    return made


def _memory(path: Path) -> Another:
    one = MemoryKeeper(Tokens(""))
    return lambda: one


KEEPERS = {
    "file": _file,
    "keyring": _keyring,
    "auto": _placed(Setting.AUTO),
    "file wanted": _placed(Setting.FILE),
    "keyring wanted": _placed(Setting.KEYRING),
    "memory": _memory,
}


@pytest.fixture(params=KEEPERS.values(), ids=list(KEEPERS))
def another(request: pytest.FixtureRequest, tmp_path: Path) -> Another:
    made: Another = request.param(tmp_path / "config" / "tokens" / "lab")
    return made


def test_nothing_is_kept_at_first(another: Another) -> None:
    assert another().load() == Tokens("")


@pytest.mark.parametrize("tokens", [FIRST, SECOND, LASTING], ids=["asked", "got", "lasting"])
def test_what_is_stored_is_what_others_load(another: Another, tokens: Tokens) -> None:
    another().store(tokens)
    assert another().load() == tokens


def test_the_last_stored_stands_in_place_of_the_one_before(another: Another) -> None:
    keeper = another()
    for tokens in (FIRST, SECOND, LASTING, FIRST):
        keeper.store(tokens)
        assert another().load() == tokens


def test_what_is_forgotten_is_gone_and_may_be_forgotten_again(another: Another) -> None:
    keeper = another()
    keeper.forget()
    keeper.store(FIRST)
    keeper.forget()
    assert another().load() == Tokens("")
    keeper.forget()
    keeper.store(SECOND)
    assert another().load() == SECOND


def test_one_who_is_alone_stores_and_loads(another: Another) -> None:
    keeper = another()
    with keeper.alone():
        keeper.store(FIRST)
        assert keeper.load() == FIRST


@pytest.mark.parametrize("name", [name for name in KEEPERS if name != "memory"])
def test_a_second_one_waits_until_the_first_is_done(name: str, tmp_path: Path) -> None:
    another = KEEPERS[name](tmp_path / "tokens" / "lab")
    seen: list[Tokens] = []

    def second() -> None:
        keeper = another()
        with keeper.alone():
            seen.append(keeper.load())

    first = another()
    with first.alone():
        waiting = threading.Thread(target=second)
        waiting.start()
        first.store(FIRST)
        assert seen == []
        first.store(SECOND)
    waiting.join(30)
    assert seen == [SECOND]


def _hold(path: Path, held: threading.Event, done: threading.Event) -> None:
    with alone(path):
        held.set()
        done.wait(30)


def test_the_lock_ends_with_the_process_that_has_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    path = tmp_path / "lab"
    other = context.Process(target=_hold, args=(path, held, done))
    other.start()
    assert held.wait(30)
    other.kill()
    other.join(30)
    with alone(path):
        pass


def test_a_directory_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nowhere = alone(tmp_path / "file" / "tokens" / "lab")
    with pytest.raises(FieldInvalid, match=r"lab\.lock.*KEYPEG_CONFIG_DIR"), nowhere:
        raise AssertionError("nobody is alone there")


def test_no_secret_of_a_keyring_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens" / "lab"
    backend = MemoryBackend()
    PlacedKeeper(path, Setting.AUTO, lambda: keyring_of(backend)).store(FIRST)
    assert b"kp" not in path.read_bytes().replace(b"kept_in", b"")
    assert path.stat().st_mode & 0o077 == 0
    assert list(backend.entries) == [("keypeg", f"lab of {tmp_path}")]
