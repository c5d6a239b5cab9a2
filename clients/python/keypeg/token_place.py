"""In which place the tokens of a profile are: its file, or the system's keyring.

Promises: the profile's file says where they are. It holds them, or says that they are in the keyring, and is replaced in one
step: so a sign-in that moves from one place to the other is in one of them at every moment, also when the process is
killed. New ones are there before old ones go. What was asked for is done or refused in a sentence: tokens that are to be in
the keyring only are written to no file.

    setting    a new sign-in goes to                       a refresh goes to
    auto       the keyring, where one can be used; a file  where the tokens are
    keyring    the keyring                                 the keyring: what is in a file moves
    file       the file                                    the file: what is in the keyring moves

Leaves to others: the places themselves (token_keeping, system_keyring).
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from keypeg import files, system_keyring
from keypeg.errors import FieldInvalid, SignInRequired
from keypeg.keyring_trouble import KeyringTrouble, Trouble
from keypeg.token_file import IN_KEYRING, Tokens
from keypeg.token_keeping import FileKeeper, KeyringKeeper, Vault

VARIABLE: Final = "KEYPEG_TOKENS"


class Place(enum.Enum):
    """Where tokens are."""

    FILE = "file"
    KEYRING = "keyring"


class Setting(enum.Enum):
    """Where a user wants them."""

    AUTO = "auto"
    FILE = "file"
    KEYRING = "keyring"


_NEW: Final = {
    Setting.AUTO: (Place.KEYRING, Place.FILE),  # the first that can be used
    Setting.FILE: (Place.FILE,),
    Setting.KEYRING: (Place.KEYRING,),
}
_WANTED: Final = {
    Setting.AUTO: None,
    Setting.FILE: Place.FILE,
    Setting.KEYRING: Place.KEYRING,
}

# Of these nobody needs to hear who has not asked for a keyring.
_QUIET: Final = (Trouble.NOT_INSTALLED, Trouble.ABSENT)


def setting(text: str) -> Setting:
    """What somebody has set; empty is `auto`."""
    try:
        return Setting(text or "auto")
    except ValueError:
        known = ", ".join(one.value for one in Setting)
        raise FieldInvalid(
            f"Tokens are kept in one of {known}, not in {text!r}: correct {VARIABLE} or `tokens` of the profile.",
            field="tokens",
        ) from None


class PlacedKeeper:
    """Keeps the tokens of one profile; a Keeper."""

    def __init__(
        self,
        path: Path,
        wanted: Setting = Setting.AUTO,
        find: Callable[[], Vault] = system_keyring.find,
    ) -> None:
        """`path` is the profile's file."""
        self._path = path
        self._setting = wanted
        self._find = find
        self._file = FileKeeper(path)
        owner = os.path.realpath(path.parent.parent)
        self._keyring = KeyringKeeper(find, f"{path.name} of {owner}", path)

    def alone(self) -> AbstractContextManager[None]:
        return self._file.alone()

    def place(self) -> Place | None:
        """Where they are; None when there are none."""
        found = self._file.bytes()
        if not found:
            return None
        return Place.KEYRING if found == IN_KEYRING else Place.FILE

    def load(self) -> Tokens:
        """SignInRequired where they are in a keyring that can not be used."""
        if self.place() is not Place.KEYRING:
            return self._file.load()
        try:
            found = self._keyring.load()
            # Who loads is not alone: they may have moved since the file was looked at.
            return found if found.token else self._file.load()
        except KeyringTrouble as error:
            raise SignInRequired(
                f"The tokens of the profile {self._path.name} are in the system's keyring, and {error.what}: {error.to_do}; "
                "or sign in again with `keypeg login --tokens file`."
            ) from error

    def store(self, tokens: Tokens) -> None:
        """FieldInvalid where they are to be in the keyring only, and it can not be used."""
        place = _WANTED[self._setting] or self.place()
        self._put(tokens, _NEW[self._setting] if place is None else (place,))

    def begin(self, tokens: Tokens) -> None:
        """Keep the tokens of a new sign-in, wherever those before were."""
        self._put(tokens, _NEW[self._setting])

    def settle(self) -> None:
        """Move what is kept to where it is wanted."""
        if self._is_settled():
            return
        with self.alone():
            if not self._is_settled():
                self.store(self.load())

    def check(self) -> None:
        """FieldInvalid where a new sign-in could not be kept as was asked for."""
        if self._setting is Setting.KEYRING:
            try:
                self._find().check()
            except KeyringTrouble as error:
                raise _refused(error) from error

    def forget(self) -> None:
        if self.place() is Place.KEYRING:
            try:
                self._keyring.forget()
            except KeyringTrouble as error:
                raise _refused(error) from error
        self._file.forget()

    def told(self) -> str:
        """A sentence or two for who has just signed in."""
        if self.place() is Place.KEYRING:
            return "The tokens are in the system's keyring."
        said = f"The tokens are in {self._path}, which only you can read."
        if self._setting is Setting.AUTO:
            try:
                self._find().check()
            except KeyringTrouble as error:
                if error.trouble not in _QUIET:
                    said += f" There is a keyring of the system, but {error.what}."
        return said

    def _is_settled(self) -> bool:
        place = self.place()
        return place is None or _WANTED[self._setting] in (None, place)

    def _put(self, tokens: Tokens, places: tuple[Place, ...]) -> None:
        """Keep them in the first of these that can be used."""
        before = self.place()
        for place in places:
            if place is Place.FILE:
                self._file.store(tokens)  # in this moment they are here, and no more there
                if before is Place.KEYRING:
                    with contextlib.suppress(KeyringTrouble):
                        self._keyring.forget()
                return
            try:
                self._keyring.store(tokens)
            except KeyringTrouble as error:
                if place is places[-1]:
                    raise _refused(error) from error
                continue
            if before is not Place.KEYRING:
                files.write(self._path, IN_KEYRING)  # in this moment
            return


def _refused(error: KeyringTrouble) -> FieldInvalid:
    return FieldInvalid(
        f"The tokens are to be in the system's keyring, and {error.what}: {error.to_do}; or keep them in a file, with "
        f"`keypeg login --tokens file` or {VARIABLE}=file.",
        field="tokens",
    )
