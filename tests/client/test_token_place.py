"""Where tokens are, by what was set; moving from place to place; kills in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from keypeg.errors import FieldInvalid, SignInRequired
from keypeg.token_file import IN_KEYRING, Tokens
from keypeg.token_place import Place, PlacedKeeper, Setting
from tests.client.vaults import MemoryBackend, keyring_of

OLD = Tokens("kpa_old", 1_790_000_000.0, "kpr_old")
NEW = Tokens("kpa_new", 1_790_000_900.0, "kpr_new")


class KeyringLocked(Exception):
    """As the library's own."""


class Desk:
    """A profile, and a keyring that does as told."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tokens" / "lab"
        self.backend = MemoryBackend()
        self.vault = keyring_of(self.backend)

    def keeper(self, setting: str = "auto") -> PlacedKeeper:
        return PlacedKeeper(self.path, Setting(setting), lambda: self.vault)

    def put(self, place: Place | None) -> None:
        if place is not None:
            self.keeper(place.value).begin(OLD)

    def lock(self, locked: bool = True) -> None:
        self.backend.fault = KeyringLocked() if locked else None

    @property
    def in_keyring(self) -> bool:
        return bool(self.backend.entries)

    @property
    def in_file(self) -> bool:
        return self.path.exists() and self.path.read_bytes() != IN_KEYRING


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


FILE, KEYRING = Place.FILE, Place.KEYRING

# setting, where tokens are, whether the keyring is locked: where a refresh's are, and a new sign-in's; None: refused
CASES = [
    ("auto", None, False, KEYRING, KEYRING),
    ("auto", FILE, False, FILE, KEYRING),
    ("auto", KEYRING, False, KEYRING, KEYRING),
    ("auto", None, True, FILE, FILE),
    ("auto", FILE, True, FILE, FILE),
    ("auto", KEYRING, True, None, FILE),
    ("keyring", None, False, KEYRING, KEYRING),
    ("keyring", FILE, False, KEYRING, KEYRING),
    ("keyring", KEYRING, False, KEYRING, KEYRING),
    ("keyring", None, True, None, None),
    ("keyring", FILE, True, None, None),
    ("keyring", KEYRING, True, None, None),
    ("file", None, False, FILE, FILE),
    ("file", FILE, False, FILE, FILE),
    ("file", KEYRING, False, FILE, FILE),
    ("file", None, True, FILE, FILE),
    ("file", FILE, True, FILE, FILE),
    ("file", KEYRING, True, FILE, FILE),
]


@pytest.mark.parametrize("first", [False, True], ids=["refresh", "sign-in"])
@pytest.mark.parametrize(("setting", "before", "locked", "refreshed", "begun"), CASES)
def test_tokens_go_where_the_setting_says(
    desk: Desk,
    setting: str,
    before: Place | None,
    locked: bool,
    refreshed: Place | None,
    begun: Place | None,
    first: bool,
) -> None:
    desk.put(before)
    desk.lock(locked)
    keeper = desk.keeper(setting)
    wanted = begun if first else refreshed
    store = keeper.begin if first else keeper.store
    if wanted is None:
        with pytest.raises(FieldInvalid, match=r"locked.*--tokens file"):
            store(NEW)
        desk.lock(False)
        assert desk.keeper().load() == (OLD if before else Tokens(""))
        assert desk.keeper().place() is before
        assert desk.in_file == (before is FILE), "no token was written beside"
        return
    store(NEW)
    assert keeper.place() is wanted
    assert desk.in_file == (wanted is FILE)
    if not locked:
        assert desk.in_keyring == (wanted is KEYRING), "nothing is left where it was"
    desk.lock(False)
    assert desk.keeper().load() == NEW


@pytest.mark.parametrize("setting", ["auto", "file", "keyring"])
@pytest.mark.parametrize("before", [None, FILE, KEYRING])
def test_a_sign_in_moves_to_where_it_was_set_to_be(
    desk: Desk, setting: str, before: Place | None
) -> None:
    desk.put(before)
    desk.keeper(setting).settle()
    wanted = {"auto": before, "file": before and FILE, "keyring": before and KEYRING}[setting]
    assert desk.keeper().place() is wanted
    assert desk.keeper().load() == (OLD if before else Tokens(""))
    assert desk.in_file == (wanted is FILE)
    assert desk.in_keyring == (wanted is KEYRING)


def test_what_is_in_a_locked_keyring_is_told_and_not_taken_for_signed_out(desk: Desk) -> None:
    desk.put(KEYRING)
    desk.lock()
    for setting in ("auto", "keyring", "file"):
        with pytest.raises(SignInRequired, match=r"profile lab .*locked.*unlock.*--tokens file"):
            desk.keeper(setting).load()


def test_forgetting_what_can_not_be_reached_is_refused_and_nothing_is_lost(desk: Desk) -> None:
    desk.put(KEYRING)
    desk.lock()
    with pytest.raises(FieldInvalid, match="locked"):
        desk.keeper().forget()
    desk.lock(False)
    assert desk.keeper().load() == OLD


def test_an_entry_that_somebody_took_away_is_nobody_signed_in(desk: Desk) -> None:
    desk.put(KEYRING)
    desk.backend.entries.clear()
    assert desk.keeper().load() == Tokens("")
    desk.keeper().forget()
    assert desk.keeper().place() is None


@pytest.mark.parametrize(("setting", "kept"), [("auto", FILE), ("keyring", None)])
def test_a_keyring_that_cuts_what_is_put_into_it_is_not_used(
    desk: Desk, setting: str, kept: Place | None
) -> None:
    desk.backend.longest = 20
    if kept is None:
        with pytest.raises(FieldInvalid, match="did not give back"):
            desk.keeper(setting).begin(NEW)
    else:
        desk.keeper(setting).begin(NEW)
        assert desk.keeper().load() == NEW
    assert desk.keeper().place() is kept
    assert not desk.in_keyring


def test_a_keyring_that_cuts_a_refresh_keeps_the_sign_in_of_before(desk: Desk) -> None:
    desk.put(KEYRING)
    desk.backend.longest = len(desk.backend.entries["keypeg", f"lab of {desk.path.parents[1]}"])
    with pytest.raises(FieldInvalid, match="did not give back"):
        desk.keeper().store(Tokens("kpa_much_longer_than_before", 1_790_000_900.0, "kpr_new"))
    assert desk.keeper().load() == OLD


class Killed(BaseException):
    """The process ends here."""


def test_a_kill_after_the_keyring_was_written_leaves_what_is_in_the_file(desk: Desk) -> None:
    desk.put(FILE)

    def killed() -> None:
        raise KeyringLocked  # the write is done, and nobody hears of it

    desk.backend.after_write = killed
    with pytest.raises(FieldInvalid):
        desk.keeper("keyring").settle()
    assert desk.in_keyring, "written"
    assert desk.keeper().place() is FILE
    assert desk.keeper().load() == OLD
    desk.backend.after_write = lambda: None
    desk.keeper("keyring").settle()
    assert desk.keeper().place() is KEYRING
    assert desk.keeper().load() == OLD


@pytest.mark.parametrize("to", ["keyring", "file"])
def test_a_kill_at_any_step_of_a_move_leaves_a_sign_in(
    desk: Desk, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keypeg import files

    whole = files.write
    for step in range(2):
        desk.lock(False)
        desk.put(FILE if to == "keyring" else KEYRING)

        def write(path: Path, data: bytes, step: int = step) -> None:
            if step == 1:
                whole(path, data)
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(files, "write", write)
            with pytest.raises(Killed):
                desk.keeper(to).settle()
        assert desk.keeper().load() == OLD, step
        desk.keeper(to).settle()
        assert desk.keeper().load() == OLD


def test_who_loads_while_another_program_moves_them_finds_them(desk: Desk) -> None:
    desk.put(KEYRING)
    vault = desk.vault

    class Moving:
        """Another program is done before this one gets its answer."""

        def get(self, entry: str) -> str | None:
            desk.keeper("file").settle()
            return vault.get(entry)

        check, set, delete = vault.check, vault.set, vault.delete

    keeper = PlacedKeeper(desk.path, Setting.AUTO, Moving)
    assert keeper.load() == OLD
    assert desk.keeper().place() is FILE


def test_who_asked_for_the_keyring_hears_before_signing_in_that_there_is_none(desk: Desk) -> None:
    desk.lock()
    with pytest.raises(FieldInvalid, match="locked"):
        desk.keeper("keyring").check()
    desk.keeper("auto").check()
    desk.keeper("file").check()


def test_who_has_signed_in_is_told_where_the_tokens_are(desk: Desk) -> None:
    desk.put(KEYRING)
    assert desk.keeper().told() == "The tokens are in the system's keyring."
    desk.lock()
    desk.keeper().begin(NEW)
    said = desk.keeper().told()
    assert str(desk.path) in said
    assert "but it is locked." in said
    assert "locked" not in desk.keeper("file").told()


def test_two_directories_of_one_user_have_entries_of_their_own(tmp_path: Path) -> None:
    backend = MemoryBackend()
    for folder in ("one", "two"):
        keeper = PlacedKeeper(
            tmp_path / folder / "tokens" / "lab", Setting.AUTO, lambda: keyring_of(backend)
        )
        keeper.begin(Tokens(folder))
    assert sorted(backend.entries.values()) == ["one", "two"]
