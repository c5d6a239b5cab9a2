"""What the parts of the applet share: the contents, the profile, and what the host has proved since the last SELECT.

Promises: `commit` makes new contents durable before they count; `forget` ends all that was proved. A touch is taken from
the finger where there is one, and from nobody in a card that is tested by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from keypeg_bridge.emulator.piv import keys
from keypeg_bridge.emulator.piv.refusal import Refused, need
from keypeg_bridge.emulator.piv.state import PivState
from keypeg_bridge.emulator.touch import Finger
from keypeg_bridge.wire import piv
from keypeg_bridge.wire.apdu import Status

CACHED_SECONDS: Final = 15.0  # that one touch serves keys which cache it
STANDARD_SLOTS: Final = frozenset({0x9A, 0x9C, 0x9D, 0x9E})


@dataclass(frozen=True, slots=True)
class Profile:
    """What kind of PIV card this is."""

    name: str
    vendor_commands: (
        bool  # and what comes with them: more slots, objects, policies, characters of a PIN
    )
    management_algorithm: int
    object_limit: int  # bytes of one object's content
    storage: int  # bytes of all objects' contents
    algorithms: frozenset[int] = keys.ALGORITHMS
    select_forgets: bool = (
        True  # selecting the applet anew ends what was proved; the standard says no
    )
    version: tuple[int, int, int] = (5, 7, 2)  # of the vendor extension that is spoken
    aid_least: int = 5  # bytes of its name that a card answers to; a careful host sends all

    @property
    def slots(self) -> frozenset[int]:
        """The slots that make keys."""
        return STANDARD_SLOTS | frozenset(piv.RETIRED_SLOTS if self.vendor_commands else ())


PROFILES: Final = {
    p.name: p
    for p in (
        Profile("token", True, 0x0A, 3_052, 80_000),
        # Before AES came; older tools know nothing else.
        Profile(
            "token-3des", True, 0x03, 3_052, 80_000,
            algorithms=frozenset({
                piv.ALGORITHM_RSA1024, piv.ALGORITHM_RSA2048, piv.ALGORITHM_P256, piv.ALGORITHM_P384,
            }),
            version=(5, 4, 3),
        ),
        Profile(
            "standard", False, 0x03, 3_052, 40_000,
            algorithms=frozenset({piv.ALGORITHM_RSA2048, piv.ALGORITHM_P256, piv.ALGORITHM_P384}),
            select_forgets=False,
            aid_least=9,
        ),
    )
}  # fmt: skip


class Session:
    """One card and whoever speaks to it."""

    def __init__(
        self,
        state: PivState,
        profile: Profile,
        save: Callable[[PivState], None],
        random: Callable[[int], bytes],
        *,
        seed: str,
        serial: int,
        finger: Finger | None,
        now: Callable[[], float],
    ) -> None:
        self.state = state
        self.profile = profile
        self.save = save
        self.random = random
        self.seed = seed
        self.serial = serial
        self.finger = finger
        self.now = now
        self.waiting = False  # for a touch
        self._touched_until: float | None = None
        self.forget()

    def forget(self) -> None:
        """Whoever comes next has proved nothing."""
        self.managed = False
        self.pin_verified = False
        self.pin_fresh = False
        self.challenge: bytes | None = None
        self.witness: bytes | None = None

    def power_off(self) -> None:
        """Forget everything but the contents."""
        self.forget()
        self.waiting = False
        self._touched_until = None

    def commit(self, state: PivState) -> None:
        """Keep new contents, or refuse and keep the old ones."""
        try:
            self.save(state)
        except OSError:
            raise Refused(Status.MEMORY_FAILURE) from None
        self.state = state

    def need_management(self) -> None:
        """Refuse whoever has not proved the management key."""
        need(self.managed, Status.SECURITY_NOT_SATISFIED)

    def use_pin(self, policy: int) -> None:
        """Refuse a key's use without the PIN that its policy wants; a fresh PIN serves one use."""
        if policy == piv.POLICY_NEVER:
            return
        fits = self.pin_fresh if policy == piv.PIN_ALWAYS else self.pin_verified
        need(fits, Status.SECURITY_NOT_SATISFIED)
        self.pin_fresh = False

    def touched(self, policy: int) -> bool:
        """Whether the touch that a policy wants is there; remembers it where it may be."""
        if policy == piv.POLICY_NEVER or self.finger is None:
            return True
        now = self.now()
        until = self._touched_until if policy == piv.TOUCH_CACHED else None
        if until is not None and now < until:
            return True
        if not self.finger.take():
            return False
        if policy == piv.TOUCH_CACHED:
            self._touched_until = now + CACHED_SECONDS
        return True
