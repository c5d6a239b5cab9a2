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
import concurrent.futures
import inspect
from collections.abc import Coroutine, Iterable
from datetime import date
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

from keypeg import launch_asking
from keypeg.clock import Clock
from keypeg.event_hub import OnEvent
from keypeg.launch_flow import LaunchFlow
from keypeg.launch_memory import Memory
from keypeg.launch_steps import Answer, AskAsync, Step, Tell
from keypeg.launch_survey import CLOUD, OFFERED
from keypeg.launch_work import Worker
from keypeg.launch_works import End, Terms, Turn
from keypeg.request import Cloud, Request

if TYPE_CHECKING:
    from keypeg.aio import Session

__all__ = ["Launch", "launch"]

T = TypeVar("T")


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
    """One launch, step by step; the arguments are those of `open_session`, and three more.

    `title`: what people call the product; its id when not given. `family`: for what `always` is remembered: the
    same words in several products of a publisher share the answer; the product itself when not given. `tell`: gets
    each Progress of what takes its time.
    """

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
        request = request_of(product, root, opening)
        terms = terms_of(request, title, family)
        self._flow = LaunchFlow(terms)
        self._worker = Worker(request, terms, Memory(), opening.get("on_event"), tell=tell)
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
    tell: Tell | None = None,
    **opening: Unpack[OpenArguments],
) -> Session:
    """Opens a session, asking a person when there is no license here; see `keypeg.launch`."""
    if callable(ask):
        one = Launch(product, root=root, title=title, family=family, tell=tell, **opening)
        step = await one.begin()
        while step is not None:
            answered = ask(step)
            step = await one.answer(await answered if inspect.isawaitable(answered) else answered)
        return one.session
    way = launch_asking.Showing(ask)
    one = Launch(product, root=root, title=title, family=family, tell=tell or way.tell, **opening)
    step = await shown(way, one.begin())
    while step is not None:
        answer = await asyncio.to_thread(way.ask, step)
        step = await shown(way, one.answer(answer))
    return one.session


async def shown(way: launch_asking.Showing, work: Coroutine[Any, Any, T]) -> T:
    """Does it, while a way that has windows shows what it is told."""
    task = asyncio.ensure_future(work)
    over: concurrent.futures.Future[None] = concurrent.futures.Future()
    task.add_done_callback(lambda _: over.set_result(None))
    await asyncio.gather(asyncio.to_thread(way.during, over), asyncio.wait([task]))
    return await task


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
    kinds = {kind for kind in OFFERED if request.wants(kind)}
    if request.cloud == "never":
        kinds.discard(CLOUD)
    return Terms(product, called, family or product, frozenset(kinds))
