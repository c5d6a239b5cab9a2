"""A launch without asyncio: the twin of keypeg.launching, on keypeg's own thread.

    session = keypeg.launch("publishers/acme/products/cad", root=ROOT)

Promises: the same behavior, because it is the same code; a person is asked on the caller's own thread, as dialogs
want it.

Leaves to others: everything else (launching, background).
"""

from __future__ import annotations

import os
from typing import Unpack

from keypeg import background, launch_asking, launching
from keypeg.launch_asking import During
from keypeg.launch_steps import Answer, Ask, Step, Tell
from keypeg.launching import OpenArguments
from keypeg.session import Session

__all__ = ["Launch", "launch"]


class Launch:
    """One launch, step by step: for apps with dialogs of their own. Arguments as of `launch`, but `ask`."""

    def __init__(
        self,
        product: str,
        *,
        root: bytes | str,
        title: str | None = None,
        family: str | None = None,
        tell: Tell | None = None,
        **opening: Unpack[OpenArguments],
    ) -> None:
        self._process_id = os.getpid()
        self._session: Session | None = None
        self._launch = launching.Launch(
            product, root=root, title=title, family=family, tell=tell, **opening
        )

    @property
    def session(self) -> Session:
        """The session; once the launch has ended with one."""
        if self._session is None:
            self._session = Session(self._launch.session)
        return self._session

    def begin(self) -> Step | None:
        """Looks for a license; the first step, None when there is nothing to ask."""
        background.check_process(self._process_id, "launch")
        return background.run(self._launch.begin())

    def answer(self, answer: Answer) -> Step | None:
        """Goes on with an answer; the next step, None at the end. Raises why the app may not run."""
        background.check_process(self._process_id, "launch")
        return background.run(self._launch.answer(answer))


def _go_on(one: Launch, answer: Answer | None, during: During) -> Step | None:
    """Begins, or goes on with an answer, with `during` called on this thread until the next step is there."""
    background.check_process(one._process_id, "launch")
    work = one._launch.begin() if answer is None else one._launch.answer(answer)
    return background.run(work, during)


def launch(
    product: str,
    *,
    root: bytes | str,
    ask: str | Ask | None = None,
    title: str | None = None,
    family: str | None = None,
    tell: Tell | None = None,
    **opening: Unpack[OpenArguments],
) -> Session:
    """Opens a session, asking a person when there is no license here; raises why the app may not run.

    `ask`: how a person is asked: `terminal`, `dialog`, `auto` (whichever there is), `never`, or a function that
    takes a Step and returns an Answer; KEYPEG_ASK, else `auto`, when not given. `title`: what people call the
    product. `family`: for what `always` is remembered, the product when not given. `tell`: gets each Progress of what
    takes its time; the ready ways show it themselves when not given. The others are as of `open_session`; with `cloud="never"` no cloud session is offered.
    """
    if callable(ask):
        one = Launch(product, root=root, title=title, family=family, tell=tell, **opening)
        step = one.begin()
        while step is not None:
            step = one.answer(ask(step))
        return one.session
    way = launch_asking.Showing(ask)
    one = Launch(product, root=root, title=title, family=family, tell=tell or way.tell, **opening)
    step = _go_on(one, None, way.during)
    while step is not None:
        step = _go_on(one, way.ask(step), way.during)
    return one.session
