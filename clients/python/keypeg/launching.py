"""A launch for asyncio: from an app that may find no license here to one that runs, asking a person on the way.

    session = await keypeg.aio.launch("publishers/acme/products/cad", root=ROOT)

    launch = keypeg.aio.Launch("publishers/acme/products/cad", root=ROOT)   # with dialogs of one's own
    step = await launch.begin()
    while step is not None:
        step = await launch.answer(await my_dialog(step))
    session = launch.session

Promises: where a license is found at once, nobody is asked and it is `open_session`. A person who leaves makes it
raise why the app may not run. What is asked is data; the ready dialogs are shown on a thread of their own.

Leaves to others: what is asked and done (launch_flow, launch_work), showing it (launch_asking), use without
asyncio (launch_twin).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, TypedDict, Unpack

from keypeg import launch_asking
from keypeg.clock import Clock
from keypeg.event_hub import OnEvent
from keypeg.launch_flow import End, LaunchFlow, Terms, Turn
from keypeg.launch_memory import Memory
from keypeg.launch_steps import Answer, AskAsync, Step
from keypeg.launch_work import Worker
from keypeg.request import Cloud, Request

if TYPE_CHECKING:
    from keypeg.aio import Session

__all__ = ["Launch", "launch"]


class OpenArguments(TypedDict, total=False):
    """The arguments of `open_session` that a launch takes too; what they mean is said there."""

    publisher: str | None
    server: str | Iterable[str] | None
    ca_file: str | None
    bridge: str | None
    token: str | None
    credential: str | None
    profile: str | None
    account: str | None
    app_name: str | None
    app_version: str
    app_released: date | None
    on_event: OnEvent | None
    locations: Iterable[str] | None
    cloud: Cloud | None
    clock: Clock | None


class Launch:
    """One launch, step by step; the arguments are those of `open_session`, and two more.

    `title`: what people call the product; its id when not given. `family`: for what `always` is remembered: the
    same words in several products of a publisher share the answer; the product itself when not given.
    """

    def __init__(
        self,
        product: str,
        *,
        root: bytes | str,
        title: str | None = None,
        family: str | None = None,
        **opening: Unpack[OpenArguments],
    ) -> None:
        request = request_of(product, root, opening)
        terms = terms_of(request, title, family)
        self._flow = LaunchFlow(terms)
        self._worker = Worker(request, terms, Memory(), opening.get("on_event"))
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """The session; once the launch has ended with one."""
        assert self._session is not None, "the launch is not over"
        return self._session

    async def begin(self) -> Step | None:
        """Looks for a license; the first step, None when there is nothing to ask."""
        return await self._go_on(self._flow.begin())

    async def answer(self, answer: Answer) -> Step | None:
        """Goes on with an answer; the next step, None at the end. Raises why the app may not run."""
        return await self._go_on(self._flow.answered(answer))

    async def _go_on(self, turn: Turn) -> Step | None:
        turn = await until_asked(self._flow, self._worker, turn)
        if isinstance(turn, Step):
            return turn
        if turn.error is not None:
            raise turn.error
        self._session = turn.session
        return None


async def until_asked(flow: LaunchFlow, worker: Worker, turn: Turn) -> Step | End:
    """Does what is to be done, until a person is to be asked or it is over."""
    while not isinstance(turn, Step | End):
        turn = flow.happened(await worker.do(turn))
    return turn


async def launch(
    product: str,
    *,
    root: bytes | str,
    ask: str | AskAsync | None = None,
    title: str | None = None,
    family: str | None = None,
    **opening: Unpack[OpenArguments],
) -> Session:
    """Opens a session, asking a person when there is no license here; see `keypeg.launch`."""
    one = Launch(product, root=root, title=title, family=family, **opening)
    step = await one.begin()
    while step is not None:
        if callable(ask):
            answered = ask(step)
            answer = await answered if inspect.isawaitable(answered) else answered
        else:
            answer = await asyncio.to_thread(launch_asking.asker(ask), step)
        step = await one.answer(answer)
    return one.session


def request_of(product: str, root: bytes | str, given: OpenArguments) -> Request:
    """What an app asks for."""
    return Request.make(
        product,
        root=root,
        publisher=given.get("publisher"),
        server=given.get("server"),
        ca_file=given.get("ca_file"),
        bridge=given.get("bridge"),
        token=given.get("token"),
        credential=given.get("credential"),
        profile=given.get("profile"),
        account=given.get("account"),
        app_name=given.get("app_name"),
        app_version=given.get("app_version", ""),
        app_released=given.get("app_released"),
        locations=given.get("locations"),
        cloud=given.get("cloud"),
        clock=given.get("clock"),
    )


def terms_of(request: Request, title: str | None, family: str | None) -> Terms:
    """What is launched, for a request."""
    product = request.pinned.product
    called = title or product.rpartition("/")[2]
    cloud = request.cloud != "never" and request.wants("cloud")
    return Terms(product, called, family or product, offers_cloud=cloud)
