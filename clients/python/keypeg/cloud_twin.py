"""The account's cloud session without asyncio: the twin of keypeg.cloud, on keypeg's own thread.

    with keypeg.CloudSession() as cloud:
        print(cloud.open().implies)

Promises: the same behavior, because it is the same code; a forked child is refused with a sentence.

Leaves to others: everything else (cloud, background).
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator, Iterable
from types import TracebackType
from typing import Self

from keypeg import background, cloud
from keypeg.cloud import CloudState, Mode
from keypeg.profile import Profile

__all__ = ["CloudSession"]


class CloudSession:
    """The one cloud session of the account that is signed in on this computer."""

    def __init__(
        self,
        *,
        profile: str | Profile | None = None,
        server: str | Iterable[str] | None = None,
        ca_file: str | None = None,
        token: str | None = None,
        account: str | None = None,
        device: str | None = None,
        credential: str | None = None,
    ) -> None:
        """`server`, `ca_file`, `token`, `account` and `credential` (a file) override the profile and the environment."""
        self._process_id = os.getpid()
        self._cloud = background.call(
            lambda: cloud.CloudSession(
                profile=profile,
                server=server,
                ca_file=ca_file,
                token=token,
                account=account,
                device=device,
                credential=credential,
            )
        )
        background.at_exit(self, self._cloud.leave)

    def show(self) -> CloudState:
        """How it is now."""
        self._check()
        return background.run(self._cloud.show())

    def open(self, *, move: bool = True) -> CloudState:
        """Opens it on this device; without `move`, CloudSessionElsewhere when another device has it."""
        self._check()
        return background.run(self._cloud.open(move=move))

    def close(self) -> CloudState:
        """Closes it, wherever it is open. In managed mode, what is in the cloud stays reserved."""
        self._check()
        return background.run(self._cloud.close())

    def set_mode(self, mode: Mode) -> CloudState:
        """Sets who chooses what is in the cloud."""
        self._check()
        return background.run(self._cloud.set_mode(mode))

    def choose(self, add: Iterable[str] = (), remove: Iterable[str] = ()) -> CloudState:
        """Puts licenses (names) into the cloud and takes others out: all of it, or nothing.

        Taking one out switches the account to managed mode.
        """
        self._check()
        return background.run(self._cloud.choose(add, remove))

    def watch(self) -> Generator[CloudState, None, None]:
        """How it is, and again after every change, over lost connections, until it is left or refused."""
        self._check()
        states = self._cloud.watch()
        try:
            while (state := background.run(_next(states))) is not None:
                yield state
        finally:
            background.run(states.aclose())

    def leave(self) -> None:
        """Ends the connection; the cloud session stays as it is."""
        if self._process_id == os.getpid():
            background.not_at_exit(self)
            background.run(self._cloud.leave())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()

    def _check(self) -> None:
        background.check_process(self._process_id, "cloud session")


async def _next(states: AsyncGenerator[CloudState, None]) -> CloudState | None:
    return await anext(states, None)
