"""Homes: by which server of a database an account or publisher (a *parent*) is served, and taking them over.

Promises: `find` gives one answer for a parent that holds when it is given: here, or at the address of a server
that lives. What nobody living serves is taken, loaded (`Household.adopt`) and then served; what this server has
no more is dropped (`Household.abandon`) before anything else is answered of it. `alive` is false before
others may take what is here. After an outage of the database, and after having been stopped, a server goes on
by itself: with what it still has, or as a new node with nothing.

Leaves to others: the rules and their argument (domain/home.py), the rows (storage/home_store.py), which news
are new (cluster_news.py), what is loaded and dropped (the household), calls that belong elsewhere (rpc/relay.py).
One event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from keypeg.errors import KeypegError, StorageUnavailable
from keypeg_server.domain import home as rules
from keypeg_server.domain.home import Happens, Observation, State
from keypeg_server.service.cluster_homes import Home, Nobody
from keypeg_server.service.cluster_news import Newsroom
from keypeg_server.service.homes import Directory, Here, Household, Node, There
from keypeg_server.service.ports import Clock
from keypeg_server.service.refusals import doubtful, draining, elsewhere

_LOG: Final = logging.getLogger(__name__)

LOOK_FOR_ORPHANS: Final = 30.0  # seconds; beside at the start and whenever a server goes
ORPHANS_AT_ONCE: Final = 500
TAKEN_AT_ONCE: Final = 8  # homes loaded at a time, so that calls come in between
ASKED_AT_ONCE: Final = 4  # homes asked for at a time: so many may come before a beat
RETRY_AFTER: Final = timedelta(milliseconds=250)
LEAVE_TIME: Final = 3.0  # seconds to say so, when the database does not answer
TIMER_SLACK: Final = 0.005  # seconds


class Cluster:
    """One server among several on a database. `start` makes it one, `leave` ends that."""

    def __init__(
        self,
        rows: Directory,
        clock: Clock,
        new_id: Callable[[], str],
        *,
        process: str = "",
        gone: Callable[[str], bool] = lambda _: False,
        last_news: Callable[[], int] = lambda: 0,
        renamed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`gone` says whether a process (see Node) has certainly ended; `last_news` is the number of this
        server's latest; `renamed` hears under which node they are to be from now on."""
        self._rows = rows
        self._clock = clock
        self._address = ""
        self._new_id = new_id
        self._process = process
        self._gone = gone
        self._news = Newsroom(rows, last_news)
        self._renamed = renamed
        self._node = ""
        self._homes: dict[str, Home] = {}
        self._nodes: Mapping[str, Node] = {}
        self._acts_until = float("-inf")
        self._suspended = False
        self._failing = False
        self._leaving = False
        self._observation = Observation()
        self._looked_at = float("-inf")
        self._change = asyncio.Event()
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []
        self._taking_over: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._household: Household = Nobody()
        self.on_alive: Callable[[bool], None] = lambda alive: None
        self.on_nodes: Callable[[Mapping[str, Node]], None] = lambda nodes: None

    # What others ask.

    @property
    def node(self) -> str:
        return self._node

    @property
    def nodes(self) -> Mapping[str, Node]:
        """All servers, as last seen."""
        return self._nodes

    def alive(self) -> bool:
        """Whether this server may act: no other takes what is here before this is false."""
        return self._clock.monotonic() < self._acts_until and not self._leaving

    def epoch(self, parent: str) -> int | None:
        """Under which epoch this server writes for a parent; None when it does not. Any thread."""
        home = self._homes.get(parent)
        return None if home is None else home.epoch

    def here(self, parent: str) -> int | None:
        home = self._homes.get(parent)
        if home is None or home.state is not State.MINE or not self.alive():
            return None
        return home.epoch

    def others(self) -> list[There]:
        """All servers but this one, as last seen."""
        return [There(id, one.address) for id, one in self._nodes.items() if id != self._node]

    def mine(self) -> list[str]:
        """All parents that are served here."""
        return [parent for parent, home in self._homes.items() if home.state is State.MINE]

    async def find(self, parent: str) -> Here | There:
        while True:
            home = self._homes.get(parent)
            if home is None:
                home = self._homes[parent] = Home()
            if home.state is State.ELSEWHERE and home.there is not None:
                if home.there.node in self._nodes and not self._leaving:
                    return home.there
                self._orphaned(home)
            if self._leaving:
                found = await self._rows.look(parent)
                if found is None or found.node == self._node:
                    raise draining()
                return found
            if not self.alive():
                raise doubtful()
            if home.state is State.MINE and home.epoch is not None:
                return Here(home.epoch)
            if home.task is None:
                home.happens(Happens.WANTED)
                home.task = asyncio.get_running_loop().create_task(self._take(parent, home))
                home.task.add_done_callback(_seen)
            await asyncio.shield(home.task)

    def not_there(self, parent: str, there: There) -> None:
        home = self._homes.get(parent)
        if home is not None and home.state is State.ELSEWHERE and home.there == there:
            self._orphaned(home)

    async def changed(self, there: There, within: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while there.node in self._nodes:
                    await self._change.wait()
        return there.node not in self._nodes

    def lost(self, believed: Mapping[str, int | None]) -> KeypegError:
        """These turned out not to be here under these epochs; what to tell those who asked."""
        for parent, epoch in believed.items():
            home = self._homes.get(parent)
            if home is not None and epoch is not None and home.epoch == epoch:
                _LOG.info("home lost", extra={"parent": parent})
                self._lose(parent, home)
        return elsewhere(", ".join(sorted(believed)))

    # Its life.

    async def start(self, address: str, household: Household) -> None:
        """Join the others, who reach this server at an address; StorageUnavailable when that can not be."""
        self._address, self._household = address, household
        for node in (await self._rows.nodes()).values():
            if node.process and self._gone(node.process):
                _LOG.info("server had ended", extra={"node": node.id})
                await self._rows.declare_dead(node.id, node.beat)
        await self._join()
        if not await self.tick():
            raise StorageUnavailable(
                "The database took this server's row, but not its first beat; try again.",
                retry_after=RETRY_AFTER,
            )

    def run(self) -> None:
        """Beat from now on."""
        self._tasks.append(asyncio.get_running_loop().create_task(self._beat_forever()))

    async def leave(self) -> None:
        """Give everything back; others take it at once. Nothing is written any more."""
        self._leaving = True
        for task in (*self._tasks, *([self._taking_over] if self._taking_over else [])):
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        taking = [home.task for home in self._homes.values() if home.task is not None]
        self._drop_all()
        if taking:
            await asyncio.wait(taking, timeout=LEAVE_TIME)
        # If not, they find out by the beat that does not come.
        with contextlib.suppress(KeypegError, TimeoutError):
            await asyncio.wait_for(self._rows.leave(self._node), LEAVE_TIME)

    async def tick(self) -> bool:
        """Beat once, and look at the others; whether that was kept."""
        asked = self._clock.monotonic()
        node = self._node
        try:
            beat = await self._rows.beat(node)
        except KeypegError as error:
            if not self._failing:  # once for each time that the database is away
                _LOG.warning("beat failed", extra={"error": str(error)})
            self._failing = True
            return False
        self._failing = False
        if self._leaving:
            return False
        answered = self._clock.monotonic()
        if beat is None:
            await self._died()
            return False
        if self._news.missed(asked - self._observation.answered):
            self._household.forget()
        before = self._nodes
        self._nodes = beat.nodes
        self._observation = self._observation.after(
            {id: one.beat for id, one in beat.nodes.items() if id != node}, asked, answered
        )
        self._act_until(rules.acts_until(asked))
        if news := self._news.new_of(beat.news):
            self._household.hear(news)
        left = set(before) - set(beat.nodes)
        for id, last in self._observation.dead().items():
            with contextlib.suppress(KeypegError):
                if await self._rows.declare_dead(id, last):
                    _LOG.warning("server is dead", extra={"node": id})
                    left.add(id)
                    self._nodes = {other: n for other, n in self._nodes.items() if other != id}
        if left or set(self._nodes) != set(before):
            self._news.left(left, answered)
            self.on_nodes(self._nodes)
            self._change.set()
            self._change = asyncio.Event()
        if left or answered - self._looked_at >= LOOK_FOR_ORPHANS:
            self._look_for_orphans(answered)
        await self._news.sweep(node, answered)
        return True

    async def _beat_forever(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + rules.BEAT, loop.time())
            await asyncio.sleep(due - loop.time())
            try:
                await self.tick()
            except Exception:  # a fault here must not make a server that never beats again
                _LOG.exception("beat failed")

    async def _join(self) -> None:
        node = Node(self._new_id(), self._address, self._process)
        self._renamed(node.id)
        await self._rows.join(node)
        self._node = node.id
        self._observation = Observation()

    async def _died(self) -> None:
        """Others have declared this server dead: it was stopped, or cut off. Begin anew, with nothing."""
        _LOG.warning("this server was declared dead", extra={"node": self._node})
        self._acts_until = float("-inf")
        self._suspend()
        self._drop_all()
        self._household.forget()
        with contextlib.suppress(KeypegError):  # the next beat finds no row, and tries again
            await self._join()

    def _act_until(self, until: float) -> None:
        self._acts_until = max(self._acts_until, until)
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        left = self._acts_until - self._clock.monotonic()
        if left <= 0:  # the answer took so long
            self._suspend()
            return
        self._timer = loop.call_later(left, self._ended)
        if self._suspended:
            self._suspended = False
            _LOG.info("acts again", extra={"node": self._node})
        self.on_alive(True)

    def _ended(self) -> None:
        left = self._acts_until - self._clock.monotonic()
        if left > 0:  # the loop's clock is another one
            self._timer = asyncio.get_running_loop().call_later(left + TIMER_SLACK, self._ended)
        else:
            self._suspend()

    def _suspend(self) -> None:
        if not self._suspended and not self._leaving:
            self._suspended = True
            _LOG.warning("may not act: no beat was kept", extra={"node": self._node})
            self.on_alive(False)
            self._household.suspend()

    # Homes.

    async def _take(self, parent: str, home: Home) -> None:
        node = self._node
        try:
            async with self._asking:
                found = await self._rows.take(parent, node)
            if home.state is not State.TAKING:
                return
            if isinstance(found, There):
                home.there = found
                home.happens(Happens.FOUND)
                if found.node not in self._nodes:  # it came since the last beat
                    self._nodes = {**self._nodes, found.node: Node(found.node, found.address, "")}
                return
            home.epoch = found.epoch
            await self._household.adopt(parent)
            if home.state is State.TAKING:
                home.happens(Happens.ADOPTED)
                _LOG.info("home taken", extra={"parent": parent, "epoch": found.epoch})
        except BaseException:
            if home.state is State.TAKING:
                home.happens(Happens.FAILED)
                home.epoch = None
                self._household.abandon(parent)
            raise
        finally:
            home.task = None
            if home.state is State.LOSING:
                self._drop(parent, home)

    def _lose(self, parent: str, home: Home) -> None:
        home.happens(Happens.LOST)
        home.epoch = None
        if home.task is None:
            self._drop(parent, home)

    def _drop(self, parent: str, home: Home) -> None:
        self._household.abandon(parent)
        home.happens(Happens.DROPPED)

    def _drop_all(self) -> None:
        for parent, home in self._homes.items():
            if home.state in (State.MINE, State.TAKING):
                self._lose(parent, home)

    @staticmethod
    def _orphaned(home: Home) -> None:
        home.happens(Happens.ORPHANED)
        home.there = None

    def _look_for_orphans(self, now: float) -> None:
        self._looked_at = now
        if self._taking_over is None or self._taking_over.done():
            self._taking_over = asyncio.get_running_loop().create_task(self._take_orphans())

    async def _take_orphans(self) -> None:
        """Take what nobody serves and this server is the first for; so that seats go on without being asked."""
        slots = asyncio.Semaphore(TAKEN_AT_ONCE)

        async def take(parent: str) -> None:
            async with slots:
                with contextlib.suppress(KeypegError):  # whoever asks for it tries again
                    await self.find(parent)

        try:
            orphans = await self._rows.orphans(ORPHANS_AT_ONCE)
        except KeypegError:
            return
        mine = [one for one in orphans if rules.ranked(one, self._nodes)[:1] == [self._node]]
        await asyncio.gather(*(take(parent) for parent in mine))


def _seen(task: asyncio.Task[None]) -> None:
    """Whoever asked has gone: the error of taking is nobody's."""
    if not task.cancelled():
        task.exception()
