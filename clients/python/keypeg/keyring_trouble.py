"""What can be the matter with the system's keyring, and what to do about each.

Promises: pure; what is told names kinds of errors and no text of others, so that no secret is in it.

Leaves to others: finding out (system_keyring), and what follows from it (token_place).
"""

from __future__ import annotations

import enum
from typing import Final


class Trouble(enum.Enum):
    """Why a keyring is of no use right now."""

    NOT_INSTALLED = enum.auto()
    ABSENT = enum.auto()
    LOCKED = enum.auto()
    SLOW = enum.auto()
    REFUSED = enum.auto()
    CUT = enum.auto()


WORDS: Final = {
    Trouble.NOT_INSTALLED: (
        "this program has no way to it",
        "run: pip install 'keypeg[keyring]'",
    ),
    Trouble.ABSENT: (
        "there is none in this session",
        "work in a desktop session, or start one that serves org.freedesktop.secrets",
    ),
    Trouble.LOCKED: (
        "it is locked",
        "unlock it with the system's application for passwords",
    ),
    Trouble.SLOW: (
        "it does not answer",
        "look whether it waits for you, and try again in a minute",
    ),
    Trouble.REFUSED: (
        "it refused",
        "look into it with the system's application for passwords",
    ),
    Trouble.CUT: (
        "it did not give back what was put into it",
        "keep the tokens in a file: its entries may be too short",
    ),
}
"""What it is, said of the keyring, and what to do."""
assert set(WORDS) == set(Trouble)

# By names of classes, as the libraries that these are of need not be there.
_KINDS: Final = {
    "KeyringLocked": Trouble.LOCKED,
    "LockedException": Trouble.LOCKED,
    "PromptDismissedException": Trouble.LOCKED,
    "NoKeyringError": Trouble.ABSENT,
    "InitError": Trouble.ABSENT,
    "SecretServiceNotAvailableException": Trouble.ABSENT,
    "ItemNotFoundException": Trouble.ABSENT,  # there is no default collection
    "ImportError": Trouble.NOT_INSTALLED,
}


class KeyringTrouble(Exception):
    """The keyring is of no use right now."""

    def __init__(self, trouble: Trouble, detail: str = "") -> None:
        self.trouble = trouble
        what, self.to_do = WORDS[trouble]
        self.what = f"{what} ({detail})" if detail else what
        super().__init__(f"The system's keyring can not be used: {self.what}.")


def trouble_of(error: BaseException) -> KeyringTrouble:
    """What an error of a library says."""
    if isinstance(error, KeyringTrouble):
        return error
    for kind in type(error).__mro__:
        if kind.__name__ in _KINDS:
            return KeyringTrouble(_KINDS[kind.__name__])
    return KeyringTrouble(Trouble.REFUSED, type(error).__name__)
